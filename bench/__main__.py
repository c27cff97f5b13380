"""`python -m bench`: measures, prints a table, writes JSON, a chart; ends with 1 when a reply was wrong."""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import grpc

from bench import report
from bench.checking import WrongAnswer
from bench.customers import states
from bench.footprint import Footprint, footprint
from bench.load import LoadFailed, tool
from bench.measuring import Bench
from bench.scenarios import HEADLINE, by_name
from bench.servers import LOAD_CORE, on_core
from emulator.dates import system_now_ms
from emulator.server import Emulator

FOOTPRINT = "footprint"


def main() -> None:
    """Reads the command line, measures, reports."""
    asked = _parser().parse_args()
    names = [*by_name(), FOOTPRINT] if asked.all else asked.scenario or list(HEADLINE)
    unknown = set(names) - {*by_name(), FOOTPRINT}
    if unknown:
        sys.exit(
            f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join((*by_name(), FOOTPRINT))}"
        )
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        tool()
        with on_core(LOAD_CORE):
            measured, cost = asyncio.run(_measure(asked, names))
    except (LoadFailed, WrongAnswer) as error:
        sys.exit(str(error))
    file = asked.out / "results.json"
    made = report.rows(measured.results, report.ratios_in(file))
    report.write_json(file, made, cost, _about(asked))
    _say(report.table(made))
    if cost is not None:
        _say(report.footprint_lines(cost))
    if made:
        report.draw(asked.out / "throughput.svg", made)
    _say(f"written: {asked.out}")


async def _measure(asked: argparse.Namespace, names: list[str]) -> tuple[Bench, Footprint | None]:
    cost = None
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with Emulator(states=states(system_now_ms())) as emulator:
            bench = Bench(
                emulator=emulator,
                folder=Path(folder),
                rounds=asked.rounds,
                seconds=asked.seconds,
                engine=asked.engine,
                say=_say,
            )
            await bench.measure([scenario for name, scenario in by_name().items() if name in names])
            if FOOTPRINT in names:
                cost = await footprint(emulator, Path(folder), engine=asked.engine)
    return bench, cost


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"by name; without one: {', '.join(HEADLINE)}")
    parser.add_argument("--all", action="store_true", help="every scenario, and the footprint")
    parser.add_argument(
        "--rounds", type=int, default=3, help="each is measured so often; medians are reported"
    )
    parser.add_argument("--seconds", type=int, default=2, help="of each measurement")
    parser.add_argument("--engine", choices=("auto", "cq", "aio"), help="SIDECAR_GRPC_ENGINE")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of the results")
    return parser


def _about(asked: argparse.Namespace) -> dict[str, object]:
    """When, where and how it was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),  # noqa: TID251 - a report's own date
        "command": f"python -m bench {' '.join(sys.argv[1:])}".strip(),
        "rounds": asked.rounds,
        "seconds": asked.seconds,
        "processors": os.cpu_count(),
        "machine": platform.platform(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
    }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
