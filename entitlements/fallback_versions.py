"""Fallback rules as a table that pods share: of two versions of one feature's rule the later change holds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction

from entitlements.config.fallback_rules import parse_fallback_rules, rule_document
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.ports import Clock
from entitlements.json_fields import Malformed, parsed
from entitlements.models import DeletedFallbackRule, FallbackRule
from entitlements.parsed_rows import ParsedRows
from entitlements.shared_table import Skip

MAX_RULES = 5000
"""Number of rules that are followed, the last changed first; and of deletions."""
DELETED_FOR_MS = 90 * 24 * 3_600_000
"""A deletion is kept for this time: a pod that was away for longer brings its rule back."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleVersion:
    """What was set for one feature, and when."""

    feature_id: str
    changed_us: int
    """Epoch microseconds; later than those of the version that it replaced."""
    is_active: bool = False
    value: FallbackValue | None = None
    """None: the rule was deleted."""


class FallbackTable:
    """The kind of record that fallback rules are; see `entitlements/shared_table.py`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rules = ParsedRows(_version_of)

    def rows(self, skip: Skip) -> dict[str, RuleVersion]:
        """The rules, and which were deleted lately."""
        gone = DeletedFallbackRule.objects.order_by("-at")[:MAX_RULES]
        stored = {
            each.feature_id: RuleVersion(feature_id=each.feature_id, changed_us=_us(each.at)) for each in gone
        }

        def skipped(rule: FallbackRule, cause: str) -> None:
            stored.pop(rule.feature_id, None)
            skip(rule.feature_id, cause)

        rules = FallbackRule.objects.order_by("-updated_at")[:MAX_RULES]
        stored.update({each.feature_id: each for each in self._rules.look(rules, skipped)})
        return stored

    def take_over(self, learned: Sequence[RuleVersion]) -> None:
        """Keeps what others announced, unless a person has changed it here since; forgets old deletions."""
        with transaction.atomic():
            for each in learned:
                _take_over(each)
            oldest = _moment(self._clock.now_ms() * 1000 - DELETED_FOR_MS * 1000)
            DeletedFallbackRule.objects.filter(at__lt=oldest).delete()

    def encoded(self, record: RuleVersion) -> bytes:
        """As JSON; the rule in the form of ENTITLEMENTS_FALLBACK."""
        rule = None if record.value is None else rule_document(record.value)
        fields = {"changed": record.changed_us, "active": record.is_active, "rule": rule}
        return json.dumps(fields).encode()

    def decoded(self, id_: str, received: bytes) -> RuleVersion:
        """Of such JSON.

        Raises:
            Malformed: it is no rule that a person could have set.
        """
        fields = parsed(received, "fallback rule")
        changed_us, rule = fields.number("changed"), fields.raw_object("rule")
        if changed_us is None or not 0 < changed_us < _us(datetime.max.replace(tzinfo=UTC)):
            where = "fallback rule.changed"
            raise Malformed(where, "epoch microseconds")
        if FallbackRule.too_long([id_]) is not None or not id_ or "\x00" in id_:
            where = "fallback rule"
            raise Malformed(where, "one with a feature id that fits")
        try:
            value = None if rule is None else parse_fallback_rules(json.dumps({id_: rule}))[id_]
        except ValueError as error:
            where = "fallback rule.rule"
            raise Malformed(where, "a fallback") from error
        return RuleVersion(
            feature_id=id_,
            changed_us=int(changed_us),
            is_active=bool(fields.flag("active")) and value is not None,
            value=value,
        )

    def merged(self, held: RuleVersion | None, received: RuleVersion) -> RuleVersion:
        """The later change; of two at once, in two pods, the same in both."""
        if held is None:
            return received
        return max(held, received, key=lambda each: (each.changed_us, self.encoded(each)))

    def is_past(self, record: RuleVersion) -> bool:
        """A rule stands until it is deleted; that is kept for its time."""
        age_us = self._clock.now_ms() * 1000 - record.changed_us
        return record.value is None and age_us > DELETED_FOR_MS * 1000


def _version_of(rule: FallbackRule) -> RuleVersion:
    return RuleVersion(
        feature_id=rule.feature_id,
        changed_us=_us(rule.updated_at),
        is_active=rule.is_active,
        value=rule.as_value(),
    )


def _take_over(version: RuleVersion) -> None:
    at = _moment(version.changed_us)
    rules = FallbackRule.objects.filter(feature_id=version.feature_id)
    if version.value is None:
        rules.filter(updated_at__lte=at).delete()
        if not rules.exists():
            DeletedFallbackRule.note(version.feature_id, at=at)
        return
    columns = FallbackRule.columns(version.value) | {"is_active": version.is_active, "updated_at": at}
    if not rules.exists():
        rule = FallbackRule(feature_id=version.feature_id, **columns)
        FallbackRule.objects.bulk_create([rule], ignore_conflicts=True)  # with its version, and no other
    else:
        rules.filter(updated_at__lte=at).update(**columns)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _moment(us: int) -> datetime:
    return _EPOCH + us * _MICROSECOND
