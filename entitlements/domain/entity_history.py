"""What changed of an entity, when and whence: so that "it worked an hour ago" has an answer."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Protocol, get_args

from entitlements.domain.difference import Difference
from entitlements.domain.entitlement import Entitlement, Usage
from entitlements.domain.entity import Entity, EntityKey

MAX_TEXT = 80
"""Characters of one value; the rest is cut off."""
USAGE = "usage"
_DESCRIPTIONS = {"feature", "currency"}
_NAMES = {kind: tuple(each.name for each in fields(kind)) for kind in get_args(Entitlement)}
"""The fields of each kind of entitlement."""


class Origin(enum.Enum):
    """Whence a change came."""

    FEED = "feed"
    """The cloud sent it."""
    FETCH = "fetch"
    """The cloud was asked: first, again, or for somebody who asked."""
    RELOAD = "reload"
    """A person or a call had it fetched anew."""
    EVICT = "evict"
    """A person or a call had it forgotten."""
    REPORT = "report"
    """Usage was reported by way of this process."""
    AUDIT = "audit"
    """The drift audit found it wrong, and repaired it."""
    REDIS = "redis"
    """Another process had shared it."""
    SNAPSHOT = "snapshot"
    """It was known before a restart."""
    IMPORT = "import"
    """A command brought it."""
    OVERRIDE = "override"
    """A person put an override in force, or it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One change, or several alike that followed one another."""

    first_ms: int
    last_ms: int
    origin: Origin
    differences: tuple[Difference, ...]
    """`ours` as it was before, `theirs` as it became; each None where there was none."""
    omitted: int = 0
    """So many more there were."""
    times: int = 1
    """So many changes it stands for."""


class ChangeRecorder(Protocol):
    """Keeps the last changes; for any thread."""

    def note(self, key: EntityKey, before: Entity | None, after: Entity | None, origin: Origin) -> None:
        """What is held of an entity was replaced; None: nothing is."""
        ...

    def note_differences(self, key: EntityKey, differences: Sequence[Difference], origin: Origin) -> None:
        """The same of what is not held: an override."""
        ...


class NoHistory:
    """Keeps nothing."""

    def note(self, *_: object) -> None:
        """Nothing."""

    def note_differences(self, *_: object) -> None:
        """Nothing."""


NO_HISTORY = NoHistory()


def changes_between(before: Entity | None, after: Entity | None) -> list[Difference]:
    """Every field that changed of an entity, those that decide first; empty where none did."""
    if before is None or after is None:
        known = [None if each is None else _counted(each) for each in (before, after)]
        return [] if known[0] == known[1] else [Difference("known", "", *known)]
    found = []
    if before.denied_reason is not after.denied_reason:
        found.append(_difference("state", "", before.denied_reason, after.denied_reason))
    for name, ours, theirs in (
        ("feature", before.features, after.features),
        ("currency", before.credits, after.credits),
    ):
        for id_ in {**ours, **theirs}:
            was, became = ours.get(id_), theirs.get(id_)
            if was is not became and was != became:
                found += _changes_of(f"{name} {_shortened(id_)}", was, became)
    return found


def _counted(entity: Entity) -> str:
    count = len(entity.features) + len(entity.credits)
    state = "" if entity.denied_reason is None else f", {entity.denied_reason.value}"
    return f"{count} entitlement{'' if count == 1 else 's'}{state}"


def _changes_of(element: str, was: Entitlement | None, became: Entitlement | None) -> Iterator[Difference]:
    if was is None or became is None or was.kind is not became.kind:
        yield Difference("entitlement", element, _kind(was), _kind(became))
        return
    for name in _NAMES[type(was)]:
        ours, theirs = getattr(was, name), getattr(became, name)
        if ours is theirs or ours == theirs:
            continue
        if name == USAGE:
            ours, theirs = _usage(ours), _usage(theirs)
            if ours == theirs:  # counted anew, to the same
                continue
        shown = (None, None) if name in _DESCRIPTIONS else (ours, theirs)
        yield _difference(name, element, *shown)


def _kind(terms: Entitlement | None) -> str | None:
    return None if terms is None else terms.kind.value


def _usage(usage: Usage) -> str:
    estimate = " (estimated)" if usage.is_estimate else ""
    return f"{_amount(usage.current)}{estimate}"


def _amount(number: float) -> str:
    return f"{number:,.15g}"


def _difference(field: str, element: str, ours: object, theirs: object) -> Difference:
    return Difference(field, element, _text(ours), _text(theirs))


def _text(value: object) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return _amount(value)
        case enum.Enum():
            return str(value.value)
        case tuple():
            return _shortened(", ".join(map(str, value)))
        case _:
            return _shortened(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"
