"""All that is known of one customer, or of one resource of a customer, and how two states of it become one.

An `Entity` is immutable and replaced whole, so that a reader on any thread sees one state or the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from entitlements.domain.entitlement import (
    NO_TIMESTAMP_MS,
    NO_USAGE,
    CreditEntitlement,
    FeatureEntitlement,
    MeteredEntitlement,
    MeterType,
    Usage,
)
from entitlements.domain.period import period_containing
from entitlements.domain.reason import AccessDeniedReason

CLOCK_TOLERANCE_MS = 300_000
"""A stamp further ahead of our clock than this lies in the future; less may be two clocks that differ."""

Tracked = TypeVar("Tracked", MeteredEntitlement, CreditEntitlement)


class EntityKey(NamedTuple):
    """Whose entitlements: a customer's, or those of one of its resources."""

    customer_id: str
    resource_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """The entitlements of one `EntityKey`, by feature id and by currency id, in the cloud's order."""

    features: Mapping[str, FeatureEntitlement] = field(default_factory=lambda: MappingProxyType({}))
    credits: Mapping[str, CreditEntitlement] = field(default_factory=lambda: MappingProxyType({}))
    denied_reason: AccessDeniedReason | None = None
    """The state-level reason, such as CUSTOMER_NOT_FOUND."""
    updated_at_ms: int = NO_TIMESTAMP_MS
    """The first entitlement's `entitlementUpdatedAt` (contract/redis.md, Rules)."""
    newest_updated_at_ms: int = field(default=NO_TIMESTAMP_MS, compare=False)
    """The newest `entitlementUpdatedAt` that was ever known of it, also of what was taken away since."""

    @property
    def is_empty(self) -> bool:
        """True when nothing at all is entitled."""
        return not self.features and not self.credits

    @property
    def newest_stamp_ms(self) -> int:
        """The newest stamp that is known of it."""
        return max(self.updated_at_ms, self.newest_updated_at_ms)

    def may_lag_behind(self, held: "Entity") -> bool:
        """True when this answer of the Edge may be older than what is held: another, without a newer stamp.

        An older stamp shows it (contract/upstream.md, Which knowledge is newer, rule 3); an equal one may be
        that of an entitlement which was taken away since.
        """
        return self.newest_stamp_ms <= held.newest_stamp_ms and self._terms() != held._terms()

    def _terms(self) -> tuple[object, ...]:
        """What is entitled, without what was used of it."""
        return (
            self.denied_reason,
            {id_: _unused(terms) for id_, terms in self.features.items()},
            {id_: _unused(terms) for id_, terms in self.credits.items()},
        )


def _unused(terms: FeatureEntitlement | CreditEntitlement) -> FeatureEntitlement | CreditEntitlement:
    if isinstance(terms, MeteredEntitlement | CreditEntitlement):
        return replace(terms, usage=NO_USAGE)
    return terms


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageUpdate:
    """News of one meter or balance; exactly one of `feature_id` and `currency_id` is set."""

    feature_id: str | None = None
    currency_id: str | None = None
    current: float
    updated_at_ms: int = NO_TIMESTAMP_MS
    period_start_ms: int | None = None
    period_end_ms: int | None = None
    is_estimate: bool = False
    """True when it is ours and not the cloud's."""
    answered_at_ms: int | None = None
    """When the API gave it in answer to a report: it then wins over a held stamp that lies in the future."""
    sent_at_ms: int | None = None
    """When the feed sent it: a usage of a period without that moment replaces no current one."""


def is_outdated(arrived_at_ms: int, held_at_ms: int) -> bool:
    """True when what arrived is older than what is held; no timestamp is never outdated."""
    return arrived_at_ms != NO_TIMESTAMP_MS and arrived_at_ms < held_at_ms


def merge(
    held: Entity, arrived: Entity, *, is_overtaken: bool = False, answered_at_ms: int | None = None
) -> Entity:
    """What arrived, with the newest usage of each meter by its own timestamp.

    The stamps of entitlements order nothing: the one that is taken away may have been the newest
    (contract/upstream.md, "Which knowledge is newer").

    Args:
        held: what is known.
        arrived: what came.
        is_overtaken: the held set was known later than the arrived one, and stays.
        answered_at_ms: when the cloud answered, where it was asked; its usages then win over held ones that
            are stamped later than that.
    """
    base = held if is_overtaken else arrived
    return replace(
        base,
        newest_updated_at_ms=max(held.newest_stamp_ms, arrived.newest_stamp_ms),
        features=MappingProxyType(
            {
                id_: _with_newest_usage(
                    terms, held.features.get(id_), arrived.features.get(id_), answered_at_ms
                )
                if isinstance(terms, MeteredEntitlement)
                else terms
                for id_, terms in base.features.items()
            }
        ),
        credits=MappingProxyType(
            {
                id_: _with_newest_usage(
                    terms, held.credits.get(id_), arrived.credits.get(id_), answered_at_ms
                )
                for id_, terms in base.credits.items()
            }
        ),
    )


def _with_newest_usage(terms: Tracked, held: object, arrived: object, answered_at_ms: int | None) -> Tracked:
    if not isinstance(held, type(terms)) or not isinstance(arrived, type(terms)):
        return terms
    return replace(terms, usage=_newest_usage(terms, held.usage, arrived.usage, answered_at_ms))


def with_usage(entity: Entity, update: UsageUpdate) -> Entity | None:
    """The entity with one meter moved, or None when it holds no such meter or knows a newer state of it.

    A field that the update does not carry is kept (contract/better.md: in memory the last arrival wins).
    """
    if update.currency_id is not None:
        credit = entity.credits.get(update.currency_id)
        moved_credit = None if credit is None else _moved(credit, update)
        if moved_credit is None:
            return None
        credits_ = {**entity.credits, update.currency_id: moved_credit}
        return replace(entity, credits=MappingProxyType(credits_))
    metered = entity.features.get(update.feature_id or "")
    moved = _moved(metered, update) if isinstance(metered, MeteredEntitlement) else None
    if moved is None:
        return None
    return replace(entity, features=MappingProxyType({**entity.features, moved.feature.id: moved}))


def _moved(terms: Tracked, update: UsageUpdate) -> Tracked | None:
    held = terms.usage
    if _is_of_a_former_period(held, update):
        return None
    start_ms, end_ms = _period_of(terms, update)
    if update.sent_at_ms is not None and _leaves_out(start_ms, end_ms, update.sent_at_ms):
        return None
    arrived = Usage(
        current=update.current,
        period_start_ms=start_ms,
        period_end_ms=end_ms,
        updated_at_ms=update.updated_at_ms,
        is_estimate=update.is_estimate,
    )
    newest = _newest_usage(terms, held, arrived, update.answered_at_ms)
    return None if newest is held else replace(terms, usage=newest)


def _is_of_a_former_period(held: Usage, update: UsageUpdate) -> bool:
    """True for a usage that belongs to a period before the held one, or to one that was over when sent."""
    start_ms = held.period_start_ms
    if update.period_end_ms is None:
        return start_ms is not None and NO_TIMESTAMP_MS != update.updated_at_ms < start_ms
    was_over = update.period_end_ms <= update.updated_at_ms
    return was_over or (start_ms is not None and update.period_end_ms <= start_ms)


def _leaves_out(start_ms: int | None, end_ms: int | None, now_ms: int) -> bool:
    """True for a period that is over, or that has not begun by the cloud's clock either."""
    is_over = end_ms is not None and end_ms < now_ms
    return is_over or (start_ms is not None and start_ms > now_ms + CLOCK_TOLERANCE_MS)


def _period_of(
    terms: MeteredEntitlement | CreditEntitlement, update: UsageUpdate
) -> tuple[int | None, int | None]:
    """The period that a usage belongs to: sent without one, the one that contains its timestamp."""
    held = terms.usage
    has_period = update.period_start_ms is not None or update.period_end_ms is not None
    is_over = held.period_end_ms is not None and held.period_end_ms <= update.updated_at_ms
    if has_period or not is_over:
        return (
            held.period_start_ms if update.period_start_ms is None else update.period_start_ms,
            held.period_end_ms if update.period_end_ms is None else update.period_end_ms,
        )
    if not isinstance(terms, MeteredEntitlement) or terms.period_anchor_ms is None:
        return None, None
    if terms.reset_period is None:
        return None, None
    period = period_containing(
        update.updated_at_ms, anchor_ms=terms.period_anchor_ms, reset_period=terms.reset_period
    )
    return period or (None, None)


def _newest_usage(
    terms: MeteredEntitlement | CreditEntitlement,
    held: Usage,
    arrived: Usage,
    answered_at_ms: int | None = None,
) -> Usage:
    if _is_of_an_earlier_period(arrived, held):
        return held
    if answered_at_ms is not None and held.updated_at_ms > answered_at_ms + CLOCK_TOLERANCE_MS:
        return arrived
    if is_outdated(arrived.updated_at_ms, held.updated_at_ms) or _lags_behind(terms, held, arrived):
        return held
    return arrived


def _is_of_an_earlier_period(arrived: Usage, held: Usage) -> bool:
    """True for what was read before the boundary: an Edge that lags sends the former period's meter."""
    if arrived.period_end_ms is None or held.period_start_ms is None:
        return False
    return arrived.period_end_ms <= held.period_start_ms


def _lags_behind(terms: MeteredEntitlement | CreditEntitlement, held: Usage, arrived: Usage) -> bool:
    """True when two states of one millisecond arrive in the wrong order.

    An incremental meter only grows within a period, so the smaller one is the older one: without this rule
    a caller that reported twice in a millisecond could read its own first report after its second.
    """
    return (
        not arrived.is_estimate
        and isinstance(terms, MeteredEntitlement)
        and terms.feature.meter_type is MeterType.INCREMENTAL
        and arrived.updated_at_ms == held.updated_at_ms != NO_TIMESTAMP_MS
        and arrived.period_end_ms == held.period_end_ms
        and arrived.current < held.current
    )
