"""`make soak`: mixed load for a quarter of an hour; memory, files, threads and latency must stay flat."""

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, quantiles

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from tests.chaos.client import LINES_EACH, METHODS, Line, WeatherClient
from tests.chaos.machine import INSTANCES, Machine
from tests.chaos.records import Resources, Run, now
from tests.chaos.weather import Load, Weather
from tests.chaos.worlds import WORLDS

mpl.use("Agg")
WORLD = "workers"
"""Unless another is named."""
WARM_SHARE = 0.2
"""Caches, pools and the allocator fill in this first part of the time, which is not judged."""
SAMPLE_SECONDS = 5.0
BURST = 100
"""How many misses at a time fill the pools of a worker; one by one they fill in the course of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was seen in one moment, and the latencies since the last."""

    at: float
    rss_mb: float
    fds: int
    threads: int
    redis_mb: float
    p50_ms: float
    p99_ms: float
    answers: int
    wrong: int
    """Fallbacks, failed reads and calls turned elsewhere: in fine weather there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How far a fitted line may rise from the end of the warm-up to the end."""

    field: str
    unit: str
    most: float
    """Absolute, in the unit."""


BOUNDS = (
    Bound(field="rss_mb", unit="MB, all processes", most=4.0 * len(INSTANCES) * (WORLDS[WORLD].workers + 1)),
    Bound(field="fds", unit="open files", most=4.0),
    Bound(field="threads", unit="threads", most=4.0),
    Bound(field="redis_mb", unit="MB in Redis", most=4.0),
    Bound(field="p50_ms", unit="ms, median", most=2.0),
)


def rise(samples: Sequence[Sample], field: str) -> float:
    """How much the least-squares line rises over the samples."""
    ats = np.array([sample.at for sample in samples])
    values = np.array([float(getattr(sample, field)) for sample in samples])
    slope = float(np.polyfit(ats, values, 1)[0])
    return slope * float(ats[-1] - ats[0])


def judged(samples: Sequence[Sample]) -> Sequence[str]:
    """A sentence for each line that is not flat, and for wrong answers."""
    warm = samples[int(len(samples) * WARM_SHARE) :]
    found = [
        f"{bound.field} rose by {rise(warm, bound.field):.1f} ({bound.unit}); at most {bound.most} is flat"
        for bound in BOUNDS
        if rise(warm, bound.field) > bound.most
    ]
    wrong = sum(sample.wrong for sample in samples)
    return [*found, f"{wrong} reads were failed, turned elsewhere or fallbacks"] if wrong else found


class Soak(Weather):
    """A run without weather that forgets what it has judged, so that it may last."""

    def __init__(self, machine: Machine, seconds: float, rate: float) -> None:
        super().__init__(machine, 0, Load(seconds=seconds, reads_per_second=rate))
        self.samples: list[Sample] = []

    async def soak(self) -> Sequence[Sample]:
        """Load until the time is over."""
        await self._introduce()
        lines = [
            Line(instance, number)
            for instance in self._machine.instances.values()
            for number in range(LINES_EACH)
        ]
        for line in lines:
            await line.__aenter__()
        client = WeatherClient(self.run, lines)
        await self._warm(client)
        await self._fill_pools(client)
        self.run.answers.clear()
        self.run.began = now()
        work = (
            self._read_for_ever(client),
            self._write_for_ever(client),
            self._change_for_ever(),
            self._watch_for_ever(),
        )
        tasks = [asyncio.create_task(each) for each in work]
        await asyncio.wait(tasks, timeout=self._load.seconds, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in failed:
            task.result()
        await asyncio.gather(*self._reads, return_exceptions=True)
        for line in lines:
            await line.__aexit__(None, None, None)
        return self.samples

    async def _fill_pools(self, client: WeatherClient) -> None:
        """A burst of misses makes every worker open all threads and connections that its pools may have."""
        for line in client.lines:
            strangers = [f"stranger-{line.name}-{number}" for number in range(BURST)]
            await asyncio.gather(*(client.ask(line, who, "list") for who in strangers))

    async def _watch_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            redis_bytes = await asyncio.to_thread(_used_bytes, self._machine)
            self.samples.append(_sample(self.run, self._machine.measure(), redis_bytes))
            self.run.answers.clear()
            self.run.failed_tries.clear()
            self.run.failed_reads.clear()
            self.run.writes.clear()


def _used_bytes(machine: Machine) -> int:
    reported = [server.command("INFO", "memory") for server in machine.store.servers]
    return sum(int(each["used_memory"]) for each in reported)


def _sample(run: Run, resources: Resources, redis_bytes: int) -> Sample:
    latencies = [answer.ended - answer.started for answer in run.answers] or [0.0, 0.0]
    cuts = quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    fallbacks = sum(answer.is_fallback for answer in run.answers)
    return Sample(
        at=round(now() - run.began, 1),
        rss_mb=resources.rss_bytes / 1e6,
        fds=resources.fds,
        threads=resources.threads,
        redis_mb=redis_bytes / 1e6,
        p50_ms=cuts[49] * 1000,
        p99_ms=cuts[98] * 1000,
        answers=len(run.answers),
        wrong=fallbacks + len(run.failed_tries) + len(run.failed_reads),
    )


def draw(samples: Sequence[Sample], file: Path) -> None:
    """Draw each measure with its fitted line."""
    figure = Figure(figsize=(11, 10), layout="constrained")
    fields = ("rss_mb", "fds", "threads", "redis_mb", "p50_ms", "p99_ms")
    ats = [sample.at for sample in samples]
    warm = samples[int(len(samples) * WARM_SHARE) :]
    for field, axes in zip(fields, figure.subplots(len(fields), 1, sharex=True), strict=True):
        values = [getattr(sample, field) for sample in samples]
        axes.plot(ats, values, color="#1565c0", linewidth=1)
        middle, half = fmean(getattr(sample, field) for sample in warm), rise(warm, field) / 2
        axes.plot([warm[0].at, warm[-1].at], [middle - half, middle + half], color="#c62828")
        axes.set_ylabel(field)
        axes.set_ylim(0, max(1e-9, *values) * 1.15)
        axes.set_title(f"rises by {2 * half:.2f}", fontsize=8, loc="right")
    axes.set_xlabel("seconds")
    figure.savefig(file, dpi=80)


async def _soak(seconds: float, rate: float, world: str) -> Sequence[Sample]:
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder:
        async with Machine(Path(folder), WORLDS[world]) as machine:
            return await Soak(machine, seconds, rate).soak()


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, report; 0 when all lines are flat."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=900.0, help="how long")
    parser.add_argument("--world", choices=WORLDS, default=WORLD, help="which")
    parser.add_argument("--rate", type=float, default=100.0, help="reads a second")
    parser.add_argument("--report", type=Path, default=Path("build/soak"), help="folder of the report")
    asked = parser.parse_args(arguments)
    asked.report.mkdir(parents=True, exist_ok=True)
    random.seed(0)
    samples = asyncio.run(_soak(asked.seconds, asked.rate, asked.world))
    (asked.report / "soak.json").write_text(json.dumps([asdict(sample) for sample in samples]))
    draw(samples, asked.report / "soak.png")
    warm = samples[int(len(samples) * WARM_SHARE) :]
    for bound in BOUNDS:
        mean = fmean(getattr(sample, bound.field) for sample in warm)
        _say(f"{bound.field}: mean {mean:.1f}, rises by {rise(warm, bound.field):.2f} ({bound.unit})")
    _say(f"{sum(sample.answers for sample in samples)} answers; {', '.join(METHODS)}, writes and changes")
    found = judged(samples)
    for sentence in found:
        _say(f"NOT FLAT: {sentence}")
    return 1 if found else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
