"""Which engine is chosen, and what happens where the quick one is out of order."""

import asyncio
import logging

import pytest

from grpc_service.engines import selection
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import EngineSettings
from grpc_service.engines.selection import EngineName, choose_engine
from grpc_service.methods import UnaryMethod


class Mute(AioEngine):
    """Refuses to be made, as an engine whose private parts have moved."""

    def __init__(self, settings: EngineSettings) -> None:
        raise AttributeError


class Garbled(AioEngine):
    """Loses what it carries."""

    def __init__(self, settings: EngineSettings) -> None:
        methods = [
            UnaryMethod(path=method.path, begin=lambda request: (request[:0], ()))
            for method in settings.methods
            if isinstance(method, UnaryMethod)
        ]
        super().__init__(EngineSettings(methods=methods, options=(), max_concurrent_calls=1))


class Hanging(AioEngine):
    """Never serves."""

    async def start(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("name", "engine"), [("auto", CompletionQueueEngine), ("cq", CompletionQueueEngine), ("aio", AioEngine)]
)
async def test_choice(name: EngineName, engine: type) -> None:
    """The quick engine works here, and is chosen unless the other is asked for."""
    assert engine is await choose_engine(name)


@pytest.mark.parametrize("broken", [Mute, Garbled])
async def test_broken_engine_is_left_with_a_warning(
    broken: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The sidecar serves on grpc.aio, and says so once."""
    monkeypatch.setattr("grpc_service.engines.completion_queue.CompletionQueueEngine", broken)

    assert AioEngine is await choose_engine("auto")
    assert [logging.WARNING] == [
        record.levelno for record in caplog.records if record.name.startswith("grpc_service")
    ]


async def test_a_machine_that_stands_still_for_seconds_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node that starts all its pods at once; the choice holds for as long as the process lives."""
    loop = asyncio.get_running_loop()
    start, now = CompletionQueueEngine.start, loop.time

    async def late(engine: CompletionQueueEngine) -> None:
        await start(engine)
        monkeypatch.setattr(loop, "time", lambda: now() + 10)

    monkeypatch.setattr(CompletionQueueEngine, "start", late)

    assert CompletionQueueEngine is await choose_engine("auto")


async def test_an_engine_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "TRIAL_SECONDS", 0.2)
    monkeypatch.setattr("grpc_service.engines.completion_queue.CompletionQueueEngine", Hanging)

    assert AioEngine is await choose_engine("auto")


async def test_broken_engine_that_was_asked_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names the engine gets that one or none."""
    monkeypatch.setattr("grpc_service.engines.completion_queue.CompletionQueueEngine", Mute)

    with pytest.raises(AttributeError):
        await choose_engine("cq")
