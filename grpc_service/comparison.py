"""Two replies to one read, compared field by field; pure, and the only place that does."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from entitlements.domain.difference import Difference
from grpc_service.reads import READS

OK = "OK"
MAX_DIFFERENCES = 100
"""So many of one reply are reported; the others are left out."""
MAX_TEXT = 200
"""So many characters of a value are reported."""
_UNANSWERED = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED"})
_WELL_KNOWN = "google.protobuf."


class Outcome(NamedTuple):
    """What came of asking one sidecar."""

    message: bytes = b""
    status: str = OK
    """The name of its status."""
    knew: str = ""
    """Where the answer came from, as it said in trailing metadata."""
    seconds: float = 0.0

    @property
    def is_answered(self) -> bool:
        """False where nobody answered, or had no room: there is nothing to compare."""
        return self.status not in _UNANSWERED


def compare(method: str, ours: Outcome, theirs: Outcome) -> tuple[Difference, ...]:
    """The fields in which two answered reads differ; the order of lists means nothing.

    Args:
        method: one of `READS`.
        ours: what one answered.
        theirs: what the other answered.
    """
    if ours.status != theirs.status:
        return (Difference("status", "", ours.status, theirs.status),)
    if ours.message == theirs.message:
        return ()
    messages = [parsed(method, each.message) for each in (ours, theirs)]
    if None in messages:
        replies = [None if each is None else "a reply" for each in messages]
        return (Difference("reply", "", *replies),) if replies[0] != replies[1] else ()
    return tuple(islice(_of_message("", "", *messages), MAX_DIFFERENCES))


def is_fallback(method: str, outcome: Outcome) -> bool:
    """True of a reply that says of itself that a fallback answers, or some of a list."""
    reply = parsed(method, outcome.message) if outcome.status == OK else None
    if reply is None:
        return False
    fields = reply.DESCRIPTOR.fields_by_name
    if "is_fallback" in fields:
        return bool(reply.is_fallback)
    listed = reply.entitlements if "entitlements" in fields else [reply.entitlement]
    return any(getattr(each, "is_fallback", False) for each in listed)


def parsed(method: str, message: bytes) -> Any:
    """The reply; None where it is none."""
    try:
        return READS[method].response.FromString(message)
    except DecodeError:
        return None


def _of_message(prefix: str, element: str, ours: Any, theirs: Any) -> Iterator[Difference]:
    for field in ours.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        a, b = getattr(ours, field.name), getattr(theirs, field.name)
        if field.is_repeated and field.message_type:
            yield from _of_entitlements(path, a, b)
        elif _is_nested(field) and ours.HasField(field.name) and theirs.HasField(field.name):
            if a != b:
                yield from _of_message(f"{path}.", element, a, b)
        else:
            yield from _difference(path, element, _text(field, ours), _text(field, theirs))
    unknown = [_unknown(each) for each in (ours, theirs)]
    yield from _difference(f"{prefix}unknown_fields", element, *unknown)


def _difference(path: str, element: str, ours: str | None, theirs: str | None) -> Iterator[Difference]:
    if ours != theirs:
        yield Difference(path, element, *_shortened(ours, theirs))


def _of_entitlements(path: str, ours: Sequence[Message], theirs: Sequence[Message]) -> Iterator[Difference]:
    by_id, their_by_id = _by_id(ours), _by_id(theirs)
    for id_ in by_id | their_by_id:
        a, b = by_id.get(id_), their_by_id.get(id_)
        if a is None or b is None:
            yield Difference(path, id_, *("missing" if each is None else "listed" for each in (a, b)))
        elif a != b:
            yield from _of_message(f"{path}.", id_, a, b)


def _by_id(entitlements: Sequence[Message]) -> dict[str, Message]:
    """By feature or currency; one that is listed twice has its number behind it."""
    seen: Counter[str] = Counter()
    found = {}
    for each in entitlements:
        id_ = _id(each)
        seen[id_] += 1
        found[id_ if seen[id_] == 1 else f"{id_} #{seen[id_]}"] = each
    return found


def _id(entitlement: Any) -> str:
    arm = entitlement.WhichOneof("entitlement")
    if arm is None:
        return ""
    held = getattr(entitlement, arm)
    return str(held.currency.currency_id if arm == "credit" else held.feature.id)


def _is_nested(field: FieldDescriptor) -> bool:
    """A message of ours; those of protobuf itself are values."""
    nested = field.message_type
    return nested is not None and not nested.full_name.startswith(_WELL_KNOWN)


def _text(field: FieldDescriptor, message: Any) -> str | None:
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.is_repeated:
        return ", ".join(sorted(map(repr, value)))
    if field.message_type:
        return " ".join(str(value).split()) or "set"
    if field.enum_type:
        known = field.enum_type.values_by_number.get(value)
        return str(value) if known is None else known.name
    return str(value + 0.0) if isinstance(value, float) else str(value)


def _unknown(message: Any) -> str | None:
    """What a newer version of the contract has and ours has not."""
    fields = cast("Any", UnknownFieldSet(message))
    return ", ".join(sorted(f"{each.field_number}: {each.data!r}" for each in fields)) or None


def _shortened(ours: str | None, theirs: str | None) -> tuple[str | None, str | None]:
    """Cut to what can be shown, from where they differ where that lies behind the cut."""
    if ours is None or theirs is None or max(len(ours), len(theirs)) <= MAX_TEXT:
        return ours and ours[:MAX_TEXT], theirs and theirs[:MAX_TEXT]
    same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
    start = max(0, same - MAX_TEXT // 2)
    return ours[start : start + MAX_TEXT], theirs[start : start + MAX_TEXT]
