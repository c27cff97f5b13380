"""What was measured, for people and for the next run: a table, JSON, a chart."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.footprint import Footprint
from bench.measuring import Measured
from bench.scenarios import by_name

SIDECAR = "sidecar"
CHART_SCENARIOS = 12
"""More rows than these make the chart unreadable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The medians of one server's rounds in one scenario."""

    scenario: str
    server: str
    in_flight: int
    per_second: float
    p50_us: float
    p99_us: float
    cpu_us: float
    rss_mb: float
    to_aio: float
    """Throughput as a multiple of bare grpc.aio's in the same scenario."""
    to_queue: float
    """The same of the bare completion-queue server's."""
    to_tuned_queue: float
    """The same of the one whose core is set up like the sidecar's."""
    to_compared: float | None
    """The same of the scenario that this one is compared with, the sidecar's own."""
    to_before: float | None
    """Ratio to bare grpc.aio as a multiple of that in the run before: the machine's own speed cancels out."""


def rows(results: Iterable[Measured], before: Mapping[str, float]) -> list[Row]:
    """One row for each scenario, number in flight and server.

    Args:
        results: all rounds.
        before: ratios to bare grpc.aio of the run before, by `key`.
    """
    grouped: dict[tuple[str, int, str], list[Measured]] = {}
    for result in results:
        grouped.setdefault((result.scenario, result.in_flight, result.server), []).append(result)
    rates = {place: median(each.per_second for each in rounds) for place, rounds in grouped.items()}

    def ratio(place: tuple[str, int, str], base: tuple[str, int, str]) -> float:
        return rates[place] / rates[base] if rates.get(base) else 0.0

    made = []
    for place, rounds in sorted(grouped.items()):
        scenario, in_flight, server = place
        to_aio = ratio(place, (scenario, in_flight, "bare aio"))
        compared = by_name()[scenario].compared_with
        base = (compared or "", in_flight, SIDECAR)
        then = before.get(key(scenario, in_flight, server))
        made.append(
            Row(
                scenario=scenario,
                server=server,
                in_flight=in_flight,
                per_second=rates[place],
                p50_us=median(each.p50_us for each in rounds),
                p99_us=median(each.p99_us for each in rounds),
                cpu_us=median(each.cpu_us for each in rounds),
                rss_mb=median(each.rss_mb for each in rounds),
                to_aio=to_aio,
                to_queue=ratio(place, (scenario, in_flight, "bare cq")),
                to_tuned_queue=ratio(place, (scenario, in_flight, "bare cq tuned")),
                to_compared=ratio(place, base) if server == SIDECAR and base in rates else None,
                to_before=to_aio / then if then else None,
            )
        )
    return made


def key(scenario: str, in_flight: int, server: str) -> str:
    """A row's name in the file."""
    return f"{scenario}/{in_flight}/{server}"


def ratios_in(file: Path) -> dict[str, float]:
    """The ratios to bare grpc.aio that an earlier run wrote; none where there was none."""
    if not file.exists():
        return {}
    return {
        key(row["scenario"], row["in_flight"], row["server"]): row["to_aio"]
        for row in json.loads(file.read_text())["rows"]
    }


def write_json(file: Path, made: list[Row], cost: Footprint | None, about: Mapping[str, object]) -> None:
    """Writes everything, for the next run and for whoever wants to reckon."""
    document = {
        "about": dict(about),
        "footprint": None if cost is None else asdict(cost),
        "rows": [asdict(row) for row in made],
    }
    file.write_text(json.dumps(document, indent=1) + "\n")


_COLUMNS = (
    "scenario", "server", "in flight", "req/s", "p50 µs", "p99 µs", "CPU µs", "RSS MB",
    "x aio", "x cq", "x cq tuned", "x compared", "x before",
)  # fmt: skip


def table(made: list[Row]) -> str:
    """A Markdown table."""
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
    lines += [_line(_cells(row)) for row in made]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    numbers = (row.per_second, row.p50_us, row.p99_us, row.cpu_us, row.rss_mb)
    ratios = (row.to_aio, row.to_queue, row.to_tuned_queue, row.to_compared, row.to_before)
    return [
        row.scenario,
        row.server,
        str(row.in_flight),
        *(f"{number:,.0f}" for number in numbers),
        *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
    ]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def footprint_lines(cost: Footprint) -> str:
    """The same of what it costs to be there."""
    return "\n".join(
        (
            f"ready after {cost.ready_cpu_seconds:.2f} s of processor time",
            f"idle RSS {cost.idle_rss_mb:.0f} MB",
            f"a cached customer with 10 entitlements: {cost.rss_bytes_per_customer:,.0f} bytes of RSS, "
            f"{cost.counted_bytes_per_customer:,.0f} as counted (over {cost.customers:,})",
            f"a miss: {cost.cpu_us_per_miss:,.0f} µs of processor time",
        )
    )


def draw(file: Path, made: list[Row]) -> None:
    """A picture of the throughput, by scenario and server."""
    from matplotlib import rc_context  # noqa: PLC0415 - slow to load, and the load runs beside
    from matplotlib.figure import Figure  # noqa: PLC0415

    counts = sorted({row.in_flight for row in made})
    figure = Figure(figsize=(6 * len(counts), 5), layout="constrained")
    for axes, in_flight in zip(figure.subplots(1, len(counts), squeeze=False)[0], counts, strict=True):
        shown = [row for row in made if row.in_flight == in_flight]
        scenarios = list(dict.fromkeys(row.scenario for row in shown))[:CHART_SCENARIOS]
        servers = list(dict.fromkeys(row.server for row in shown))
        height = 0.8 / len(servers)
        for place, server in enumerate(servers):
            rates = {row.scenario: row.per_second for row in shown if row.server == server}
            axes.barh(
                [number + place * height for number in range(len(scenarios))],
                [rates.get(scenario, 0.0) for scenario in scenarios],
                height=height,
                label=server,
            )
        axes.set_yticks([number + 0.4 - height / 2 for number in range(len(scenarios))], scenarios)
        axes.invert_yaxis()
        axes.set_xlabel("requests a second")
        axes.set_title(f"{in_flight} in flight on each connection")
        axes.legend()
    with rc_context({"svg.fonttype": "none"}):  # text stays text: smaller, and can be searched
        figure.savefig(file)
