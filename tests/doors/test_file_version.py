"""A file's version changes with its content, its place and its link."""

import os
from pathlib import Path

from entitlements.file_version import file_version


def test_a_file_that_is_left_alone_has_one_version(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")

    assert file_version(file) is not None
    assert file_version(file) == file_version(file)


def test_content_of_another_size_is_another_version(tmp_path: Path) -> None:
    """Also where the clock of the file system did not tick."""
    file = tmp_path / "file"
    file.write_text("a")
    before = file.stat()
    first = file_version(file)
    file.write_text("ab")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert first != file_version(file)


def test_a_later_change_is_another_version(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    first = file_version(file)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))

    assert first != file_version(file)


def test_a_link_that_is_swapped_is_another_version(tmp_path: Path) -> None:
    """As Kubernetes does; the files may be alike in all else."""
    link = tmp_path / "link"
    versions = []
    for name in ("one", "two"):
        (tmp_path / name).write_text("a")
        os.utime(tmp_path / name, ns=(0, 0))
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / name)
        versions.append(file_version(link))

    assert versions[0] != versions[1]


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    assert file_version(tmp_path / "file") is None
