"""Our own gRPC clients ask nobody on this machine by way of a proxy."""

import asyncio

import pytest

from grpc_service.channels import channel_options
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.selection import choose_engine


@pytest.mark.parametrize(
    ("address", "is_direct"),
    [
        ("127.0.0.1:50051", True),
        ("localhost:50051", True),
        ("[::1]:50051", True),
        ("unix:/run/sidecar", True),
        ("sidecar.internal:80", False),
        ("10.0.0.1:80", False),
        ("[oops", False),
    ],
)
def test_only_this_machine_is_asked_directly_in_any_case(address: str, *, is_direct: bool) -> None:
    assert is_direct is bool(channel_options(address))


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_a_proxy_does_not_decide_which_engine_serves(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial of the quick engine went through the proxy, failed, and the slow one served."""
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1000))
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        assert CompletionQueueEngine is await choose_engine("cq")

    assert [] == asked
