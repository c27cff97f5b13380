"""Where the servers run."""

import os

import pytest

from bench.servers import LOAD_CORE, SERVER_CORE, on_core

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
