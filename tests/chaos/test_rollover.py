"""A roll-over fails no call of a client at its defaults, whoever made its gRPC stack."""

from pathlib import Path

import pytest

from tests.chaos.rollover import STACKS, Missing, statuses

pytestmark = pytest.mark.timeout(600)  # a client is built once


async def answered_alone(name: str, folder: Path, *, engine: str) -> None:
    """Two workers are restarted, one after the other."""
    try:
        counts = await statuses(name, folder, tls=False, engine=engine, restarts=2)
    except Missing as missing:
        pytest.skip(str(missing))

    assert {"OK"} == set(counts), counts


@pytest.mark.parametrize("name", STACKS)
async def test_a_roll_over_fails_no_call(name: str, tmp_path: Path) -> None:
    await answered_alone(name, tmp_path, engine="cq")


async def test_nor_with_the_other_engine(tmp_path: Path) -> None:
    await answered_alone("c-core", tmp_path, engine="aio")
