"""The engine of completion_queue.py is an engine."""

import threading

from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import Engine, EngineSettings
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
