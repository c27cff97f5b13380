"""Asks another sidecar a read, bytes for bytes."""

import time
from collections.abc import Mapping
from typing import Any

import grpc

from grpc_service.channels import channel_options
from grpc_service.comparison import Outcome
from grpc_service.reads import READS, path_of

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""A longer reply is not read, and counts as none."""
MAX_RECONNECT_MS = 5000
"""One that was away is found again no later."""
_PROVENANCE = ("stigg-source", "stigg-state")


class SidecarClient:
    """One sidecar, by its address; only what reads can be asked."""

    def __init__(self, address: str) -> None:
        options = (
            *channel_options(address),
            ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
            ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_MS),
        )
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._methods: Mapping[str, Any] = {name: self._channel.unary_unary(path_of(name)) for name in READS}

    async def __aenter__(self) -> "SidecarClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def ask(self, method: str, request: bytes, *, seconds: float) -> Outcome:
        """What it answers; who does not answer is an outcome as well."""
        started = time.perf_counter()
        call = self._methods[method](request, timeout=seconds)
        try:
            message = await call
        except grpc.aio.AioRpcError as error:
            return Outcome(status=error.code().name, seconds=time.perf_counter() - started)
        took = time.perf_counter() - started
        return Outcome(message, knew=knew(dict(await call.trailing_metadata() or ())), seconds=took)


def knew(metadata: Mapping[str, str | bytes]) -> str:
    """Where an answer came from, in words; empty where that is not told, as by the vendor's."""
    told = [metadata[key] for key in _PROVENANCE if key in metadata]
    words = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in told]
    if "stigg-age-ms" in metadata:
        age = metadata["stigg-age-ms"]
        words.append(f"{age.decode(errors='replace') if isinstance(age, bytes) else age} ms old")
    return ", ".join(words)
