"""The short form of `make chaos`: two storms on real processes (docs/chaos.md)."""

from pathlib import Path

import pytest

from tests.chaos.__main__ import blow, seeds_of
from tests.chaos.report import write_report
from tests.chaos.stores import OneServer
from tests.chaos.weather import Load
from tests.chaos.worlds import World
from tests.redis_server import RedisServer

SEEDS = [79, 92]
SECONDS = 5.0


@pytest.mark.timeout(240)
async def test_short_weather(tmp_path: Path) -> None:
    """No read fails, none is wrong unmarked, nothing promised is lost, and all heals."""
    blown = await blow(
        SEEDS, Load(seconds=SECONDS, reads_per_second=40), tmp_path / "machine", world="workers"
    )
    verdicts = blown.verdicts
    write_report(verdicts, tmp_path)

    assert {} == blown.not_run
    assert SEEDS == [verdict.run.seed for verdict in verdicts]
    assert [] == [violation for verdict in verdicts for violation in verdict.violations]
    for verdict in verdicts:
        assert len(verdict.run.answers) > SECONDS * 20
        assert verdict.run.happened
        assert any(write.status == "OK" for write in verdict.run.writes.values())
        assert f"seed-{verdict.run.seed}.png" in (tmp_path / "index.html").read_text()
        assert (tmp_path / f"seed-{verdict.run.seed}.png").stat().st_size > 10_000


class _NeverStarts(OneServer):
    """As where no memory is left."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self._server = RedisServer(program="false", port=port)


async def test_a_redis_that_does_not_start_costs_only_its_own_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redis-server of a Cluster did not start, and with it went what fifty seeds before it had shown."""
    monkeypatch.setattr("tests.chaos.__main__.WORLDS", {"workers": World(redis=_NeverStarts)})

    blown = await blow([1, 2], Load(), tmp_path / "machine", world="workers")

    assert [] == blown.verdicts
    why = "workers: RuntimeError('redis-server does not start')"
    assert {1: why, 2: why} == blown.not_run


def test_seeds_are_given_as_people_write_them() -> None:
    """One, a span, or several of both."""
    assert [7] == list(seeds_of("7"))
    assert [1, 2, 3, 9] == list(seeds_of("1-3,9"))
