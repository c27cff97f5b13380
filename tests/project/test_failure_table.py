"""The failure table of docs/operating.md, provoked row by row on real processes.

What reports a failure (metric, log line, field of `/readyz?verbose`) is read from the page itself, so that
the person on call can rely on it; its rows are those of contract/operations.md, When something is down.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.eventually import eventually
from tests.harness import ROOT
from tests.project.failures import CUSTOMERS, SECONDS, WEATHER, World
from tests.redis_server import RedisServer

CONTRACT_ROWS = {
    "start with Stigg unreachable or the key refused",
    "Edge fails, GraphQL works",
    "API unreachable, entity cached in memory or Redis",
    "API unreachable, entity not cached",
    "feed lost",
    "Redis down",
    "Redis slow, full (OOM), read-only, holding junk",
    "burst of misses on one entity",
    "client sends garbage, oversized messages, floods",
    "database of fallback rules and people away or damaged",
    "SIGTERM",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What reports a failure: each is a name with what is expected of it."""

    metric: str
    log: str
    verbose: str


def reported_by_row() -> dict[str, Signs]:
    """The table, by its first column."""
    page = (ROOT / "docs" / "operating.md").read_text()
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows if len(row) == 5]  # other tables have fewer
    return {
        what: Signs(metric=metric, log=log, verbose=verbose)
        for what, _, metric, log, verbose in cells
        if what != "what"
    }


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def holds(expected: str, value: float | str | None) -> bool:
    """Whether a value is as the cell says: it rises, or it is a word or a number."""
    if expected == "rises":
        return isinstance(value, float | int) and value > 0
    return value is not None and str(value) == expected.removeprefix("is ").strip("`")


def sample(page: str, name: str) -> str | float | None:
    """The sum of the samples of that name with those labels."""
    found = re.fullmatch(r"(\w+)(?:\{(.*)\})?", name)
    assert found, name
    labels = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
    values = [
        each.value
        for family in text_string_to_metric_families(page)
        for each in family.samples
        if each.name == found[1] and labels.items() <= each.labels.items()
    ]
    return f"{sum(values):g}" if labels == {} and sum(values) == 0 and values else sum(values)


def field(body: Any, path: str) -> Any:
    """A field of the verbose answer; parts are reported by their name."""
    for word in path.split("."):
        body = body[word] if word in body else body["parts"][word]
    return body


@pytest.mark.parametrize("row", reported_by_row())
async def test_a_failure_is_reported_as_the_page_says(
    row: str, emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """By its metric, its log line and its field; the meaning says a sentence about it."""
    reported = reported_by_row()[row]
    metric, _, metric_is = reported.metric.removeprefix("`").partition("` ")
    verbose, _, verbose_is = reported.verbose.removeprefix("`").partition("` ")
    words = reported.log.split('"')[1]
    for name in CUSTOMERS:
        emulator.state.put(name, boolean_state(), push=False)

    async with WEATHER[row](World(emulator=emulator, redis=redis, folder=tmp_path)) as sidecar:
        line = await sidecar.printed(words, seconds=SECONDS)

        async def is_reported_by_the_metric() -> bool:
            return holds(metric_is, sample((await sidecar.get("/metrics")).text, metric))

        async def is_reported_by_the_field() -> bool:
            return holds(verbose_is, field((await sidecar.get("/readyz?verbose")).json(), verbose))

        await eventually(is_reported_by_the_metric)
        await eventually(is_reported_by_the_field)
        body = (await sidecar.get("/readyz?verbose")).json()

    assert line.startswith("{")
    assert {"version", "uptime_seconds", "pid"} <= set(body)
    for part in body["parts"].values():
        assert part["meaning"]
        assert part["since"]


def test_the_page_has_the_rows_of_the_contract() -> None:
    """A row of several failures may stand there once for each."""
    assert CONTRACT_ROWS == {row.partition(":")[0] for row in reported_by_row()}
    assert set(WEATHER) == set(reported_by_row())


def test_a_failure_that_is_not_reported_would_fail_here() -> None:
    """Not every value will do."""
    page = '# TYPE a counter\na_total{b="c"} 2\na_total{b="d"} 0\n# TYPE g gauge\ng 0\n'

    assert [True, False, True, False] == [
        holds("rises", sample(page, name)) for name in ('a_total{b="c"}', 'a_total{b="d"}', "a_total", "g")
    ]
    assert holds("is 0", sample(page, "g"))
    assert not holds("is 1", sample(page, "g"))
    assert not holds("is `x`", None)
