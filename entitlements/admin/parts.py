"""What each part of the sidecar reports of itself, as a page shows it: one format for times and sizes."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from django.urls import reverse

from entitlements.domain.moments import ms_from_iso
from entitlements.service.figures import date_from_ms, duration_from_ms, size_from_bytes

NOTHING = "-"
"""Where there is no value."""
State = Mapping[str, object]
_NAMES = {"grpc": "gRPC", "upstream": "Cloud", "http": "HTTP"}
_LABELS = {"since": "so since", "since_ms": "in this phase since", "last_well": "last well"}
_PAGES = {
    "outbox": ("Outbox", "entitlements_outboxentry_changelist", "entitlements.view_outboxentry"),
    "overrides": ("Overrides", "overrides", "entitlements.view_entitlementoverride"),
    "shadow": ("Shadow", "shadow", "entitlements.view_cachedcustomer"),
    "memory": (
        "Cached customers",
        "entitlements_cachedcustomer_changelist",
        "entitlements.view_cachedcustomer",
    ),
}
"""Where a person can look on, or do something about it: the page and who may."""
_HERE = {
    "`manage.py outbox list` shows why; fix the cause, then `manage.py outbox replay` or `discard`": (
        "Outbox shows why; fix the cause, then replay or discard them there"
    ),
    "See `upstream`, or `manage.py outbox list`": "See Cloud, and Outbox",
    "see Overrides in the admin, or `manage.py override list`": "see Overrides",
    "The admin (Shadow) shows": "Shadow shows",
}
"""What is said to who has a shell alone, and how it is said on a page."""
_SHOWN_APART = frozenset({"meaning", "problem", "last_problem"})


class Row(NamedTuple):
    """One line of a part."""

    name: str
    value: str
    moment: str = ""
    """The moment itself, of a value that is a time ago."""


class Part(NamedTuple):
    """One part of the sidecar, and what it reports of itself."""

    name: str
    has_problem: bool
    meaning: str
    last_error: Row | None
    """The last problem: its sentence, how long ago it was last seen, and when."""
    rows: Sequence[Row]
    page: str
    """What its page is called; empty: it has none, or the visitor may not see it."""
    url: str


def part(name: str, state: State, *, now_ms: int, may: Callable[[str], bool]) -> Part:
    """A part for the page.

    Args:
        name: of the part.
        state: what it reports.
        now_ms: the clock.
        may: whether the visitor has a permission.
    """
    page, place, permission = _PAGES.get(name, ("", "", ""))
    if not may(permission):
        page = place = ""
    return Part(
        name=_NAMES.get(name, name.replace("_", " ").capitalize()),
        has_problem=bool(state["problem"]),
        meaning=said_here(str(state["meaning"])),
        last_error=_last_error(state, now_ms),
        rows=list(_rows(state, now_ms)),
        page=page,
        url=reverse(f"admin:{place}") if place else "",
    )


def said_here(sentence: str) -> str:
    """A sentence of /readyz?verbose as a page says it: pages by their names, and no signs of markup."""
    for elsewhere, here in _HERE.items():
        sentence = sentence.replace(elsewhere, here)
    return sentence.replace("`", "")


def ago(moment_ms: int, *, now_ms: int) -> str:
    """How long ago, for a person."""
    return f"{duration_from_ms(max(now_ms - moment_ms, 0))} ago"


def _last_error(state: State, now_ms: int) -> Row | None:
    last = state.get("last_problem")
    seen_ms = ms_from_iso(str(last["seen"])) if isinstance(last, Mapping) else None
    if not isinstance(last, Mapping) or seen_ms is None:
        return None
    moment = date_from_ms(seen_ms, timespec="seconds")
    return Row(said_here(str(last["meaning"])), ago(seen_ms, now_ms=now_ms), moment)


def _rows(state: State, now_ms: int) -> Iterator[Row]:
    for key, value in state.items():
        if key in _SHOWN_APART:
            continue
        name = _LABELS.get(key, re.sub(r"_(ms|seconds|bytes)$", "", key).replace("_", " "))
        moment_ms = _moment_ms(key, value)
        if moment_ms is None:
            yield Row(name, _shown(key, value))
        else:
            moment = date_from_ms(moment_ms, timespec="seconds")
            yield Row(name, _from_now(moment_ms, now_ms), moment)


def _moment_ms(key: str, value: object) -> int | None:
    """A moment that was, or will be; what never was is none."""
    if key in {"since", "last_well"}:
        return ms_from_iso(str(value))
    if key.endswith("_ms") and isinstance(value, int) and not isinstance(value, bool):
        return value or None
    return None


def _from_now(moment_ms: int, now_ms: int) -> str:
    if moment_ms > now_ms:
        return f"in {duration_from_ms(moment_ms - now_ms)}"
    return ago(moment_ms, now_ms=now_ms)


def _shown(key: str, value: object) -> str:
    if value in (None, "") or (value == 0 and key.endswith("_ms")):
        return NOTHING
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _figure(key, value)
        case Mapping():
            each = (
                [_tasks(value)]
                if key == "tasks"
                else [f"{name}: {_shown(name, one)}" for name, one in value.items()]
            )
            return ", ".join(each) or NOTHING
        case list() | tuple():
            return "; ".join(said_here(str(each)) for each in value) or NOTHING
        case _:
            return said_here(str(value))


def _figure(key: str, value: float) -> str:
    if key.endswith("bytes"):
        return size_from_bytes(value)
    return duration_from_ms(value * 1000) if key.endswith("_seconds") else f"{value:,}"


def _tasks(tasks: Mapping[str, object]) -> str:
    """How many run, and which did not do all the time."""
    states = {name: task for name, task in tasks.items() if isinstance(task, Mapping)}
    running = sum(bool(task["running"]) for task in states.values())
    troubled = [
        f"{name}: ended {task['failures']} times ({task['last_failure'] or 'by itself'}), "
        f"left out {task['skipped']}"
        for name, task in states.items()
        if task["failures"] or task["skipped"]
    ]
    return "; ".join([f"{running} of {len(states)} run", *troubled])
