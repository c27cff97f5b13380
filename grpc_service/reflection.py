"""Server reflection: which services there are, and what they speak."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2

from grpc_service.methods import StreamMethod

SERVICE = reflection.SERVICE_NAME


def reflection_method(services: Sequence[str]) -> StreamMethod:
    """ServerReflectionInfo of these services and of itself."""
    servicer = reflection.aio.ReflectionServicer((*services, SERVICE))

    async def answer(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        parsed = (reflection_pb2.ServerReflectionRequest.FromString(request) async for request in requests)
        responses: Any = servicer.ServerReflectionInfo(parsed, None)  # its stubs take it for a coroutine
        async for response in responses:
            yield response.SerializeToString()

    return StreamMethod(path=f"/{SERVICE}/ServerReflectionInfo", answer=answer)
