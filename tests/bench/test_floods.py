"""The benchmark of floods: hits are measured beside each."""

import shutil

import pytest

from bench import floods


async def test_one_short_run() -> None:
    if shutil.which("h2load") is None:
        pytest.skip("there is no h2load on this machine")

    results = await floods.measured(list(floods.FLOODS), rounds=1, seconds=1)

    assert list(results) == list(floods.FLOODS)
    assert all(alone > 0 for alone, _ in results.values())
    assert all(beside > 0 for _, beside in results.values())
