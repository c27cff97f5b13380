"""What docs/private-names.md says of libraries that no other test would notice."""

import asyncio
from typing import Any

from channels.layers import InMemoryChannelLayer
from channels.worker import Worker

from entitlements.background import awaited, ended
from sidecar_project import serving
from sidecar_project.http_server import HttpServer, twisted_loop


def test_daphne_looks_its_factory_up_as_it_runs() -> None:
    """Otherwise its own is taken, and no bound holds on the HTTP port."""
    assert "HTTPFactory" in HttpServer.run.__code__.co_names


def test_daphne_brings_its_loop() -> None:
    """The one that gRPC, the worker and HTTP share."""
    assert isinstance(twisted_loop, asyncio.AbstractEventLoop)


async def test_the_consumers_of_a_worker_can_be_ended() -> None:
    """Channels leaves them running when its worker ends."""
    layer = InMemoryChannelLayer()
    begun, is_over = asyncio.Event(), asyncio.Event()

    async def consumer(**_asgi: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_over.set()

    worker = Worker(consumer, ["some"], layer)
    running = awaited(worker.arun(), name="worker")
    await layer.send("some", {"type": "any"})
    await begun.wait()

    await serving._end_consumers(worker)

    await ended(running)
    assert is_over.is_set()
