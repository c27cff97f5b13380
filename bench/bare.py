"""The least that can answer a gRPC call in Python, as the measure of the sidecar.

`python -m bench.bare KIND HEX`: KIND is `aio`, as every gRPC tutorial does it, or `cq`, a loop on grpcio's
own completion queue. Each answers every request with the bytes that HEX writes out, and prints its port.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # private: its stubs know nothing of it

CALLS_AWAITED = 100


async def serve_aio(reply: bytes) -> None:
    """A generic handler on `grpc.aio`, until cancelled."""

    async def answer(_request: bytes, _context: object) -> bytes:
        return reply

    class Handlers(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handlers(),))
    _announce(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await server.wait_for_termination()


def serve_queue(reply: bytes) -> None:
    """One thread that polls: the call, its request, and all of the answer in one batch; until killed."""
    queue = cygrpc.CompletionQueue()
    server = cygrpc.Server((), False)
    server.register_completion_queue(queue)
    port = server.add_http2_port(b"127.0.0.1:0")
    server.start()

    def accepted(event: Any) -> None:
        server.request_call(queue, queue, accepted)
        call = event.call

        def received(event: Any) -> None:
            event.batch_operations[0].message()
            # Operations keep what the core gave them: they cannot serve two calls.
            call.start_server_batch(
                (
                    cygrpc.SendInitialMetadataOperation(None, 0),
                    cygrpc.SendMessageOperation(reply, 0),
                    cygrpc.SendStatusFromServerOperation(None, cygrpc.StatusCode.ok, b"", 0),
                ),
                finished,
            )

        call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), received)

    def finished(_: Any) -> None:
        """Nothing is left to do."""

    for _ in range(CALLS_AWAITED):
        server.request_call(queue, queue, accepted)
    _announce(port)
    while True:
        event = queue.poll()
        tag: Callable[[Any], None] | None = event.tag
        if tag is not None:
            tag(event)


def _announce(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def main(kind: str, reply: bytes) -> None:
    """Serves until killed."""
    if kind == "aio":
        asyncio.run(serve_aio(reply))
    else:
        serve_queue(reply)


if __name__ == "__main__":
    main(sys.argv[1], bytes.fromhex(sys.argv[2]))
