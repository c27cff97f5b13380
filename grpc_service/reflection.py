"""Server reflection: which services there are, and what they speak; as v1, and as v1alpha for older tools."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2

from grpc_service.methods import StreamMethod

SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def reflection_methods(services: Sequence[str]) -> tuple[StreamMethod, ...]:
    """ServerReflectionInfo of these services and of itself; both versions speak the same bytes."""
    pool: Any = _Pool()
    servicer = reflection.aio.ReflectionServicer((*services, *SERVICES), pool=pool)

    async def answer(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        parsed = (reflection_pb2.ServerReflectionRequest.FromString(request) async for request in requests)
        responses: Any = servicer.ServerReflectionInfo(parsed, None)  # its stubs take it for a coroutine
        async for response in responses:
            yield response.SerializeToString()

    return tuple(StreamMethod(path=f"/{service}/ServerReflectionInfo", answer=answer) for service in SERVICES)


class _Pool:
    """The descriptors of this process; grpcio brings none of v1, and protobuf finds no method by its name."""

    def __init__(self) -> None:
        self._pool: Any = descriptor_pool.Default()
        self._pool.AddSerializedFile(_newer_file().SerializeToString())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - protobuf's name
        """The file of a message, field, enum or service; and of a method, named `package.Service.Method`."""
        service, _, method = symbol.rpartition(".")
        try:
            if method in self._pool.FindServiceByName(service).methods_by_name:
                symbol = service
        except KeyError:
            pass  # no service: the symbol stands for itself
        return self._pool.FindFileContainingSymbol(symbol)


def _newer_file() -> descriptor_pb2.FileDescriptorProto:
    """v1 is v1alpha under another name."""
    older = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(older)
    text = text_format.MessageToString(older).replace("v1alpha", "v1")
    return text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
