"""The engine of completion_queue.py is an engine."""

from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import Engine, EngineSettings
from tests.grpc_service.engines.engine_contract import EngineContract


class TestCompletionQueueEngine(EngineContract):
    def make(self, settings: EngineSettings) -> Engine:
        return CompletionQueueEngine(settings)
