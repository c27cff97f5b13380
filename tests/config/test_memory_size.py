"""How much memory there is: the cgroup's limit, else the machine's."""

import os
from pathlib import Path

import pytest

from entitlements.config.memory_size import available_memory_bytes, default_cache_size_bytes

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_limit_of_the_cgroup_counts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("1000000\n")

    assert 1_000_000 == available_memory_bytes(tmp_path)
    assert 500_000 == default_cache_size_bytes(tmp_path)


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n", "junk"])
def test_without_a_limit_it_is_the_machines(tmp_path: Path, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)

    assert MACHINE == available_memory_bytes(tmp_path)


def test_without_cgroups_it_is_the_machines(tmp_path: Path) -> None:
    assert MACHINE == available_memory_bytes(tmp_path)
