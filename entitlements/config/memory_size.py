"""How much memory this process may use: the cgroup's limit, else the machine's."""

import os
from pathlib import Path

CGROUP_LIMIT_FILES = ("memory.max", "memory/memory.limit_in_bytes")
"""Version 2 and version 1."""
CACHE_SHARE = 0.5
"""The memory tier may use this part of it by default (contract/operations.md, Environment variables)."""


def default_cache_size_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Half of the memory that is available to this process, in bytes."""
    return int(available_memory_bytes(cgroup) * CACHE_SHARE)


def available_memory_bytes(cgroup: Path) -> int:
    """The smaller of the cgroup's limit and the machine's memory, in bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_limit(cgroup / name) for name in CGROUP_LIMIT_FILES]
    return min([machine, *(limit for limit in limits if limit is not None)])


def _limit(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # no such version of cgroups, or `max`
        return None
