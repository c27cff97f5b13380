"""Which engine carries the calls: the quick one where it proves itself, else grpc.aio."""

import asyncio
import importlib
import logging
from functools import partial
from typing import Any, Literal, TypeAlias

import grpc

from grpc_service.channels import channel_options
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.interface import EngineSettings, MakeEngine
from grpc_service.methods import Call, Later, Reply, UnaryMethod

logger = logging.getLogger(__name__)

EngineName: TypeAlias = Literal["auto", "cq", "aio"]

TRIAL_SECONDS = 15.0
"""A trial that takes longer has failed. It is a hundredth of that on a quiet machine; where a node starts all
its pods at once it was more than 3 s, and the sidecar stayed slow for good."""
_TRIAL_PATH = "/sidecar.Trial/Echo"
_COMPLETION_QUEUE = "grpc_service.engines.completion_queue"


async def choose_engine(name: EngineName) -> MakeEngine:
    """What makes the engine of that name; `auto` is the quick one unless its trial fails.

    Raises:
        Exception: `cq` was asked for by name, and is out of order.
    """
    if name == "aio":
        return AioEngine
    try:
        # Imported here: where grpcio's private layer has changed, the import may be what fails.
        make_engine: MakeEngine = importlib.import_module(_COMPLETION_QUEUE).CompletionQueueEngine
        await asyncio.wait_for(_try(make_engine), TRIAL_SECONDS)
    except Exception as error:
        if name == "cq":
            raise
        logger.warning(
            "the quick gRPC engine does not work here; calls are carried by grpc.aio, at a third of the rate",
            extra={"problem": type(error).__name__},
        )
        return AioEngine
    return make_engine


async def _try(make_engine: MakeEngine) -> None:
    """One call at once and one over the loop, by a real client."""
    engine = make_engine(EngineSettings(methods=[_TRIAL], options=(), max_concurrent_calls=2))
    port = engine.listen("127.0.0.1:0", None)
    await engine.start()
    try:
        address = f"127.0.0.1:{port}"
        async with grpc.aio.insecure_channel(address, options=channel_options(address)) as channel:
            echo: Any = channel.unary_unary(_TRIAL_PATH)
            for request in (b"now", b"later"):
                if await echo(request, timeout=TRIAL_SECONDS) != request:
                    raise TrialFailed
    finally:
        await engine.stop(grace_seconds=TRIAL_SECONDS)


class TrialFailed(Exception):
    """The engine answered something else than it was given."""


async def _later(request: bytes, _: Call) -> Reply:
    return request, ()


def _echo(request: bytes) -> Reply | Later:
    return (request, ()) if request == b"now" else Later(answer=partial(_later, request))


_TRIAL = UnaryMethod(path=_TRIAL_PATH, begin=_echo)
