"""What waits for the cloud and what it refused: looked at by all, acted on by who may change."""

import dataclasses
import json
from collections.abc import Sequence
from enum import Enum
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from entitlements.admin.audited import record
from entitlements.admin.history import HISTORY, RECENT_SECONDS
from entitlements.admin.outbox_outcome import SHOWN, Outcome, keys_of_letters, outcome_of
from entitlements.admin.parts import ago
from entitlements.admin.site import site
from entitlements.audit import Change
from entitlements.composition import OutboxParts, sidecar
from entitlements.domain.errors import OutboxUnavailable
from entitlements.domain.outbox import DeadLetter, Outbox, OutboxState, Replayed
from entitlements.domain.outbox import OutboxEntry as Entry
from entitlements.domain.usage import UsageEvent
from entitlements.service.figures import date_from_ms, duration_from_ms, size_from_bytes
from entitlements.service.wording import CAUSES

UNREACHABLE = "The outbox cannot be reached: its disk, or Redis, does not answer."
ASK = "entitlements/outbox_ask.html"
_ACTS = {"replay": "Replayed", "discard": "Discarded"}
_NOUNS = {False: "dead letters", True: "waiting writes"}
_EVERYTHING = "all that waited, and all dead letters"


@site.page(
    "entitlements/outboxentry/",
    name="entitlements_outboxentry_changelist",
    permission="entitlements.view_outboxentry",
)
def outbox(request: HttpRequest) -> HttpResponse:
    """The lists; a POST acts on dead letters, or discards what waits."""
    parts = sidecar().outbox
    context: dict[str, Any] = {"title": "Outbox", "mode": sidecar().config.sidecar_outbox}
    if parts is None:
        return site.render(request, "entitlements/outbox.html", context | {"is_off": True})
    may_change = request.user.has_perm("entitlements.change_outboxentry")
    if request.method == "POST":
        if not may_change:
            raise PermissionDenied
        answer = _act(request, parts)
        if answer is not None:
            return answer
    return site.render(
        request, "entitlements/outbox.html", context | {"may_change": may_change} | _shown(request, parts)
    )


def _act(request: HttpRequest, parts: OutboxParts) -> HttpResponse | None:
    """Does what was asked; asks again before it discards, or replays what may have been delivered."""
    act, ids = request.POST.get("act"), request.POST.getlist("id")
    is_all, waiting = "all" in request.POST, "waiting" in request.POST
    if act not in _ACTS or (not ids and not is_all):
        messages.warning(request, f"Choose {_NOUNS[waiting]} first.")
        return None
    is_sure = "sure" in request.POST
    asked_again = {"ids": ids, "is_all": is_all, "act": act, "waiting": waiting}
    if act == "discard" and not is_sure:
        return site.render(request, ASK, asked_again | {"title": f"Discard {_NOUNS[waiting]}"})
    chosen = None if is_all else ids
    try:
        done, became = async_to_sync(_done)(parts.store, act, chosen, is_sure=is_sure, waiting=waiting)
    except OutboxUnavailable:
        messages.error(request, UNREACHABLE)
        return HttpResponseRedirect(request.path)
    if done.count or not done.kept:
        which = ", ".join(ids) if not is_all else _EVERYTHING if waiting else "all"
        record(request, Change(f"outbox.{act}", which, after={"count": done.count, "what": _NOUNS[waiting]}))
        outcome = became.sentences(hindrance(parts)) if became else []
        messages.success(request, " ".join([f"{_ACTS[act]}: {done.count}.", *outcome]))
    if done.kept:
        return site.render(request, ASK, asked_again | {"title": "Replay dead letters", "kept": done.kept})
    return HttpResponseRedirect(request.path)


async def _done(
    store: Outbox, act: str, ids: Sequence[str] | None, *, is_sure: bool, waiting: bool
) -> tuple[Replayed, Outcome | None]:
    """The act; and of a replay that sent all that it was to, what became of it."""
    if act == "discard":
        return Replayed(count=await store.discard(ids, waiting=waiting)), None
    keys = await keys_of_letters(store, ids)
    done = await store.replay(ids, even_too_old=is_sure)
    if done.kept or done.count > len(keys):
        return done, None
    return done, await outcome_of(store, keys)


def hindrance(parts: OutboxParts) -> str | None:
    """Why what waits does, and when it is tried again, as far as this process knows."""
    delay = parts.dispatcher.pause.delay
    if delay is None:
        return None
    left_ms = max(delay.next_try_ms - sidecar().clock.now_ms(), 0)
    cause = CAUSES.get(delay.cause, delay.cause.replace("_", " "))
    return (
        f"The cloud did not take the last delivery: {cause}. The next try is in {duration_from_ms(left_ms)}."
    )


def _shown(request: HttpRequest, parts: OutboxParts) -> dict[str, Any]:
    try:
        state, waiting, dead = async_to_sync(_read)(parts.store)
    except OutboxUnavailable:
        messages.error(request, UNREACHABLE)
        return {}
    now_ms = sidecar().clock.now_ms()
    oldest_ms = state.oldest_accepted_at_ms
    config = sidecar().config
    return {
        "size": size_from_bytes(state.size_bytes),
        "capacity": f"{config.sidecar_outbox_max_entries:,}",
        "capacity_bytes": size_from_bytes(config.sidecar_outbox_max_bytes),
        "hindrance": hindrance(parts) if state.waiting else None,
        "resting": parts.dispatcher.resting,
        "rate": _rate(),
        "state": state,
        "oldest": None if oldest_ms is None else duration_from_ms(max(now_ms - oldest_ms, 0)),
        "waiting": [_row(entry) for entry in waiting],
        "dead": [_row(letter.entry) | {"reason": letter.reason} for letter in dead],
        "limit": SHOWN,
    }


def _rate() -> tuple[str, str]:
    """How many were delivered a minute, and in how long."""
    span = HISTORY.since(RECENT_SECONDS)
    if span is None:
        return "-", "nothing was counted yet"
    earlier, now = span
    seconds = max((now.at_ms - earlier.at_ms) / 1000, 1)
    return f"{(now.delivered - earlier.delivered) / seconds * 60:,.0f} /min", duration_from_ms(seconds * 1000)


async def _read(store: Outbox) -> tuple[OutboxState, Sequence[Entry], Sequence[DeadLetter]]:
    return await store.state(), await store.waiting(SHOWN), await store.dead_letters(SHOWN)


def _row(entry: Entry) -> dict[str, Any]:
    write = entry.write
    is_event = isinstance(write, UsageEvent)
    return {
        "id": entry.id,
        "kind": "event" if is_event else "usage report",
        "name": write.event_name if isinstance(write, UsageEvent) else write.feature_id,
        "customer": write.key.customer_id,
        "resource": write.key.resource_id,
        "accepted": ago(entry.accepted_at_ms, now_ms=sidecar().clock.now_ms()),
        "accepted_at": date_from_ms(entry.accepted_at_ms, timespec="seconds"),
        "content": json.dumps(_plain(dataclasses.asdict(write)), indent=2, ensure_ascii=False),
    }


def _plain(value: object) -> object:
    """JSON of a write for people."""
    match value:
        case dict():
            return {str(name): _plain(each) for name, each in value.items()}
        case Enum():
            return value.name
        case tuple() | list():
            return [_plain(each) for each in value]
        case str() | int() | float() | bool() | None:
            return value
        case _:
            return str(value)
