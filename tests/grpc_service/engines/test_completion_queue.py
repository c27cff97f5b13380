"""The engine of completion_queue.py is an engine."""

import threading
import time
from typing import Any

import grpc
import pytest

from grpc_service.engines import completion_queue
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import Engine, EngineSettings
from tests.eventually import eventually
from tests.grpc_service.engines.engine_contract import EngineContract


class TestCompletionQueueEngine(EngineContract):
    def make(self, settings: EngineSettings) -> Engine:
        return CompletionQueueEngine(settings)


async def test_its_thread_is_reported() -> None:
    """It answers hits, so that it is watched."""
    engine = CompletionQueueEngine(EngineSettings(methods=(), options=(), max_concurrent_calls=1))
    assert engine.hits_thread is None
    engine.listen("127.0.0.1:0", None)
    await engine.start()
    try:
        assert ["grpc"] == [each.name for each in threading.enumerate() if each.ident == engine.hits_thread]
    finally:
        await engine.stop(grace_seconds=1)


async def test_a_clock_that_is_set_back_stops_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call that waited for its client was ended for as long as the clock had been set back."""
    real, ticks = time.time, list[float]()
    monkeypatch.setattr(completion_queue, "TICK_SECONDS", 0.05)
    engine = CompletionQueueEngine(EngineSettings(methods=(), options=(), max_concurrent_calls=1))
    monkeypatch.setattr(engine.places, "tick", lambda: ticks.append(time.monotonic()))
    port = engine.listen("127.0.0.1:0", None)
    await engine.start()
    try:
        with monkeypatch.context() as ahead:
            ahead.setattr(time, "time", lambda: real() + 3600)
            await eventually(lambda: engine._tick_at > real() + 3000)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary("/t.T/Unknown")

            async def has_ticked_again() -> bool:
                with pytest.raises(grpc.aio.AioRpcError):
                    await call(b"")
                return len(ticks) > before

            before = len(ticks)
            await eventually(has_ticked_again)
    finally:
        await engine.stop(grace_seconds=1)
