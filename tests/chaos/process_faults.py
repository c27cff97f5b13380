"""What can be done to the sidecars of a machine, and to what they stand on."""

import contextlib
import errno
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import psutil

from tests.chaos.machine import Machine
from tests.chaos.records import Run

Targets = Sequence[str]
DAY_SECONDS = 86_400
CLOCK_JUMPS_SECONDS = (3_700, -3_700, DAY_SECONDS, -DAY_SECONDS, 40 * DAY_SECONDS, -40 * DAY_SECONDS)


@asynccontextmanager
async def sidecar_killed(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    await instance.kill()
    try:
        yield
    finally:
        await instance.start()


@asynccontextmanager
async def sidecar_rolled(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    await instance.stop()
    try:
        yield
    finally:
        await instance.start()


@asynccontextmanager
async def sidecar_paused(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    instance.pause()
    try:
        yield
    finally:
        instance.resume()


@asynccontextmanager
async def worker_killed(machine: Machine, run: Run, targets: Targets) -> AsyncIterator[None]:
    instance = machine.instances[targets[0]]
    times = instance.times_listening()
    random.Random(run.seed).choice(instance.workers()).kill()
    try:
        yield
    finally:
        await instance.listening(times + 1)


@asynccontextmanager
async def worker_paused(machine: Machine, run: Run, targets: Targets) -> AsyncIterator[None]:
    worker = random.Random(run.seed).choice(machine.instances[targets[0]].workers())
    worker.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.resume()


@asynccontextmanager
async def disk_full(machine: Machine, _run: Run, targets: Targets) -> AsyncIterator[None]:
    fillers = [machine.data_dir(name) / "filler" for name in targets]
    for filler in fillers:
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    os.write(file.fileno(), b"x" * 4096)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    try:
        yield
    finally:
        for filler in fillers:
            filler.unlink(missing_ok=True)


@asynccontextmanager
async def packets_dropped(machine: Machine, _run: Run, _targets: Targets) -> AsyncIterator[None]:
    with contextlib.ExitStack() as stack:
        for name, space in machine.spaces.items():
            ports = [machine.cloud_lines[name].port, machine.redis_lines[name].port]
            stack.enter_context(space.dropping(ports))
        yield


@asynccontextmanager
async def clock_jump(machine: Machine, run: Run, targets: Targets) -> AsyncIterator[None]:
    for name in targets:
        jump = random.Random(run.seed).choice(CLOCK_JUMPS_SECONDS)
        machine.set_clock(name, wrong_by_seconds=jump)
    try:
        yield
    finally:
        for name in targets:
            machine.set_clock(name, wrong_by_seconds=0)


@asynccontextmanager
async def leader_paused(machine: Machine, run: Run, _targets: Targets) -> AsyncIterator[None]:
    """Longer than the lease: another leads by the time that it goes on."""
    name, leader = await _leader(machine)
    if leader is None:
        yield
        return
    struck = next(each for each in reversed(run.happened) if each.fault == "leader paused")
    struck.targets = (name,)
    leader.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader.resume()


async def _leader(machine: Machine) -> tuple[str, psutil.Process | None]:
    """Its instance, too; nobody, while they have not agreed on one, or cannot be asked."""
    for name, instance in machine.instances.items():
        with contextlib.suppress(httpx.HTTPError):
            for said in await instance.parts():
                if said["parts"]["feed"]["role"] == "leader":
                    return name, psutil.Process(said["pid"])
    return "", None
