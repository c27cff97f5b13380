"""Around every unary method: errors become statuses, and calls are counted and timed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial

import grpc
from google.protobuf.message import DecodeError

from entitlements import metrics
from entitlements.correlation import CALL_METADATA, CALL_PEER
from entitlements.deferred_metrics import DeferredObservations
from entitlements.domain.errors import SidecarError
from grpc_service.call_limiter import CallLimiter
from grpc_service.causes import UNREADABLE
from grpc_service.errors import public_status
from grpc_service.methods import AnswerStream, Call, Later, Method, Refused, Reply, StreamMethod, UnaryMethod

logger = logging.getLogger(__name__)


def intercepted(method: Method, call_limiter: CallLimiter) -> Method:
    """The same method; the text of its exceptions is kept from callers, unary calls are in the metrics.

    Only methods that are served get a label: what callers name is unbounded.
    """
    if isinstance(method, StreamMethod):
        return StreamMethod(path=method.path, answer=_supervised_stream(method))
    return intercepted_unary(method, call_limiter)


def intercepted_unary(method: UnaryMethod, call_limiter: CallLimiter) -> UnaryMethod:
    """As `supervised`."""
    calls = _Calls(_name(method), call_limiter)
    begin, ok_seconds = method.begin, calls.ok_seconds

    async def answer(later: Later, size_bytes: int, started: float, call: Call) -> Reply:
        CALL_PEER.set(call.peer)
        CALL_METADATA.set(call.metadata)  # each call is a task of its own, so that nobody else sees it
        try:
            reply = await _limited(later, size_bytes, call, call_limiter)
        except asyncio.CancelledError:
            calls.count(grpc.StatusCode.CANCELLED, started)
            raise
        except Exception as error:
            refused = calls.refused(error, started)
            extra = {"method": calls.name, "code": refused.status.code.name, "error": refused.status.details}
            logger.info("a call was refused", extra=extra)
            raise refused from error
        ok_seconds.note(time.perf_counter() - started)
        return reply

    def counted(request: bytes) -> Reply | Later:
        started = time.perf_counter()
        try:
            begun = begin(request)
        except Exception as error:
            raise calls.refused(error, started) from error
        if isinstance(begun, Later):
            return Later(answer=partial(answer, begun, len(request), started))
        ok_seconds.note(time.perf_counter() - started)
        return begun

    return UnaryMethod(path=method.path, begin=counted)


async def _limited(later: Later, size_bytes: int, call: Call, call_limiter: CallLimiter) -> Reply:
    """The answer, where one more may wait for it; else a read has its fallback, and a write is refused."""
    if later.unasked is None:
        with call_limiter.write(size_bytes, call.peer):
            return await later.answer(call)
    if not call_limiter.has_room_for_read(size_bytes, call.peer):
        return later.unasked()
    with call_limiter.reads.entered(size_bytes, call.peer):
        return await later.answer(call)


def _supervised_stream(method: StreamMethod) -> AnswerStream:
    name = _name(method)

    async def answer(requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for reply in method.answer(requests):
                yield reply
        except Exception as error:
            raise _refused(error, name) from error

    return answer


def _name(method: Method) -> str:
    return method.path.rpartition("/")[2]


def _refused(error: Exception, name: str) -> Refused:
    """What the caller gets for an error; a defect is logged."""
    if isinstance(error, Refused):
        return error
    if not isinstance(error, SidecarError | DecodeError):
        logger.error("unexpected exception from method", extra={"method": name}, exc_info=error)
    return Refused(public_status(error))


class _Calls:
    """What the metrics hold of one method's calls."""

    def __init__(self, name: str, call_limiter: CallLimiter) -> None:
        self.name = name
        self._call_limiter = call_limiter
        self._duration = metrics.GRPC_DURATION.labels(name)
        self._ok = metrics.GRPC_REQUESTS.labels(name, grpc.StatusCode.OK.name)
        self.ok_seconds = DeferredObservations(self._add_ok)
        """How long each call took that ended well."""

    def count(self, code: grpc.StatusCode, started: float) -> None:
        """Notes the end of a call that began at `started` and ended otherwise."""
        metrics.GRPC_REQUESTS.labels(self.name, code.name).inc()
        self._duration.observe(time.perf_counter() - started)

    def _add_ok(self, durations: Sequence[float]) -> None:
        self._ok.inc(len(durations))
        self._duration.observe_all(durations)

    def refused(self, error: Exception, started: float) -> Refused:
        """Notes a call that an error ended; returns what its caller gets."""
        if isinstance(error, DecodeError):
            self._call_limiter.refuse(UNREADABLE)
        refused = _refused(error, self.name)
        self.count(refused.status.code, started)
        return refused
