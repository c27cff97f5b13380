"""The rows of overrides: begun, ended, read and forgotten. For threads that may wait for the database."""

import uuid
from collections.abc import Mapping, Sequence

from django.db import transaction
from django.db.models import F, Q, QuerySet

from entitlements.domain.override import Override, fault_of
from entitlements.models import EntitlementOverride

MAX_RUNNING = 1000
"""No more are begun: whoever overrides so many customers wants a fallback rule."""
MAX_READ = 2000
"""Number of rows that are followed: what runs, and what ended lately."""
FOLLOWED_AFTER_MS = 24 * 3_600_000
"""What has ended is announced to others for so long, so that nobody takes it for running."""
KEPT_AFTER_MS = 90 * FOLLOWED_AFTER_MS
"""What ended longer ago is forgotten."""


class Refused(Exception):
    """An override that cannot be begun; its sentence names the field."""


def new_id() -> str:
    """An id that no other override has, whoever begins it."""
    return uuid.uuid4().hex


def begin(override: Override) -> None:
    """Puts an override in force, instead of the one that runs for the same.

    Raises:
        Refused: it cannot be begun.
    """
    fault = fault_of(override) or EntitlementOverride.fault_of_lengths(override)
    if fault is not None:
        raise Refused(fault)
    with transaction.atomic():
        running = EntitlementOverride.objects.filter(ended_ms=None, ends_ms__gt=override.begins_ms)
        same = running.filter(**EntitlementOverride.columns_of_target(override))
        same.update(ended_ms=override.begins_ms, ended_by=override.author)
        if running.count() >= MAX_RUNNING:
            message = f"{MAX_RUNNING} overrides run already: end some, or set a fallback rule"
            raise Refused(message)
        EntitlementOverride.of(override).save(force_insert=True)


def end(id_: str, *, by: str, now_ms: int) -> Override | None:
    """Ends an override that runs and returns it; None when there is none such."""
    running = EntitlementOverride.objects.filter(pk=id_, ended_ms=None, ends_ms__gt=now_ms)
    if not running.update(ended_ms=now_ms, ended_by=by):
        return None
    return EntitlementOverride.objects.get(pk=id_).as_override()


def rows(*, now_ms: int, limit: int = MAX_READ) -> "QuerySet[EntitlementOverride]":
    """What runs or ended lately, the newest first."""
    is_recent = Q(ended_ms=None) | Q(ends_ms__gt=now_ms - FOLLOWED_AFTER_MS)
    return EntitlementOverride.objects.filter(is_recent).order_by("-begins_ms")[:limit]


def history(*, limit: int) -> list[EntitlementOverride]:
    """The newest, ended or not."""
    return list(EntitlementOverride.objects.order_by("-begins_ms")[:limit])


def take_over(learned: Sequence[Override]) -> None:
    """Keeps what others announced."""
    with transaction.atomic():
        for each in learned:
            EntitlementOverride.of(each).save()


def note(*, ended: Sequence[str], left_ms: Mapping[str, int], now_ms: int) -> None:
    """Notes whose time has come, and how long others have left; forgets what ended long ago."""
    with transaction.atomic():
        EntitlementOverride.objects.filter(pk__in=ended, ended_ms=None).update(ended_ms=F("ends_ms"))
        for id_, ms in left_ms.items():
            longer = Q(left_ms=None) | Q(left_ms__gt=ms)
            EntitlementOverride.objects.filter(longer, pk=id_).update(left_ms=ms)
        EntitlementOverride.objects.filter(ends_ms__lt=now_ms - KEPT_AFTER_MS).delete()
