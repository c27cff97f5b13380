"""Load, and what came of it: `h2load` with one request over and over, or requests that differ (`varied`)."""

import asyncio
import json
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from bench.scenarios import Question, Scenario

SPARE_SECONDS = 30.0
"""A load that has not ended so long after its time is broken."""
_DONE = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded")
_DATA = re.compile(r"\((\d+)\) data")
_TOOL = "h2load"


class LoadFailed(Exception):
    """The load did not do what it was to do; the text says what it did instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one load got."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    reply_bytes: int
    """All replies together, each with the five bytes before a gRPC message."""
    new_customers: int = 0
    """How many customers were asked about that nobody had asked about before."""

    @property
    def per_second(self) -> float:
        """Throughput."""
        return self.requests / self.seconds


def framed(message: bytes) -> bytes:
    """A gRPC message as it stands in HTTP/2 data: not compressed, its length, itself."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def tool() -> str:
    """Where h2load is.

    Raises:
        LoadFailed: it is not installed.
    """
    found = shutil.which(_TOOL)
    if found is None:
        message = "h2load is not installed; Debian has it in nghttp2-client: apt-get install nghttp2-client"
        raise LoadFailed(message)
    return found


async def repeated(
    port: int, question: Question, *, connections: int, in_flight: int, seconds: int, folder: Path
) -> Load:
    """One question over and over, by h2load."""
    body, log = folder / "request.bin", folder / "h2load.log"
    body.write_bytes(framed(question.request.SerializeToString()))
    log.unlink(missing_ok=True)
    output = await run(
        tool(),
        *("-c", str(connections), "-m", str(in_flight), "-D", str(seconds)),
        *("-d", str(body), "--log-file", str(log)),
        *("-H", "content-type: application/grpc", "-H", "te: trailers"),
        f"http://127.0.0.1:{port}{question.path}",
        seconds=seconds,
    )
    return from_h2load(output, log.read_text(), seconds=seconds)


def from_h2load(output: str, log: str, *, seconds: float) -> Load:
    """What h2load's own words and its log (one line a request) say.

    Raises:
        LoadFailed: a request failed, or nothing was answered.
    """
    done, data = _DONE.search(output), _DATA.search(output)
    if done is None or data is None or done[1] != done[2] or int(done[1]) == 0:
        raise LoadFailed(output)
    micros = [int(line.split("\t")[2]) for line in log.splitlines()]
    p50, p99 = percentiles(micros)
    return Load(requests=int(done[1]), seconds=seconds, p50_us=p50, p99_us=p99, reply_bytes=int(data[1]))


def percentiles(micros: Sequence[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    cut = quantiles(micros, n=100, method="inclusive")
    return cut[49], cut[98]


async def varied(port: int, scenario: Scenario, *, in_flight: int, seconds: int, first_new: int) -> Load:
    """Requests that differ, by a process of our own."""
    output = await _run_varied(
        port,
        *("--connections", str(scenario.connections), "--in-flight", str(in_flight)),
        *("--first-new", str(first_new)),
        *(("--one-miss-in", str(scenario.one_miss_in)) if scenario.one_miss_in else ()),
        seconds=seconds,
    )
    return Load(**json.loads(output))


async def misses(port: int, *, in_flight: int, seconds: int, first_new: int) -> None:
    """Checks of new customers alone, on one connection, until the time is over or the task is cancelled."""
    await _run_varied(
        port,
        *("--connections", "1", "--in-flight", str(in_flight)),
        *("--first-new", str(first_new), "--one-miss-in", "1"),
        seconds=seconds,
    )


async def each_once(port: int, *, seconds: int) -> Load:
    """Every customer of the varied load once, so that memory holds them all."""
    output = await _run_varied(
        port, "--each-once", "--connections", "1", "--in-flight", "32", seconds=seconds
    )
    return Load(**json.loads(output))


async def _run_varied(port: int, *options: str, seconds: float) -> str:
    return await run(
        *(sys.executable, "-m", "bench.varied", str(port), "--seconds", str(seconds)),
        *options,
        seconds=seconds,
    )


async def run(*command: str, seconds: float) -> str:
    """What a load prints; raises LoadFailed where it fails, TimeoutError where it does not end."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(seconds + SPARE_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise LoadFailed(text)
    return text
