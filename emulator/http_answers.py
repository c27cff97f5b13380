"""Answering over HTTP, well or with a fault: the part that Edge and GraphQL share."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

from aiohttp import web

from emulator.cloud import Cloud
from emulator.counters import HEADERS_OF_INTEREST
from emulator.faults import Fault, FaultKind, Transport
from emulator.schema import error_json

GARBAGE = "<html><body>502 Bad Gateway</body></html>"
_BLANKS = b" " * 1_000_000
_TEMPORARY_REDIRECT = web.HTTPTemporaryRedirect.status_code
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Work = Callable[[], web.Response]


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Write JSON as the cloud does, unicode unescaped."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, status=status, headers=headers, content_type="application/json")


def headers_of_interest(request: web.Request) -> dict[str, str]:
    """Pick the headers that the request log keeps."""
    return {name: request.headers[name] for name in HEADERS_OF_INTEREST if name in request.headers}


def reset_connection(transport: asyncio.BaseTransport | None) -> None:
    """End the connection with a TCP reset, unsent data thrown away."""
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


async def answer(
    request: web.Request, cloud: Cloud, transport: Transport, *, fault: Fault | None, work: Work
) -> web.StreamResponse:
    """Answer a request by doing the work, or as the fault has it.

    Args:
        request: The request.
        cloud: For its end: a hanging request ends with it.
        transport: Whose faults let go what is held.
        fault: What goes wrong; `bad_key` is for the work itself to answer.
        work: Does what was asked and builds the answer; called at most once.
    """
    if fault is None:
        return work()
    if fault.kind in {FaultKind.DOWN, FaultKind.HANG, FaultKind.LOST_ANSWER}:
        return await _never_answered(request, cloud, fault, work)
    return _idle(fault) or await _spoiled(request, cloud, transport, fault=fault, response=work())


def _idle(fault: Fault) -> web.Response | None:
    """The answer of a fault for which nothing is done."""
    match fault.kind:
        case FaultKind.STATUS | FaultKind.THROTTLED:
            return _status(fault)
        case FaultKind.REDIRECT:
            return web.Response(status=_TEMPORARY_REDIRECT, headers={"Location": fault.location})
        case FaultKind.GARBAGE:
            return web.Response(text=GARBAGE, content_type="text/html")
        case FaultKind.ERRORS_200:
            return json_response({"errors": [error_json(fault.message, fault.code)], "data": None})
        case _:
            return None


async def _spoiled(
    request: web.Request, cloud: Cloud, transport: Transport, *, fault: Fault, response: web.Response
) -> web.StreamResponse:
    """What becomes of the answer to work that was done."""
    match fault.kind:
        case FaultKind.TRUNCATED:
            return await _cut(request, response)
        case FaultKind.HUGE:
            return await _followed_by_blanks(request, response, fault.megabytes)
        case FaultKind.SLOW:
            await pause(cloud, fault.delay_ms)
        case FaultKind.HOLD:
            await _held(cloud, transport)
        case _:
            pass
    return response


async def pause(cloud: Cloud, delay_ms: float | None) -> None:
    """Wait so long, or for ever when None, but never beyond the emulator's end."""
    try:
        async with asyncio.timeout(None if delay_ms is None else delay_ms / 1_000):
            await cloud.stopping.wait()
    except TimeoutError:
        return


async def _held(cloud: Cloud, transport: Transport) -> None:
    """Wait until the transport's faults change, but never beyond the emulator's end."""
    ends = [asyncio.create_task(end.wait()) for end in (cloud.faults.released(transport), cloud.stopping)]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()


async def _never_answered(request: web.Request, cloud: Cloud, fault: Fault, work: Work) -> web.Response:
    if fault.kind is FaultKind.LOST_ANSWER:
        work()
    if fault.kind is FaultKind.HANG:
        await pause(cloud, None)
    reset_connection(request.transport)
    return web.Response()


def _status(fault: Fault) -> web.Response:
    status = web.HTTPTooManyRequests.status_code if fault.kind is FaultKind.THROTTLED else fault.status
    retry_after = fault.retry_after_seconds
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return json_response({"statusCode": status, "message": fault.message}, status=status, headers=headers)


async def _followed_by_blanks(
    request: web.Request, response: web.Response, megabytes: int
) -> web.StreamResponse:
    """Send them one by one, so that many such answers take no room here."""
    whole = response.body if isinstance(response.body, bytes) else b""
    long = web.StreamResponse(status=response.status, headers={"Content-Type": response.content_type})
    long.content_length = len(whole) + megabytes * len(_BLANKS)
    await long.prepare(request)
    await long.write(whole)
    for _ in range(megabytes):
        await long.write(_BLANKS)
    return long


async def _cut(request: web.Request, response: web.Response) -> web.StreamResponse:
    whole = response.body if isinstance(response.body, bytes) else b""
    cut = web.StreamResponse(status=response.status, headers={"Content-Type": response.content_type})
    cut.content_length = len(whole)
    await cut.prepare(request)
    await cut.write(whole[: len(whole) // 2])
    if request.transport is not None:
        request.transport.close()  # unlike a reset it lets the first half arrive
    return cut
