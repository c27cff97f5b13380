"""Which version of a file is there, without reading it."""

from pathlib import Path
from typing import TypeAlias

FileVersion: TypeAlias = tuple[int, int, int] | None
"""Equal for the same file with the same content; None for a file that cannot be looked at."""


def file_version(path: Path) -> FileVersion:
    """The version that is there now; links are followed, as Kubernetes swaps those of what it mounts."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
