"""One HTTP exchange with the cloud: bounded in time and size, counted, its failure a domain error."""

import asyncio
import time
import zlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import httpx
import stamina

from entitlements import metrics
from entitlements.domain.errors import (
    Garbled,
    KeyRefused,
    Rejected,
    Throttled,
    Unreachable,
    UpstreamError,
)
from entitlements.domain.ports import Clock
from entitlements.upstream.connections import quicken
from entitlements.upstream.errors import error_of_errors, error_of_exception, error_of_status
from entitlements.upstream.json_values import JsonObject

MAX_CONNECTIONS = 100
"""To the cloud, at a time."""
MAX_BODY_BYTES = 8 * 1024 * 1024
"""A larger answer is not read: a thousand entitlements are 2 MB, and Python's objects take 20 times that."""
GZIP = 16 + zlib.MAX_WBITS
"""zlib's word for that form."""
CONNECT_TIMEOUT_SECONDS = 2.0
"""A connection that takes longer counts as none."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
"""Between two attempts (contract/upstream.md: exponential up to 2 s)."""

Result = TypeVar("Result")


def client(identity: Mapping[str, str]) -> httpx.AsyncClient:
    """A client that sends these headers with every request: the key, and who asks."""
    return quicken(
        httpx.AsyncClient(
            headers={**identity, "Accept-Encoding": "gzip"},
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
            follow_redirects=False,
        )
    )


class Exchange:
    """Sends requests of one transport and returns the `data` of their answers."""

    def __init__(self, http_client: httpx.AsyncClient, *, transport: str, clock: Clock) -> None:
        self.transport = transport
        self._clock = clock
        self._client = http_client

    async def data(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        json: object = None,
    ) -> JsonObject:
        """The `data` object of one answer.

        Raises:
            UpstreamError: there is none within the time, or the answer says no.
        """
        started = time.perf_counter()
        outcome = "ok"
        try:
            return await self._send(method, url, timeout_seconds=timeout_seconds, headers=headers, json=json)
        except UpstreamError as error:
            outcome = error.outcome
            _count(error)
            raise
        finally:
            metrics.UPSTREAM_REQUESTS.labels(self.transport, outcome).inc()
            metrics.UPSTREAM_DURATION.labels(self.transport).observe(time.perf_counter() - started)

    async def _send(self, method: str, url: str, *, timeout_seconds: float, **content: Any) -> JsonObject:
        timeout = httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_TIMEOUT_SECONDS))
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._client.stream(method, url, timeout=timeout, **content) as response,
            ):
                error = error_of_status(self.transport, response, now_ms=self._clock.now_ms())
                if error is not None:
                    raise error
                body = await self._read(response)
        except (httpx.HTTPError, OSError, TimeoutError, httpx.InvalidURL, zlib.error) as exception:
            raise error_of_exception(self.transport, exception) from exception
        return self._data_of(response, body)

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        inflater = self._inflater(response)
        async for chunk in response.aiter_raw():
            body += chunk if inflater is None else inflater.decompress(chunk, MAX_BODY_BYTES + 1 - len(body))
            if len(body) > MAX_BODY_BYTES:
                raise Garbled(self.transport, f"sent an answer of more than {MAX_BODY_BYTES} bytes")
        return bytes(body)

    def _inflater(self, response: httpx.Response) -> "zlib._Decompress | None":
        """What makes the body's bytes of those on the wire; None where they are the same.

        Not httpx' own: of 64 kB it makes 64 MB before anybody can count them.
        """
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity":
            return None
        if encoding == "gzip":
            return zlib.decompressobj(GZIP)
        raise Garbled(self.transport, "sent an answer in an encoding that was not asked for")

    def _data_of(self, response: httpx.Response, body: bytes) -> JsonObject:
        try:
            answer = httpx.Response(response.status_code, content=body).json()
        except (ValueError, RecursionError) as exception:
            raise Garbled(self.transport, "sent an answer that is not JSON") from exception
        if not isinstance(answer, dict):
            raise Garbled(self.transport)
        error = error_of_errors(self.transport, answer.get("errors"))
        if error is not None:
            raise error
        data = answer.get("data")
        if response.is_success and isinstance(data, dict):
            return data
        if response.is_client_error:
            raise Rejected(self.transport, message=f"status {response.status_code}")
        raise Garbled(self.transport, f"answered with status {response.status_code} and no data")


def _count(error: UpstreamError) -> None:
    if isinstance(error, KeyRefused):
        metrics.INVALID_API_KEY_ERRORS.inc()
    elif not isinstance(error, Rejected):
        metrics.NETWORK_REQUEST_ERRORS.inc()


async def retrying(
    attempt: Callable[[float], Coroutine[None, None, Result]],
    *,
    transport: str,
    budget_seconds: float,
    attempts: int,
    attempt_timeout_seconds: float,
) -> Result:
    """The first attempt that succeeds, within a number of attempts and one budget.

    Args:
        attempt: tries once, within the seconds it is given.
        transport: for the error's sentence.
        budget_seconds: for all attempts and the pauses between them.
        attempts: at most so many; the pauses grow and are jittered.
        attempt_timeout_seconds: one attempt takes no longer.

    Raises:
        UpstreamError: the last attempt's, or Unreachable when the budget is spent.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + budget_seconds

    def is_worth_retrying(error: Exception) -> bool | float:
        if isinstance(error, Throttled) and error.retry_after_seconds is not None:
            return error.retry_after_seconds if loop.time() + error.retry_after_seconds < deadline else False
        return isinstance(error, Unreachable | Garbled)

    if budget_seconds <= 0:
        raise Unreachable(transport, "did not answer in time")
    try:
        async with asyncio.timeout(budget_seconds):
            async for trial in stamina.retry_context(
                on=is_worth_retrying,
                attempts=attempts,
                timeout=budget_seconds,
                wait_initial=FIRST_PAUSE_SECONDS,
                wait_max=LONGEST_PAUSE_SECONDS,
                wait_jitter=FIRST_PAUSE_SECONDS,
            ):
                with trial:
                    return await attempt(min(attempt_timeout_seconds, deadline - loop.time()))
    except TimeoutError as exception:
        raise Unreachable(transport, "did not answer in time") from exception
    raise AssertionError  # stamina returns, or raises what the last attempt raised
