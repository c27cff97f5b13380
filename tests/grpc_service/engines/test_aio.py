"""The engine of aio.py is an engine."""

from grpc_service.engines.aio import AioEngine
from grpc_service.engines.interface import Engine, EngineSettings
from tests.grpc_service.engines.engine_contract import EngineContract


class TestAioEngine(EngineContract):
    def make(self, settings: EngineSettings) -> Engine:
        return AioEngine(settings)
