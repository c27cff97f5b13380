"""Where the servers run."""

import os
import subprocess
import sys

import psutil
import pytest

from bench.servers import LOAD_CORE, SERVER_CORE, on_core, spread

TWO_CORES = pytest.mark.skipif(
    not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0), reason="needs processors 0 and 1"
)


@TWO_CORES
def test_the_server_gets_a_processor_of_its_own_within_the_load_s() -> None:
    """It once shared the load's: whoever is placed there could not start anything elsewhere."""
    before = os.sched_getaffinity(0)
    with on_core(LOAD_CORE):
        assert {LOAD_CORE} == os.sched_getaffinity(0)
        with on_core(SERVER_CORE):
            assert {SERVER_CORE} == os.sched_getaffinity(0)
        assert {LOAD_CORE} == os.sched_getaffinity(0)

    assert before == os.sched_getaffinity(0)


def test_a_processor_that_is_not_there_is_done_without() -> None:
    before = os.sched_getaffinity(0)
    with on_core(100_000):
        assert before == os.sched_getaffinity(0)


@TWO_CORES
def test_workers_get_a_processor_each_with_all_their_threads() -> None:
    """A thread that was started before is moved, too: what answers is one."""
    program = "import threading; threading.Thread(target=input).start(); print(flush=True)"
    workers = [
        subprocess.Popen(  # noqa: S603 - it is written above
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()

    spread([psutil.Process(worker.pid) for worker in workers])

    cores = [
        [os.sched_getaffinity(thread.id) for thread in psutil.Process(worker.pid).threads()]
        for worker in workers
    ]
    for worker in workers:
        worker.communicate(b"\n")
    assert [[{SERVER_CORE}] * 2, [{LOAD_CORE}] * 2, [{SERVER_CORE}] * 2] == cores
