"""Log lines on their way to a real pipe, which is read, not read, or closed."""

import logging
import os
import re
import threading
from collections.abc import Iterator

import pytest

from entitlements import metrics
from sidecar_project import log_output
from sidecar_project.log_output import MAX_QUEUED_BYTES, LogOutput, QueueingHandler

SECONDS = 10.0
LINE = "x" * 10_000


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """Reading and writing end; what a test closes it takes out."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def dropped() -> float:
    return float(metrics.LOG_LINES_DROPPED._value.get())


def read_lines(descriptor: int, count: int) -> list[bytes]:
    data = b""
    while data.count(b"\n") < count:
        data += os.read(descriptor, 1 << 16)
    return data.splitlines()


def test_lines_come_out_in_order(pipe: list[int]) -> None:
    output = LogOutput(pipe[1])

    for n in range(100):
        output.write(f"line {n} ☂ \ud800")

    assert [f"line {n} ☂ \\ud800".encode() for n in range(100)] == read_lines(pipe[0], 100)
    output.flush()


def test_a_pipe_that_nobody_reads_holds_up_nobody(pipe: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """What is past the bound is counted, and reported when it flows again."""
    output, before = LogOutput(pipe[1]), dropped()
    too_many = 50
    fitting = MAX_QUEUED_BYTES // (len(LINE) + 1)

    for _ in range(fitting + too_many):
        output.write(LINE)
    lost = dropped() - before
    read = read_lines(pipe[0], fitting + too_many - int(lost))
    output.flush(SECONDS)

    assert 0 < lost <= too_many
    assert {LINE.encode()} == set(read)
    counted = [
        re.fullmatch(r"log lines were dropped count=(\d+): stdout was not read", each)
        for each in caplog.messages
    ]
    assert sum(int(each[1]) for each in counted if each) == lost
    assert all(counted)


def test_a_reader_that_went_away_is_no_error(pipe: list[int]) -> None:
    os.close(pipe.pop(0))
    output, before = LogOutput(pipe[0]), dropped()

    output.write("one")
    output.write("two")
    output.flush(SECONDS)

    assert 2 == dropped() - before


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe: list[int]) -> None:
    """Another process that shares it may have made it so."""
    os.set_blocking(pipe[1], False)
    output, before = LogOutput(pipe[1]), dropped()

    for _ in range(100):
        output.write(LINE)

    assert 100 == len(read_lines(pipe[0], 100))
    output.flush(SECONDS)
    assert before == dropped()


def test_the_end_of_the_process_does_not_wait_for_a_reader(pipe: list[int]) -> None:
    output = LogOutput(pipe[1])
    for _ in range(20):
        output.write(LINE)

    ending = threading.Thread(target=output.flush, args=(0.1,))
    ending.start()
    ending.join(SECONDS)

    assert not ending.is_alive()
    read_lines(pipe[0], 20)


def test_the_handler_queues_what_it_formats(pipe: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_output, "OUTPUT", LogOutput(pipe[1]))
    handler = QueueingHandler()
    handler.setFormatter(logging.Formatter("{levelname} {message}", style="{"))

    handler.handle(logging.LogRecord("a", logging.INFO, "", 0, "b %s", ("c",), None))
    handler.flush()

    assert [b"INFO b c"] == read_lines(pipe[0], 1)
