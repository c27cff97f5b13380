"""Asks another sidecar a read, bytes for bytes."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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
    """One sidecar, by its address; only what reads can be asked.

    Calls wait on threads of its own, each polling for its one call alone. A channel of grpc.aio would be
    shorter, but it keeps a thread that polls for as long as it is open, and beside the completion queue of a
    server, in one process, that takes hits a third of their rate, although nobody asks anything.
    """

    def __init__(self, address: str, *, at_a_time: int) -> None:
        """Opens nothing yet.

        Args:
            address: host:port.
            at_a_time: so many calls; one more waits.
        """
        options = (
            *channel_options(address),
            ("grpc.max_receive_message_length", MAX_REPLY_BYTES),
            ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_MS),
        )
        self._threads = ThreadPoolExecutor(at_a_time, thread_name_prefix="sidecar-client")
        self._channel = grpc.insecure_channel(address, options=options)
        self._methods: Mapping[str, Any] = {name: self._channel.unary_unary(path_of(name)) for name in READS}

    async def __aenter__(self) -> "SidecarClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._channel.close()  # which ends the calls, and with them the threads
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def ask(self, method: str, request: bytes, *, seconds: float) -> Outcome:
        """What it answers; who does not answer is an outcome as well."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._ask, method, request, seconds)

    def _ask(self, method: str, request: bytes, seconds: float) -> Outcome:
        started = time.perf_counter()
        try:
            message, call = self._methods[method].with_call(request, timeout=seconds)
        except grpc.RpcError as error:
            ended: Any = error  # the errors of a finished call are calls, which their type does not say
            return Outcome(status=ended.code().name, seconds=time.perf_counter() - started)
        took = time.perf_counter() - started
        return Outcome(message, knew=knew(dict(call.trailing_metadata() or ())), seconds=took)


def knew(metadata: Mapping[str, str | bytes]) -> str:
    """Where an answer came from, in words; empty where that is not told, as by the vendor's."""
    told = [metadata[key] for key in _PROVENANCE if key in metadata]
    words = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in told]
    if "stigg-age-ms" in metadata:
        age = metadata["stigg-age-ms"]
        words.append(f"{age.decode(errors='replace') if isinstance(age, bytes) else age} ms old")
    return ", ".join(words)
