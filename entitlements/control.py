"""The commands' way into a running sidecar: a socket in its data folder that its owner alone can open.

One JSON line asks, JSON lines answer, and the connection ends. There is no such way over the network.
"""

import asyncio
import base64
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from entitlements import audit, control_socket
from entitlements.cache.tiers import Miss
from entitlements.clock import SystemClock
from entitlements.composition import SharedRedis, Sidecar
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from entitlements.domain.entity_history import Origin
from entitlements.domain.freshness import NEVER
from entitlements.listener import Listener
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.service.explanation_document import explanation_document
from entitlements.service.history_document import history_document
from entitlements.service.question import key_from_document, query_from_document
from entitlements.service.recorder import Busy
from entitlements.upstream.payloads import entity_from_state
from entitlements.upstream.state_documents import state_from_entity

logger = logging.getLogger(__name__)
_log = RateLimitedLog(logger, SystemClock().monotonic)

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line ends the connection."""
_BATCH = 100
"""After so many lines others get their turn."""

_Lines = AsyncGenerator[dict[str, Any], None]
_Act = Callable[[Sidecar, dict[str, Any], asyncio.StreamReader], _Lines]


@asynccontextmanager
async def served(sidecar: Sidecar, folder: Path, *, name: str) -> AsyncIterator[None]:
    """While entered, commands are answered; where the socket cannot be, the sidecar does without."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(sidecar, reader, writer)

    with ExitStack() as stack:
        try:
            listener = stack.enter_context(control_socket.listening(folder, name))
        except OSError as error:
            logger.info("commands cannot ask this process", extra={"reason": error.strerror or str(error)})
            listener = None
        if listener is None:
            yield
            return
        resting = Listener(listener, _log_exhausted)
        server = await asyncio.start_unix_server(answer, sock=resting, limit=MAX_LINE_BYTES)
        try:
            yield
        finally:
            server.close()


def _log_exhausted() -> None:
    _log.warning("exhausted", "commands wait: no file descriptor is left")


async def _answer(sidecar: Sidecar, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        asked = await reader.readline()
        if asked:
            async with aclosing(_lines(sidecar, json.loads(asked), reader)) as lines:
                async for line in lines:
                    writer.write(json.dumps(line).encode() + b"\n")
                    await writer.drain()
    except (ConnectionError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.info("a command was not understood", extra={"kind": type(error).__name__})
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def _lines(sidecar: Sidecar, asked: dict[str, Any], reader: asyncio.StreamReader) -> _Lines:
    return _ACTS[asked["act"]](sidecar, asked, reader)


async def _stats(sidecar: Sidecar, _asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    parts = sidecar.health.parts()
    yield {name: parts[name] for name in ("memory", "redis", "offline_file", "snapshot") if name in parts}


async def _get(sidecar: Sidecar, asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    found = await sidecar.store.find(key_from_document(asked))
    if found is None:
        yield {"found": False}
        return
    cached, tier = found.cached, found.source
    age_seconds = None
    if cached.confirmed_at != NEVER:
        age_seconds = round(sidecar.clock.monotonic() - cached.confirmed_at, 1)
    yield {
        "found": True,
        "tier": tier.value,
        "age_seconds": age_seconds,
        "state": state_from_entity(cached.entity),
    }


async def _explain(sidecar: Sidecar, asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    explanation = await sidecar.explaining.explain(
        query_from_document(asked), compares=bool(asked.get("compares"))
    )
    held_by = {"process": os.getpid(), "shares_redis": sidecar.redis is not None}
    history = history_document(sidecar.history.of(explanation.query.key))
    yield explanation_document(explanation) | held_by | {"history": history}


async def _evict(sidecar: Sidecar, asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    yield {"evicted": len(await sidecar.maintenance.evict([key_from_document(asked)]))}


async def _held_keys(sidecar: Sidecar) -> dict[EntityKey, None]:
    """Whom memory and Redis hold."""
    keys = dict.fromkeys(sidecar.memory.keys())
    if sidecar.redis is not None:
        keys |= dict.fromkeys([key async for key in _shared_keys(sidecar.redis)])
    return keys


async def _customers(sidecar: Sidecar, _asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    for number, key in enumerate(await _held_keys(sidecar)):
        if number % _BATCH == 0:
            await asyncio.sleep(0)
        yield key._asdict()


async def _export(sidecar: Sidecar, _asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    keys = await _held_keys(sidecar)
    yield {"total": len(keys)}
    for number, key in enumerate(keys):
        if number % _BATCH == 0:
            await asyncio.sleep(0)
        cached: CachedEntity | Miss | None = sidecar.memory.get(key)
        if cached is None and sidecar.redis is not None:
            cached = await sidecar.redis.tier.get(key)
        if isinstance(cached, CachedEntity):
            yield {**key._asdict(), "state": state_from_entity(cached.entity)}


async def _shared_keys(redis: SharedRedis) -> AsyncIterator[EntityKey]:
    """The entities that Redis holds, page by page."""
    cursor = 0
    while True:
        page = await redis.tier.page_of_keys(cursor)
        if page is None:
            return
        cursor, keys = page
        for key in keys:
            yield key
        if cursor == 0:
            return


async def _record(sidecar: Sidecar, asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    """What is answered for so many seconds; a line at each look finds out whether anybody still listens."""
    recorder, seconds = sidecar.recorder, float(asked["seconds"])
    try:
        async with aclosing(recorder.record(seconds=seconds)) as looks:
            async for reads in looks:
                for each in reads:
                    request, reply = (base64.b64encode(part).decode() for part in (each.request, each.reply))
                    yield {"at_ms": each.at_ms, "method": each.method, "request": request, "reply": reply}
                yield {"dropped": recorder.dropped}
    except Busy:
        yield {"problem": "somebody records already; one recording at a time"}


async def _import(sidecar: Sidecar, _asked: dict[str, Any], reader: asyncio.StreamReader) -> _Lines:
    imported = 0
    async for line in reader:
        data = json.loads(line)
        entity = entity_from_state(data["state"], now_ms=sidecar.clock.now_ms())
        # Never confirmed: it is answered, checked on its first use, and not written for others.
        await sidecar.store.store(
            key_from_document(data),
            CachedEntity(entity=entity, confirmed_at=NEVER),
            origin=Origin.IMPORT,
        )
        imported += 1
        if imported % _BATCH == 0:
            await asyncio.sleep(0)
    yield {"imported": imported}


async def _audited(_sidecar: Sidecar, asked: dict[str, Any], _reader: asyncio.StreamReader) -> _Lines:
    """Logs what a command changed, which has kept it."""
    audit.log(asked["change"])
    yield {}


_ACTS: dict[str, _Act] = {
    "audited": _audited,
    "stats": _stats,
    "get": _get,
    "explain": _explain,
    "evict": _evict,
    "customers": _customers,
    "export": _export,
    "import": _import,
    "record": _record,
}
