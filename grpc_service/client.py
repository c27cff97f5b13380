"""Asks another sidecar a read, bytes for bytes."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from grpclib.client import Channel
from grpclib.const import Cardinality
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from grpc_service.comparison import Outcome
from grpc_service.reads import path_of

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""A longer reply is not read, and counts as none."""
_NO_ANSWER = (OSError, StreamTerminatedError, ProtocolError, AssertionError)
"""AssertionError: grpclib's word for a connection that ends within a message."""
_PROVENANCE = ("stigg-source", "stigg-state")


class _TooLarge(Exception):
    """A reply is longer than what is read."""


def _bound(stream: Any) -> None:
    """Has a reply that says that it is too long fail before it is read; grpclib knows no such bound."""
    inner = stream._stream
    read = inner.recv_data

    async def recv_data(size: int) -> bytes:
        if size > MAX_REPLY_BYTES:
            raise _TooLarge
        return bytes(await read(size))

    inner.recv_data = recv_data


class _Bytes(CodecBase):
    """Messages as they are on the wire."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, _message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, _message_type: Any) -> bytes:
        return data


class SidecarClient:
    """One sidecar, by its address; only what reads can be asked.

    By grpclib, which is Python on the event loop, and not by gRPC's core: a call of the core's, in a process
    that serves, has a second thread poll for as long as it waits, which takes hits a third of their rate.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(f"//{address}")
        self._channel = Channel(parts.hostname, parts.port, codec=_Bytes())

    async def __aenter__(self) -> "SidecarClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._channel.close()

    async def ask(self, method: str, request: bytes, *, seconds: float) -> Outcome:
        """What it answers; who does not answer is an outcome as well."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(seconds):
                message, trailing = await self._asked(path_of(method), request, seconds)
        except GRPCError as error:
            status = error.status.name
        except TimeoutError:
            status = "DEADLINE_EXCEEDED"
        except _TooLarge:
            status = "RESOURCE_EXHAUSTED"
        except _NO_ANSWER:
            status = "UNAVAILABLE"
        else:
            return Outcome(message, knew=knew(trailing), seconds=time.perf_counter() - started)
        return Outcome(status=status, seconds=time.perf_counter() - started)

    async def _asked(self, path: str, request: bytes, seconds: float) -> tuple[bytes, Mapping[str, Any]]:
        unary = Cardinality.UNARY_UNARY
        async with self._channel.request(path, unary, bytes, bytes, timeout=seconds) as stream:
            await stream.send_message(request, end=True)
            await stream.recv_initial_metadata()
            _bound(stream)
            message = await stream.recv_message()
            await stream.recv_trailing_metadata()
        if message is None:
            raise StreamTerminatedError
        return message, dict(stream.trailing_metadata or {})


def knew(metadata: Mapping[str, str | bytes]) -> str:
    """Where an answer came from, to be read; empty where that is not said, as by the vendor's."""
    values = [metadata[key] for key in _PROVENANCE if key in metadata]
    texts = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in values]
    if "stigg-age-ms" in metadata:
        age = metadata["stigg-age-ms"]
        texts.append(f"{age.decode(errors='replace') if isinstance(age, bytes) else age} ms old")
    return ", ".join(texts)
