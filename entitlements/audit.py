"""Who did what: every change by a person or a command, in one bounded trail and as lines of the log."""

import logging
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from django.db import DatabaseError

from entitlements.domain.ports import Clock
from entitlements.models import AuditEntry
from entitlements.secret_file import MASK

logger = logging.getLogger(__name__)

MAX_ENTRIES = 100_000
"""The oldest go where more were kept."""
DAY_MS = 86_400_000
FIELDS = ("at_ms", "act", "subject", "who", "whence", "before", "after", "reason")
SECRETS = frozenset({"password"})
"""Fields whose values are shown to nobody."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed, and from what to what."""

    act: str
    """A word or two of a bounded set, such as `override.begin`."""
    subject: str
    """What it was done to."""
    _: KW_ONLY
    before: Mapping[str, Any] | None = None
    """The fields that changed, as they were."""
    after: Mapping[str, Any] | None = None
    """The same, as they are."""
    reason: str = ""
    """What the person gave as theirs."""


def fields_of(change: Change, *, who: str, whence: str, clock: Clock) -> dict[str, Any]:
    """What is kept and logged of a change; no secrets.

    Args:
        change: what was done.
        who: the person, as they logged in or as the machine knows them.
        whence: the address they came from, or the machine that the command ran on.
        clock: for when.
    """
    return {
        "at_ms": clock.now_ms(),
        "act": change.act,
        "subject": change.subject[:1000],
        "who": who[:255],
        "whence": whence[:255],
        "before": _masked(change.before),
        "after": _masked(change.after),
        "reason": change.reason,
    }


def log(fields: Mapping[str, Any]) -> None:
    """The line of a change."""
    logger.info("audit", extra={name: fields[name] for name in FIELDS if fields.get(name)})


def keep(fields: Mapping[str, Any], *, kept_days: int) -> None:
    """Keeps a change, unless the database cannot be written; what is older than so many days goes."""
    try:
        entry = AuditEntry.objects.create(**fields)
        oldest_ms = entry.at_ms - kept_days * DAY_MS
        AuditEntry.objects.filter(at_ms__lt=oldest_ms).delete()
        AuditEntry.objects.filter(pk__lte=entry.pk - MAX_ENTRIES).delete()
    except DatabaseError as error:
        logger.warning("the audit trail cannot be written", extra={"kind": type(error).__name__})


def _masked(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    return {name: MASK if name in SECRETS else _plain(value) for name, value in fields.items()}


def _plain(value: object) -> object:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    return str(value)
