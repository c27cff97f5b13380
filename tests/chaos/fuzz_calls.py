"""Calls of every method with bytes that are no message, or one with mistakes in it."""

from random import Random
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from grpc_service.errors import UNEXPECTED
from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.hostile import IDS, mutated

SERVICE = pb.DESCRIPTOR.services_by_name["SidecarService"]
MAX_DEPTH = 4
DEFECTS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED}
"""No content may end a call like this."""
_NUMBERS = (0, 1, -1, 5, 2**31 - 1, -(2**31))
_DOUBLES = (0.0, -0.0, 0.1, 1e308, -1e308, float("nan"), float("inf"), -1.0)
_WHOLE = {
    FieldDescriptor.CPPTYPE_INT64: (0, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_INT32: _NUMBERS,
}


def message_of(random: Random, descriptor: Descriptor, depth: int = 0) -> Message:
    """A message with any of its fields set to anything that its type allows."""
    message = GetMessageClass(descriptor)()
    for each in descriptor.fields:
        if random.random() < 0.7:
            _fill(random, message, each, depth)
    return message


def _fill(random: Random, message: Message, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        held = getattr(message, field.name)
        for _ in range(random.randint(0, 2)):
            held[random.choice(IDS)].MergeFrom(_value(random, field.message_type.fields[1], depth))
        return
    if field.is_repeated:
        count = random.randint(0, 3)
        getattr(message, field.name).extend(_value(random, field, depth) for _ in range(count))
    elif field.message_type is None:
        setattr(message, field.name, _value(random, field, depth))
    elif depth < MAX_DEPTH:
        getattr(message, field.name).MergeFrom(_value(random, field, depth))


def _value(random: Random, field: FieldDescriptor, depth: int) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            assert field.message_type is not None
            return message_of(random, field.message_type, depth + 1)
        case FieldDescriptor.CPPTYPE_STRING:
            return random.choice(IDS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return random.random() < 0.5
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return random.choice(_DOUBLES)
        case FieldDescriptor.CPPTYPE_ENUM:
            return random.choice([0, 1, 2, 99])
        case kind:
            return random.choice(_WHOLE[kind])


async def call_all(address: str, random: Random, rounds: int) -> dict[str, int]:
    """Call each method so many times with a good, a bad and a senseless request; returns the codes.

    An answer has to be the method's message; a refusal must not be a defect of ours.
    """
    codes: dict[str, int] = {}
    async with grpc.aio.insecure_channel(address) as channel:
        for _ in range(rounds):
            for method in SERVICE.methods:
                good = message_of(random, method.input_type).SerializeToString()
                for request in (good, mutated(random, good), random.randbytes(random.randint(0, 300))):
                    code = await _call(channel, method, request)
                    codes[code] = codes.get(code, 0) + 1
    return codes


async def _call(channel: grpc.aio.Channel, method: Any, request: bytes) -> str:
    call: Any = channel.unary_unary(f"/{SERVICE.full_name}/{method.name}")
    try:
        answer: Any = await call(request, timeout=20)
    except grpc.aio.AioRpcError as error:
        if error.details() == UNEXPECTED or error.code() in DEFECTS:
            raise AssertionError(method.name, request) from error
        return error.code().name
    GetMessageClass(method.output_type).FromString(answer)
    return "OK"
