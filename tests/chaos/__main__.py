"""`make chaos`: seeded runs, one after the other, a line for each and a report of all."""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.chaos.beside import Beside, built, chosen
from tests.chaos.judge import judge
from tests.chaos.machine import Machine
from tests.chaos.records import now
from tests.chaos.report import line_of, summary_of, write_report
from tests.chaos.verdict import Verdict
from tests.chaos.weather import Load, TooBusy, Weather
from tests.chaos.worlds import WORLDS, world_of


def seeds_of(text: str) -> Sequence[int]:
    """`7`, `1-20` or `3,5,8-10`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


@dataclass(slots=True, kw_only=True)
class Blown:
    """What became of the seeds."""

    verdicts: list[Verdict] = field(default_factory=list)
    not_run: dict[int, str] = field(default_factory=dict)
    """By seed: why nothing can be said of it."""


async def blow(
    seeds: Sequence[int],
    load: Load,
    folder: Path,
    *,
    world: str | None = None,
    stacks: Sequence[str] = (),
) -> Blown:
    """Run the seeds, those of a world on one machine, as long as that is in order.

    Args:
        seeds: each chooses its script.
        load: how hard and how long.
        folder: where the machines keep what they need.
        world: of all; left out: each seed chooses its own.
        stacks: of clients beside the storm, which the seeds choose from.
    """
    by_world: dict[str, list[int]] = {}
    for seed in seeds:
        by_world.setdefault(world or world_of(seed), []).append(seed)
    blown = Blown()
    for name, those in by_world.items():
        clients = {seed: chosen(seed, stacks) if stacks else None for seed in those}
        await _blow_in(name, clients, load, folder / name.replace(" ", "-"), blown)
    return blown


async def _blow_in(
    name: str, seeds: Mapping[int, Beside | None], load: Load, folder: Path, blown: Blown
) -> None:
    """A seed whose machine does not start, or breaks by itself, was not run; the next has another machine."""
    async with AsyncExitStack() as stack:
        machine: Machine | None = None
        for seed, client in seeds.items():
            is_in_order = False
            try:
                if machine is None:
                    entered = Machine(folder / str(seed), WORLDS[name])
                    machine = await stack.enter_async_context(entered)
                    for fault, why in machine.cannot.items():
                        _say(f"left out in the world {name}: {fault}: {why}")
                weather = Weather(machine, seed, load, client)
                weather.run.world = name
                verdict = judge(await weather.blow())
                blown.verdicts.append(verdict)
                await _tell(verdict, machine, folder.parent)
                is_in_order = verdict.run.heal_seconds is not None
            except TooBusy as error:
                blown.not_run[seed] = f"{name}: {error}"
                _say(f"seed {seed}, {name}: NOT JUDGED: {error}")
            except Exception as error:  # noqa: BLE001  of a hundred runs the others still count
                blown.not_run[seed] = f"{name}: {error!r}"
                _say(f"seed {seed}, {name}: NOT RUN\n{''.join(traceback.format_exception(error))}")
            if not is_in_order:
                await stack.aclose()
                machine = None


async def _tell(verdict: Verdict, machine: Machine, folder: Path) -> None:
    """As soon as it is known, and with the logs of a guilty run."""
    _say(line_of(verdict))
    for violation in {each.kind: each for each in reversed(verdict.violations)}.values():
        times = verdict.counts[violation.kind]
        _say(f"    {violation.at:6.2f} s {violation.kind} ({times}): {violation.words}")
    if verdict.violations:
        await _keep_what_they_say(machine, verdict, folder)


async def _keep_what_they_say(machine: Machine, verdict: Verdict, folder: Path) -> None:
    """The logs, the last words of who died, and the parts of every worker, as of a run with a violation."""
    seed = verdict.run.seed
    if verdict.run.deaths:
        (folder / f"log-{seed}-deaths.txt").write_text("\n".join(death.words for death in verdict.run.deaths))
    for name, instance in machine.instances.items():
        (folder / f"log-{seed}-{name}.txt").write_text(instance.sidecar.output)
        with contextlib.suppress(httpx.HTTPError):
            (folder / f"parts-{seed}-{name}.json").write_text(json.dumps(await instance.parts(), indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run, report; 0 when every seed was run without a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", default="1-5", help="which, as 7 or 1-20 or 3,5,8-10")
    parser.add_argument("--world", choices=WORLDS, help="of all seeds; left out: each chooses its own")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each storm lasts")
    parser.add_argument("--reads", type=float, default=Load().reads_per_second, help="a second")
    parser.add_argument("--report", type=Path, default=Path("build/chaos"), help="folder of the report")
    asked = parser.parse_args(arguments)
    asked.report.mkdir(parents=True, exist_ok=True)
    began = now()
    with tempfile.TemporaryDirectory(prefix="weather-", ignore_cleanup_errors=True) as folder:
        load = Load(seconds=asked.seconds, reads_per_second=asked.reads)
        stacks, missing = asyncio.run(built())
        for stack, why in missing.items():
            _say(f"left out: clients of {stack}: {why}")
        blown = asyncio.run(blow(seeds_of(asked.seeds), load, Path(folder), world=asked.world, stacks=stacks))
        for kept in (*Path(folder).glob("log-*.txt"), *Path(folder).glob("parts-*.json")):
            (asked.report / kept.name).write_text(kept.read_text())
    write_report(blown.verdicts, asked.report)
    _say(summary_of(blown.verdicts))
    for seed, why in blown.not_run.items():
        _say(f"not run: seed {seed}, {why}")
    _say(f"{now() - began:.0f} s, report: {asked.report / 'index.html'}")
    return 1 if blown.not_run or any(verdict.violations for verdict in blown.verdicts) else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
