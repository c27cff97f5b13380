"""One HTTP exchange with the cloud: bounded in time and size, counted, its failure a domain error."""

import asyncio
import random
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from http import HTTPStatus
from itertools import count
from math import inf
from typing import TypeVar

import aiohttp

from entitlements import metrics
from entitlements.domain.errors import (
    Busy,
    Garbled,
    KeyRefused,
    Rejected,
    RequestTooLarge,
    Throttled,
    TooLarge,
    Unreachable,
    UpstreamError,
)
from entitlements.domain.ports import Clock
from entitlements.json_fields import decoded, written
from entitlements.upstream.deadline import within
from entitlements.upstream.errors import error_of_errors, error_of_exception, error_of_status
from entitlements.upstream.json_values import JsonObject
from entitlements.upstream.shares import Share
from entitlements.upstream.transport import NO_HEADERS, Answer, CloudTransport

MAX_BODY_BYTES = 64 * 1024 * 1024
"""A larger answer is abuse and is not read: 12,000 entitlements, which a customer may have, are 24 MB."""
LARGE_BODY_BYTES = 4 * 1024 * 1024
"""Of the answers that are larger, one is read at a time, so that many do not fill the memory."""
STATUSES_OF_CONTENT = frozenset({400, 413, 422})
"""What a status says of what was sent, also where a gateway on the way says it without the API."""
GZIP = 16 + zlib.MAX_WBITS
"""zlib's number for that form."""
PUNCTUAL_SHARE = 0.9
"""A request that had less than this part of its time when it was sent was kept waiting by us."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
"""Between two attempts (contract/upstream.md: exponential up to 2 s)."""

MAX_URL_CHARACTERS = 64 * 1024
"""No server takes a longer one."""
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)
"""What the transport raises where there is no answer, or not all of it."""

Result = TypeVar("Result")


class Exchange:
    """Sends requests of one kind over one transport and returns the `data` of their answers."""

    def __init__(
        self,
        http: CloudTransport,
        *,
        transport: str,
        clock: Clock,
        share: Share,
        answered: Callable[[], None] | None = None,
    ) -> None:
        """Sends nothing yet.

        Args:
            http: the connections.
            transport: `edge` or `api`, for metrics and errors.
            clock: for the date in a Retry-After.
            share: how many may be under way.
            answered: called at each success.
        """
        self.transport = transport
        self._duration = metrics.UPSTREAM_DURATION.labels(transport)
        self._answered = answered
        self._clock = clock
        self._http = http
        self._share = share

    async def data(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] = NO_HEADERS,
        body: object = None,
    ) -> JsonObject:
        """The `data` object of one answer.

        Raises:
            UpstreamError: there is none within the time, or the answer says no.
        """
        started = time.perf_counter()
        outcome = "ok"
        try:
            data = await self._send(method, url, headers, body, timeout_seconds=timeout_seconds)
        except UpstreamError as error:
            outcome = error.outcome
            _count(error)
            raise
        else:
            if self._answered is not None:
                self._answered()
            return data
        finally:
            metrics.UPSTREAM_REQUESTS.labels(self.transport, outcome).inc()
            self._duration.observe(time.perf_counter() - started)

    async def ping(self, url: str, *, timeout_seconds: float) -> None:
        """Returns when there is an answer of any content, of success; raises UpstreamError."""
        async with self._share.slot(within_seconds=timeout_seconds):
            try:
                async with asyncio.timeout(timeout_seconds):
                    answer = await self._http.ask("GET", url)
                    await answer.close()
            except _FAILURES as exception:
                raise error_of_exception(self.transport, exception) from exception
        error = self._error_of(answer)
        if error is not None or not answer.is_success:
            raise error or Garbled(self.transport, f"answered with status {answer.status}")

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: object, *, timeout_seconds: float
    ) -> JsonObject:
        if len(url) > MAX_URL_CHARACTERS:
            raise Rejected(self.transport, message="an id is too long to be asked for")
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        reader = _Reading(self.transport, self._http.large)
        async with self._share.slot(within_seconds=timeout_seconds):
            waited_seconds = loop.time() - began_at
            try:
                async with within(timeout_seconds - waited_seconds):
                    return await self._ask(method, url, headers, body, reader)
            except (*_FAILURES, zlib.error) as exception:
                was_late = waited_seconds > timeout_seconds * (1 - PUNCTUAL_SHARE)
                if (was_late or reader.was_kept_waiting) and isinstance(exception, TimeoutError):
                    raise Busy(self.transport) from exception
                raise error_of_exception(self.transport, exception) from exception

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: object, reader: "_Reading"
    ) -> JsonObject:
        if body is None:
            answer = await self._http.ask(method, url, headers=headers)
        else:
            headers = {"Content-Type": "application/json", **headers}
            answer = await self._http.ask(method, url, headers=headers, body=written(body))
        try:
            error = self._error_of(answer)
            if error is not None:
                raise error
            return self._data_of(answer, await reader.body_of(answer))
        finally:
            reader.end()
            await answer.close()

    def _error_of(self, answer: Answer) -> UpstreamError | None:
        return error_of_status(self.transport, answer.status, answer.headers, now_ms=self._clock.now_ms())

    def _data_of(self, answer: Answer, body: bytearray) -> JsonObject:
        try:
            document = decoded(body)
        except (ValueError, RecursionError) as exception:
            if answer.status in STATUSES_OF_CONTENT:  # a gateway's page, not the API's JSON
                raise self._refusal(answer.status) from exception
            raise Garbled(self.transport, "sent an answer that is not JSON") from exception
        if not isinstance(document, dict):
            raise Garbled(self.transport)
        error = error_of_errors(self.transport, document.get("errors"))
        if error is not None:
            raise error
        data = document.get("data")
        if answer.is_success and isinstance(data, dict):
            return data
        if HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._refusal(answer.status)
        raise Garbled(self.transport, f"answered with status {answer.status} and no data")

    def _refusal(self, status: int) -> Rejected:
        is_about_content = status in STATUSES_OF_CONTENT
        refusal = RequestTooLarge if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else Rejected
        return refusal(
            self.transport, message=f"status {status}", status=status if is_about_content else None
        )


class _Reading:
    """Reads one answer; while that is large, no other becomes large."""

    def __init__(self, transport: str, large: asyncio.Semaphore) -> None:
        self._transport = transport
        self._large = large
        self._is_large = False
        self._body = bytearray()
        self.was_kept_waiting = False
        """Another's large answer was read while this one waited to become large."""

    async def body_of(self, answer: Answer) -> bytearray:
        """All of it, inflated; raises TooLarge."""
        body = self._body
        inflater = self._inflater(answer)
        async for chunk in answer.chunks():
            for piece in (chunk,) if inflater is None else _inflated(inflater, chunk):
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise TooLarge(self._transport, f"sent an answer of more than {MAX_BODY_BYTES} bytes")
                if len(body) > LARGE_BODY_BYTES and not self._is_large:
                    self.was_kept_waiting = self._large.locked()
                    await self._large.acquire()
                    self._is_large = True
        return body

    def end(self) -> None:
        """Lets go of the answer, which an error's traceback would keep; then others may become large."""
        self._body.clear()
        if self._is_large:
            self._is_large = False
            self._large.release()

    def _inflater(self, answer: Answer) -> "zlib._Decompress | None":
        """What makes the body's bytes of those on the wire; None where they are the same.

        Not the library's own: of 64 kB it makes 64 MB before anybody can count them.
        """
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity":
            return None
        if encoding == "gzip":
            return zlib.decompressobj(GZIP)
        raise Garbled(self._transport, "sent an answer in an encoding that was not asked for")


def _inflated(inflater: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    """What a chunk becomes, piece by piece: 64 kB may become 64 MB."""
    while chunk:
        yield inflater.decompress(chunk, LARGE_BODY_BYTES)
        chunk = inflater.unconsumed_tail


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
    if budget_seconds <= 0:
        raise Unreachable(transport, "did not answer in time")

    for number in count(1):
        try:
            return await attempt(min(attempt_timeout_seconds, deadline - loop.time()))
        except UpstreamError as error:
            pause = _pause_after(error, number)
            if number == attempts or loop.time() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
    raise AssertionError  # the loop returns or raises


def _pause_after(error: UpstreamError, number: int) -> float:
    """Seconds until the next attempt after the n-th one failed; infinite where another would be of no use."""
    if isinstance(error, Throttled) and error.retry_after_seconds is not None:
        return error.retry_after_seconds
    if not isinstance(error, Unreachable | Garbled) or isinstance(error, Busy | TooLarge):
        return inf
    jitter = random.uniform(0, FIRST_PAUSE_SECONDS)  # noqa: S311 - a pause is no secret
    return min(FIRST_PAUSE_SECONDS * 2.0 ** (number - 1) + jitter, LONGEST_PAUSE_SECONDS)
