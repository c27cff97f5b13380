"""Health and metrics over HTTP, beside Django (contract/operations.md, Ports).

Probes and scrapers come by any name and address, and must be answered while the admin's pages are busy, under
attack or switched off. So no middleware, no host check and no thread of Django's stands before them.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias

from django.http import HttpRequest
from django_prometheus.exports import ExportToDjangoView
from prometheus_client import CONTENT_TYPE_LATEST

from entitlements.background import awaited
from entitlements.composition import VERSION, sidecar

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Receive, Send], Awaitable[None]]

Answering: TypeAlias = Callable[[bytes], Awaitable["Answer"]]
"""From a query string to the answer."""
PAGES_SHARE = 0.2
"""Of the time, pages of metrics are made for no more than this: whoever scrapes without end waits."""
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What a request gets."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _TEXT


async def live(_query: bytes) -> Answer:
    """The process and its loop turn; never depends on Redis or the cloud."""
    return Answer(b'{"status": "UP"}', content_type=_JSON)


async def ready(query: bytes) -> Answer:
    """Able to answer checks; with `?verbose`, who answers and how each part is as well."""
    health = sidecar().health
    body: dict[str, object] = {"status": "UP" if health.is_serving else "DOWN"}
    if any(each.partition(b"=")[0] == b"verbose" for each in query.split(b"&")):
        body["version"] = VERSION
        body["uptime_seconds"] = round(health.uptime_seconds)
        body["pid"] = os.getpid()
        body["parts"] = health.parts()
    status = HTTPStatus.OK if health.is_serving else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(json.dumps(body).encode(), status, _JSON)


class Entrance:
    """The page at `/`, for a person who knows the port alone."""

    def __init__(self, links: Mapping[str, str]) -> None:
        """Leads to these paths, each with what is there."""
        rows = "".join(f'<li><a href="{path}">{path}</a>: {what}</li>' for path, what in links.items())
        self._page = (
            f"<!doctype html><title>Stigg sidecar</title><h1>Stigg sidecar</h1><ul>{rows}</ul>".encode()
        )

    async def __call__(self, _query: bytes) -> Answer:
        """The page."""
        return Answer(self._page, content_type="text/html; charset=utf-8")


class MetricsPage:
    """The page of metrics, made one at a time, in a thread of its own."""

    def __init__(self) -> None:
        """Tells the counts of this process, or of all workers from what each has written down."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._turn = asyncio.Lock()
        self._next: asyncio.Future[bytes] | None = None
        """The page that is made next, for all who asked since the last one was begun."""
        self._rests_until = 0.0

    async def __call__(self, _query: bytes) -> Answer:
        """A page that was begun after it was asked for, shared with whoever asked meanwhile."""
        if self._next is None:
            self._next = awaited(self._made(), name="metrics-page")
        page = await asyncio.shield(self._next)
        return Answer(page, content_type=CONTENT_TYPE_LATEST)

    async def _made(self) -> bytes:
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(max(self._rests_until - loop.time(), 0))
            self._next = None
            started_at = loop.time()
            page = await loop.run_in_executor(self._thread, _page)
            self._rests_until = loop.time() + (loop.time() - started_at) * (1 / PAGES_SHARE - 1)
        return page


def _page() -> bytes:
    """What django-prometheus' own view shows: this process, or all where PROMETHEUS_MULTIPROC_DIR is set."""
    page: bytes = ExportToDjangoView(HttpRequest()).content  # type: ignore[no-untyped-call]
    return page


class Monitoring:
    """Answers what it has an answer for; everything else is another application's."""

    def __init__(self, answers: Mapping[str, Answering], otherwise: Application) -> None:
        """Has these answers, each by its path and to its query."""
        self._answers = answers
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        answer = self._answers.get(scope["path"])
        if answer is None:
            await self._otherwise(scope, receive, send)
        elif scope["method"] not in {"GET", "HEAD"}:
            await reply(send, Answer(b"", HTTPStatus.METHOD_NOT_ALLOWED), (b"allow", b"GET, HEAD"))
        else:
            await reply(send, await answer(scope["query_string"]))


async def not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    """There is nothing else."""
    await reply(send, Answer(b"not found\n", HTTPStatus.NOT_FOUND))


async def reply(send: Send, answer: Answer, *headers: tuple[bytes, bytes]) -> None:
    """Sends an answer whole."""
    own = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": answer.status.value, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": answer.body})
