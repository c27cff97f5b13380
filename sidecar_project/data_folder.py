"""SIDECAR_DATA_DIR is its owner's alone: it holds the outbox, the database, and the key of logins.

The process creates nothing that others may read (`umask`, manage.py); what an older version or somebody else
left open is closed at start.
"""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

OURS = ("*.sqlite3*", "secret-key", "worker-metrics")
"""What of ours lies in it; whatever else does is somebody else's."""
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> None:
    """Takes the rights of others away, and says where it cannot."""
    for path in _open_to_others(folder):
        try:
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
        except OSError as error:
            # A volume that an orchestrator mounts is root's: what is made in it is private all the same.
            logger.log(
                logging.INFO if path == folder else logging.WARNING,
                "SIDECAR_DATA_DIR is open to others and cannot be closed path=%s reason=%s",
                path,
                error.strerror,
            )


def _open_to_others(folder: Path) -> Iterator[Path]:
    for path in (folder, *(path for pattern in OURS for path in sorted(folder.glob(pattern)))):
        try:
            mode = path.lstat().st_mode
        except OSError:
            continue
        if stat.S_ISLNK(mode) or not mode & OTHERS:
            continue
        if mode & stat.S_ISVTX:  # such as /tmp: many users' folder, never to be closed to them
            logger.warning("SIDECAR_DATA_DIR is a folder of all users; name one of its own path=%s", path)
            continue
        yield path
