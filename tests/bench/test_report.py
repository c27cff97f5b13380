"""The table says what was measured."""

from pathlib import Path

from bench import report
from bench.measuring import Measured


def measured(server: str, per_second: float, *, scenario: str = "boolean") -> Measured:
    return Measured(
        server=server,
        scenario=scenario,
        in_flight=1,
        per_second=per_second,
        p50_us=1,
        p99_us=2,
        cpu_us=100,
        rss_mb=50,
    )


ROUNDS = [
    measured("bare aio", 100),
    measured("bare cq", 400),
    measured("bare cq tuned", 500),
    measured("sidecar", 300),
    measured("sidecar", 290),
    measured("sidecar", 1),
]


def test_medians_and_ratios() -> None:
    rows = report.rows(ROUNDS, {report.key("boolean", 1, "sidecar"): 1.45})

    row = next(row for row in rows if row.server == "sidecar")
    assert 290 == row.per_second
    assert 2.9 == row.to_aio
    assert 0.725 == row.to_queue
    assert 0.58 == row.to_tuned_queue
    assert 2.0 == row.to_before


def test_a_scenario_is_compared_with_another() -> None:
    rows = report.rows([*ROUNDS, measured("sidecar", 145, scenario="no-provenance")], {})

    assert [0.5] == [row.to_compared for row in rows if row.scenario == "no-provenance"]


def test_the_next_run_reads_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"

    assert report.ratios_in(file) == {}
    report.write_json(file, report.rows(ROUNDS, {}), None, {"date": "today"})
    assert report.ratios_in(file)[report.key("boolean", 1, "sidecar")] == 2.9


def test_table_and_picture(tmp_path: Path) -> None:
    rows = report.rows(ROUNDS, {})

    lines = report.table(rows).splitlines()
    report.draw(tmp_path / "throughput.svg", rows)

    assert "| boolean | sidecar | 1 | 290 | 1 | 2 | 100 | 50 | 2.90 | 0.72 | 0.58 |  |  |" in lines
    assert {line.count("|") for line in lines} == {14}
    assert "requests a second" in (tmp_path / "throughput.svg").read_text()
