"""How a check is decided: the rows of contract/evaluation.md, sections 1 to 3."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.decision import NO_ENTITLEMENT, Decision, Query
from entitlements.domain.entitlement import (
    CreditEntitlement,
    CreditRate,
    Entitlement,
    EntitlementKind,
    FeatureEntitlement,
    MeterType,
    ResetPeriod,
    Usage,
)
from entitlements.domain.entity import Entity
from entitlements.domain.evaluation import (
    EntitlementList,
    decide_by_fallback,
    evaluate,
    evaluate_list,
    in_current_period,
    list_by_fallback,
    needs_recalculation,
    next_boundary_ms,
)
from entitlements.domain.fallback import DEFAULT_FALLBACK, FallbackValue
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import (
    A_KEY,
    NOW_MS,
    a_boolean_feature,
    a_credit,
    a_credit_query,
    a_metered_feature,
    a_numeric_feature,
    a_query,
    a_usage,
    an_entity,
    an_enum_feature,
)

GRANTING = FallbackValue(has_access=True, value=3)
DENYING = FallbackValue(has_access=False, usage_limit=7.0)
SPENT = CreditRate(amount=1.0, currency_id="tokens")
EVERY_KIND: tuple[Entitlement, ...] = (
    a_boolean_feature("f"),
    a_numeric_feature("f"),
    a_metered_feature("f"),
    an_enum_feature("f"),
    a_credit("f"),
)
EVERY_FEATURE: tuple[FeatureEntitlement, ...] = (
    a_boolean_feature("f"),
    a_numeric_feature("f"),
    a_metered_feature("f"),
    an_enum_feature("f"),
)
FEATURE_KINDS = tuple(each.kind for each in EVERY_FEATURE)


def _ms(text: str) -> int:
    """The epoch milliseconds of an ISO date and time in UTC."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def _evaluate(
    entity: Entity, query: Query, *, rules: dict[str, FallbackValue] | None = None, now_ms: int = NOW_MS
) -> Decision:
    return evaluate(entity, query, rules=rules or {}, now_ms=now_ms)


def _denial(*entitlements: Entitlement, query: Query) -> AccessDeniedReason | None:
    """Why access is denied, or None where it is granted."""
    decision = _evaluate(an_entity(*entitlements), query)
    assert decision.has_access is (decision.reason is None)
    return decision.reason


# Section 1: freshen by the clock


@pytest.mark.parametrize("now_ms", [1_500, 2_000])
def test_running_period_keeps_its_usage(now_ms: int) -> None:
    """Up to its end, the end included, a period is not over."""
    metered = a_metered_feature(
        usage=a_usage(3, period_start_ms=1_000, period_end_ms=2_000),
        period_anchor_ms=0,
        reset_period=ResetPeriod.HOUR,
    )

    assert metered is in_current_period(metered, now_ms=now_ms)


def test_usage_without_an_end_never_expires() -> None:
    """A meter that is not reset counts on."""
    metered = a_metered_feature(usage=a_usage(3), period_anchor_ms=0, reset_period=ResetPeriod.HOUR)

    assert metered is in_current_period(metered, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("reset_period", "start", "end"),
    [
        (ResetPeriod.MONTH, "2026-02-28T06:00", "2026-03-31T06:00"),
        (ResetPeriod.DAY, "2026-03-01T06:00", "2026-03-02T06:00"),
    ],
)
def test_period_that_is_over_starts_again_at_zero(reset_period: ResetPeriod, start: str, end: str) -> None:
    """The period becomes the one that contains now; when the reading was known stays as it was."""
    metered = a_metered_feature(
        usage=a_usage(3, updated_at_ms=7, period_end_ms=_ms("2026-02-28")),
        period_anchor_ms=_ms("2026-01-31T06:00"),
        reset_period=reset_period,
    )

    fresh = in_current_period(metered, now_ms=_ms("2026-03-01T12:00"))

    usage = a_usage(0, updated_at_ms=7, period_start_ms=_ms(start), period_end_ms=_ms(end))
    assert replace(metered, usage=usage) == fresh


@pytest.mark.parametrize(
    ("anchor_ms", "reset_period", "now_ms"),
    [
        (None, ResetPeriod.DAY, NOW_MS),
        (0, None, NOW_MS),
        (None, None, NOW_MS),
        (0, ResetPeriod.MONTH, _ms("9999-12-31T12:00")),
    ],
    ids=["no anchor", "no reset period", "neither", "outside the calendar"],
)
def test_period_that_cannot_be_counted_is_unset(
    anchor_ms: int | None, reset_period: ResetPeriod | None, now_ms: int
) -> None:
    """The usage starts again, in no known period."""
    metered = a_metered_feature(
        usage=a_usage(3, period_start_ms=1, period_end_ms=2),
        period_anchor_ms=anchor_ms,
        reset_period=reset_period,
    )

    fresh = in_current_period(metered, now_ms=now_ms)

    assert replace(metered, usage=a_usage(0)) == fresh


@pytest.mark.parametrize(
    "entitlement",
    [each for each in EVERY_KIND if each.kind is not EntitlementKind.METERED]
    + [a_credit(usage=a_usage(3, period_end_ms=1))],
)
def test_only_meters_are_reset(entitlement: Entitlement) -> None:
    """A balance, a number, a switch and a set are what the cloud said last."""
    assert entitlement is in_current_period(entitlement, now_ms=NOW_MS)


def test_check_reads_a_fresh_meter() -> None:
    """A request that exceeds last period's rest fits into this one."""
    metered = a_metered_feature(
        "f",
        limit=5,
        usage=a_usage(5, period_end_ms=NOW_MS - 1),
        period_anchor_ms=NOW_MS - 1,
        reset_period=ResetPeriod.DAY,
    )

    decision = _evaluate(an_entity(metered), a_query("f", requested_usage=5))

    expected = Decision(
        has_access=True, kind=EntitlementKind.METERED, basis=in_current_period(metered, now_ms=NOW_MS), id="f"
    )
    assert expected == decision


@pytest.mark.parametrize(
    ("valid_until_ms", "expired"), [(None, False), (NOW_MS + 1, False), (NOW_MS, True), (NOW_MS - 1, True)]
)
@pytest.mark.parametrize("entitlement", EVERY_KIND, ids=lambda each: each.kind.value)
def test_better_expired_valid_until_asks_the_cloud(
    entitlement: Entitlement, valid_until_ms: int | None, expired: bool
) -> None:
    """What was valid until now is recalculated, of whatever kind it is."""
    is_credit = isinstance(entitlement, CreditEntitlement)
    entity = an_entity(replace(entitlement, valid_until_ms=valid_until_ms))
    query = a_credit_query("f") if is_credit else a_query("f")

    assert expired == needs_recalculation(entity, query, now_ms=NOW_MS)
    assert expired == needs_recalculation(entity, None, now_ms=NOW_MS)


def test_valid_until_of_another_feature_concerns_only_the_list() -> None:
    """A check asks for its own entitlement, a list for all."""
    entity = an_entity(a_boolean_feature("f"), a_boolean_feature("g", valid_until_ms=1))

    assert not needs_recalculation(entity, a_query("f"), now_ms=NOW_MS)
    assert not needs_recalculation(entity, a_query("missing"), now_ms=NOW_MS)
    assert needs_recalculation(entity, None, now_ms=NOW_MS)


def test_better_expired_valid_until_without_the_cloud_answers_the_last_known() -> None:
    """Stale beats a guess: an expired entitlement is still decided from, with no fallback."""
    flag = a_boolean_feature("f", valid_until_ms=1)

    decision = _evaluate(an_entity(flag), a_query("f", fallback=DENYING))

    assert Decision(has_access=True, kind=EntitlementKind.BOOLEAN, basis=flag, id="f") == decision


# Section 2: decide


@pytest.mark.parametrize("kind", FEATURE_KINDS)
@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        (an_entity(a_boolean_feature("g")), AccessDeniedReason.NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION),
        (an_entity(a_credit("f")), AccessDeniedReason.NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION),
        (
            an_entity(a_boolean_feature("g"), denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION),
            AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION,
        ),
        (
            an_entity(denied_reason=AccessDeniedReason.CUSTOMER_IS_ARCHIVED),
            AccessDeniedReason.CUSTOMER_IS_ARCHIVED,
        ),
        (an_entity(), AccessDeniedReason.CUSTOMER_NOT_FOUND),
    ],
    ids=["other features", "only a credit of that id", "reason and features", "reason", "empty"],
)
def test_typed_method_without_an_entitlement_denies(
    kind: EntitlementKind, entity: Entity, reason: AccessDeniedReason
) -> None:
    """It says why, and takes no fallback, for the cloud has answered."""
    query = a_query("f", expected_kind=kind, fallback=GRANTING)

    decision = _evaluate(entity, query, rules={"f": GRANTING})

    assert Decision(has_access=False, reason=reason, kind=kind, basis=NO_ENTITLEMENT, id="f") == decision


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        (an_entity(a_boolean_feature("g")), AccessDeniedReason.NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION),
        (an_entity(denied_reason=AccessDeniedReason.REVOKED), AccessDeniedReason.REVOKED),
        (an_entity(), AccessDeniedReason.CUSTOMER_NOT_FOUND),
    ],
)
def test_generic_method_without_an_entitlement_takes_a_denying_fallback_with_the_reason(
    entity: Entity, reason: AccessDeniedReason
) -> None:
    """Where the fallback denies too, the cloud's reason is kept."""
    decision = _evaluate(entity, a_query("f", fallback=DENYING))

    assert (
        Decision(has_access=False, reason=reason, kind=EntitlementKind.METERED, basis=DENYING, id="f")
        == decision
    )


def test_generic_method_without_an_entitlement_takes_a_granting_fallback_as_unknown() -> None:
    """A fallback that grants does not carry a reason to deny."""
    decision = _evaluate(an_entity(a_boolean_feature("g")), a_query("f"), rules={"f": GRANTING})

    expected = Decision(
        has_access=True,
        reason=AccessDeniedReason.UNKNOWN,
        kind=EntitlementKind.NUMERIC,
        basis=GRANTING,
        id="f",
    )
    assert expected == decision


@pytest.mark.parametrize("expected_kind", FEATURE_KINDS)
@pytest.mark.parametrize("entitlement", EVERY_FEATURE, ids=lambda each: each.kind.value)
@pytest.mark.parametrize("denied_reason", [None, AccessDeniedReason.REVOKED])
def test_typed_method_takes_the_fallback_for_another_type(
    expected_kind: EntitlementKind, entitlement: FeatureEntitlement, denied_reason: AccessDeniedReason | None
) -> None:
    """Each accepts its own type alone; a mismatch comes before a denial of the other type."""
    entity = an_entity(replace(entitlement, denied_reason=denied_reason))

    decision = _evaluate(entity, a_query("f", expected_kind=expected_kind, fallback=GRANTING))

    mismatch = Decision(
        has_access=True,
        reason=AccessDeniedReason.FEATURE_TYPE_MISMATCH,
        kind=expected_kind,
        basis=GRANTING,
        id="f",
    )
    own = Decision(
        has_access=denied_reason is None,
        reason=denied_reason,
        kind=expected_kind,
        basis=replace(entitlement, denied_reason=denied_reason),
        id="f",
    )
    assert (own if expected_kind is entitlement.kind else mismatch) == decision


@pytest.mark.parametrize("meter_type", [None, MeterType.NONE])
def test_numeric_method_accepts_a_number_without_a_meter(meter_type: MeterType | None) -> None:
    """A missing meter type and the meter type None are both no meter."""
    number = a_numeric_feature("f", meter_type=meter_type)

    assert _denial(number, query=a_query("f", expected_kind=EntitlementKind.NUMERIC)) is None


@pytest.mark.parametrize("meter_type", [MeterType.INCREMENTAL, MeterType.FLUCTUATING])
def test_metered_method_accepts_both_meters(meter_type: MeterType) -> None:
    """How a meter moves does not matter to the method."""
    metered = a_metered_feature("f", meter_type=meter_type)

    assert _denial(metered, query=a_query("f", expected_kind=EntitlementKind.METERED)) is None


@pytest.mark.parametrize("entitlement", EVERY_KIND, ids=lambda each: each.kind.value)
def test_clouds_own_denial_holds(entitlement: Entitlement) -> None:
    """An entitlement that carries a reason denies, whatever room it has, in its own arm."""
    denied = replace(entitlement, denied_reason=AccessDeniedReason.BUDGET_EXCEEDED)
    query = a_credit_query("f") if isinstance(entitlement, CreditEntitlement) else a_query("f")

    decision = _evaluate(an_entity(denied), query)

    expected = Decision(
        has_access=False,
        reason=AccessDeniedReason.BUDGET_EXCEEDED,
        kind=entitlement.kind,
        basis=denied,
        id="f",
    )
    assert expected == decision


@pytest.mark.parametrize("entitlement", EVERY_KIND, ids=lambda each: each.kind.value)
def test_generic_method_answers_in_the_features_own_arm(entitlement: Entitlement) -> None:
    """What is asked for says nothing of the arm when the entitlement is known."""
    query = a_credit_query("f") if isinstance(entitlement, CreditEntitlement) else a_query("f")

    decision = _evaluate(an_entity(entitlement), query)

    assert Decision(has_access=True, kind=entitlement.kind, basis=entitlement, id="f") == decision


def test_boolean_is_granted_whatever_is_requested() -> None:
    """A switch has no quantity."""
    assert _denial(a_boolean_feature("f"), query=a_query("f", requested_usage=11)) is None


@pytest.mark.parametrize(
    "number", [a_numeric_feature("f", value=-1), a_numeric_feature("f", value=None), a_numeric_feature("f")]
)
def test_number_without_a_meter_is_granted_whatever_is_requested(number: FeatureEntitlement) -> None:
    """A configured number limits nothing by itself, also a negative one."""
    assert _denial(number, query=a_query("f", requested_usage=11)) is None


@pytest.mark.parametrize(
    ("values", "requested", "denial"),
    [
        (("a", "b"), (), None),
        ((), (), None),
        (("a", "b"), ("b",), None),
        (("a", "b"), ("b", "a", "b"), None),
        (("a", "b"), ("a", "z"), AccessDeniedReason.REQUESTED_VALUES_MISMATCH),
        (("a",), ("A",), AccessDeniedReason.REQUESTED_VALUES_MISMATCH),
        (("a",), ("",), AccessDeniedReason.REQUESTED_VALUES_MISMATCH),
        ((), ("a",), AccessDeniedReason.REQUESTED_VALUES_MISMATCH),
    ],
)
def test_enum_grants_what_is_among_its_values(
    values: tuple[str, ...], requested: tuple[str, ...], denial: AccessDeniedReason | None
) -> None:
    """Every requested value must be there, in any order; none requested is granted."""
    enum = an_enum_feature("f", values=values)

    assert denial is _denial(enum, query=a_query("f", requested_values=requested))


@pytest.mark.parametrize(
    ("limit", "used", "requested", "is_granted"),
    [
        (10, 0, None, True),
        (10, 10, None, True),
        (10, 9, 1, True),
        (10, 10, 0, True),
        (10, 10, 1, False),
        (10, 11, None, False),
        (10, 12, -1, False),
        (10, 11, -1, True),
        (10, 9.5, 0.5, True),
        (10, 0, 1e15, False),
        (None, 0, None, True),
        (None, 0, 1, False),
        (None, 1, 0, False),
        (0, 0, 0, True),
        (-1, 0, 0, False),
    ],
)
def test_meter_grants_up_to_its_limit(
    limit: float | None, used: float, requested: float | None, is_granted: bool
) -> None:
    """The limit itself is within; no limit is 0, and no request is 0."""
    metered = a_metered_feature("f", limit=limit, usage=a_usage(used))

    denial = _denial(metered, query=a_query("f", requested_usage=requested))

    assert (None if is_granted else AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT) is denial


@pytest.mark.parametrize(
    "metered",
    [
        a_metered_feature("f", limit=None, is_unlimited=True, usage=a_usage(99)),
        a_metered_feature("f", limit=5, has_soft_limit=True, usage=a_usage(99)),
    ],
    ids=["unlimited", "soft limit"],
)
def test_unlimited_and_soft_limits_grant_any_usage(metered: FeatureEntitlement) -> None:
    """There is no limit, or one that is only charged for."""
    assert _denial(metered, query=a_query("f", requested_usage=1e9)) is None


def test_limit_that_is_not_soft_is_a_limit() -> None:
    """`hasSoftLimit` false is as no soft limit at all."""
    metered = a_metered_feature("f", limit=5, has_soft_limit=False, usage=a_usage(5))

    denial = _denial(metered, query=a_query("f", requested_usage=1))

    assert AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT is denial


@pytest.mark.parametrize(
    ("limit", "used", "requested", "is_granted"),
    [
        (0.3, 0.1, 0.2, True),
        (1.0, 0.7, 0.3000000009, True),
        (1.0, 0.7, 0.300000002, False),
        (1e12, 1e12, 1_000, True),
        (1e12, 1e12, 1_002, False),
        (0.0, 0.0, 1e-12, False),
    ],
)
def test_better_sums_of_doubles(limit: float, used: float, requested: float, is_granted: bool) -> None:
    """Usage plus request is within the limit to one part in 10⁹: 0.1 + 0.2 does not exceed 0.3."""
    metered = a_metered_feature("f", limit=limit, usage=a_usage(used))

    denial = _denial(metered, query=a_query("f", requested_usage=requested))

    assert is_granted is (denial is None)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_better_sums_of_hundredths_are_exact(limit: int, used: int, requested: int) -> None:
    """Amounts with two decimals are compared as people would, in whole hundredths."""
    metered = a_metered_feature("f", limit=limit / 100, usage=a_usage(used / 100))

    denial = _denial(metered, query=a_query("f", requested_usage=requested / 100))

    assert (used + requested <= limit) is (denial is None)


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.booleans())
def test_smaller_request_is_granted_where_the_larger_is(
    limit: float, spent: float, one: float, other: float, is_credit: bool
) -> None:
    """Access is monotone in what is requested, of a meter and of a balance."""
    entitlement = (
        a_credit("f", limit=limit, usage=a_usage(spent))
        if is_credit
        else a_metered_feature("f", limit=limit, usage=a_usage(spent))
    )
    requests = sorted([one, other])

    smaller, larger = [
        _denial(
            entitlement,
            query=a_credit_query("f", requested_usage=requested)
            if is_credit
            else a_query("f", requested_usage=requested),
        )
        for requested in requests
    ]

    assert smaller is None or larger is not None


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_higher_limit_grants_what_the_lower_does(limit: float, used: float, more: float) -> None:
    """Access is monotone in the limit."""
    lower, higher = [
        _denial(a_metered_feature("f", limit=each, usage=a_usage(used)), query=a_query("f"))
        for each in (limit, limit + more)
    ]

    assert higher is None or lower is not None


@pytest.mark.parametrize("entitlement", EVERY_FEATURE, ids=lambda each: each.kind.value)
@pytest.mark.parametrize(
    ("denied_reason", "spent", "has_soft_limit", "denial"),
    [
        (None, 4, False, None),
        (None, 5, False, AccessDeniedReason.INSUFFICIENT_CREDITS),
        (None, 6, False, AccessDeniedReason.INSUFFICIENT_CREDITS),
        (None, 6, True, None),
        (AccessDeniedReason.INSUFFICIENT_CREDITS, 4, False, None),
        (AccessDeniedReason.INSUFFICIENT_CREDITS, 6, True, None),
        (AccessDeniedReason.INSUFFICIENT_CREDITS, 5, False, AccessDeniedReason.INSUFFICIENT_CREDITS),
        (AccessDeniedReason.REVOKED, 4, False, AccessDeniedReason.REVOKED),
        (AccessDeniedReason.REVOKED, 5, False, AccessDeniedReason.REVOKED),
    ],
)
def test_feature_that_draws_on_a_balance_follows_it(
    entitlement: FeatureEntitlement,
    denied_reason: AccessDeniedReason | None,
    spent: float,
    has_soft_limit: bool,
    denial: AccessDeniedReason | None,
) -> None:
    """Exhausted denies, replenished lifts a cached INSUFFICIENT_CREDITS, and no other denial."""
    feature = replace(entitlement, credit_rate=SPENT, denied_reason=denied_reason)
    credit = a_credit(limit=5, usage=a_usage(spent), has_soft_limit=has_soft_limit)

    assert denial is _denial(feature, credit, query=a_query("f"))


@pytest.mark.parametrize("denied_reason", [None, AccessDeniedReason.INSUFFICIENT_CREDITS])
@pytest.mark.parametrize(
    "credit", [None, a_credit("coins", usage=a_usage(5))], ids=["none", "other currency"]
)
def test_feature_whose_balance_is_not_held_says_what_the_cloud_said(
    denied_reason: AccessDeniedReason | None, credit: CreditEntitlement | None
) -> None:
    """Without the balance of its own currency, nothing is known better."""
    feature = a_boolean_feature("f", credit_rate=SPENT, denied_reason=denied_reason)
    held: tuple[Entitlement, ...] = (feature,) if credit is None else (feature, credit)

    assert denied_reason is _denial(*held, query=a_query("f"))


def test_balance_that_suffices_does_not_lift_a_limit() -> None:
    """A metered feature must fit both."""
    metered = a_metered_feature("f", limit=1, usage=a_usage(1), credit_rate=SPENT)

    denial = _denial(metered, a_credit(), query=a_query("f", requested_usage=1))

    assert AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT is denial


@pytest.mark.parametrize(
    ("spent", "has_soft_limit", "requested", "is_granted"),
    [
        (0, False, None, True),
        (0, False, 5, True),
        (4.5, False, None, True),
        (0, False, 5.1, False),
        (4.9, False, 0.1, True),
        (4, False, 2, False),
        (5, False, 0, False),
        (5, False, None, False),
        (6, False, None, False),
        (6, True, 100, True),
    ],
)
def test_balance_grants_what_it_holds(
    spent: float, has_soft_limit: bool, requested: float | None, is_granted: bool
) -> None:
    """Something must remain, and no less than is requested; a soft limit may be overdrawn."""
    credit = a_credit(limit=5, usage=a_usage(spent), has_soft_limit=has_soft_limit)

    denial = _denial(credit, query=a_credit_query(requested_usage=requested))

    assert (None if is_granted else AccessDeniedReason.INSUFFICIENT_CREDITS) is denial


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        (an_entity(), AccessDeniedReason.ENTITLEMENT_NOT_FOUND),
        (an_entity(a_boolean_feature("tokens")), AccessDeniedReason.ENTITLEMENT_NOT_FOUND),
        (
            an_entity(a_credit("coins"), denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION),
            AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION,
        ),
    ],
)
def test_missing_balance_denies(entity: Entity, reason: AccessDeniedReason) -> None:
    """The state-level reason, or else that there is none; no fallback is configured by currency."""
    decision = _evaluate(entity, a_credit_query("tokens"), rules={"tokens": GRANTING})

    expected = Decision(
        has_access=False, reason=reason, kind=EntitlementKind.CREDIT, basis=NO_ENTITLEMENT, id="tokens"
    )
    assert expected == decision


def test_list_decides_everything_with_no_request() -> None:
    """Features come before credits, each in the cloud's order and up to date by the clock."""
    over = a_metered_feature("over", limit=5, usage=a_usage(9))
    reset = a_metered_feature("reset", limit=5, usage=a_usage(9, period_end_ms=NOW_MS - 1))
    credit = a_credit()
    entity = an_entity(
        credit, over, reset, an_enum_feature("e"), denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION
    )

    listed = evaluate_list(entity, now_ms=NOW_MS)

    expected = EntitlementList(
        decisions=(
            Decision(
                has_access=False,
                reason=AccessDeniedReason.REQUESTED_USAGE_EXCEEDING_LIMIT,
                kind=EntitlementKind.METERED,
                basis=over,
                id="over",
            ),
            Decision(
                has_access=True,
                kind=EntitlementKind.METERED,
                basis=replace(reset, usage=a_usage(0)),
                id="reset",
            ),
            Decision(has_access=True, kind=EntitlementKind.ENUM, basis=an_enum_feature("e"), id="e"),
            Decision(has_access=True, kind=EntitlementKind.CREDIT, basis=credit, id="tokens"),
        ),
        reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION,
    )
    assert expected == listed


def test_list_of_an_empty_entity_is_empty() -> None:
    """It has no reason of its own making."""
    assert EntitlementList(decisions=()) == evaluate_list(an_entity(), now_ms=NOW_MS)


# Section 3: fallbacks


@pytest.mark.parametrize(
    ("call", "rules", "basis"),
    [
        (GRANTING, {"f": DENYING}, GRANTING),
        (DENYING, {"f": GRANTING}, DENYING),
        (None, {"f": GRANTING}, GRANTING),
        (None, {"g": GRANTING}, DEFAULT_FALLBACK),
    ],
)
@pytest.mark.parametrize("kind", FEATURE_KINDS)
def test_fallback_answers_where_nothing_is_known(
    kind: EntitlementKind, call: FallbackValue | None, rules: dict[str, FallbackValue], basis: FallbackValue
) -> None:
    """The call's, else the configured one, else the default; UNKNOWN in the typed method's arm."""
    decision = decide_by_fallback(a_query("f", expected_kind=kind, fallback=call), rules=rules)

    expected = Decision(
        has_access=basis.has_access, reason=AccessDeniedReason.UNKNOWN, kind=kind, basis=basis, id="f"
    )
    assert expected == decision
    assert decision.is_fallback


@pytest.mark.parametrize(
    ("query", "rules", "kind"),
    [
        (a_query("f"), {}, EntitlementKind.BOOLEAN),
        (a_query("f", requested_usage=0), {}, EntitlementKind.METERED),
        (a_query("f", requested_values=("a",)), {}, EntitlementKind.ENUM),
        (a_query("f", requested_values=("a",), fallback=DENYING), {}, EntitlementKind.METERED),
        (a_query("f", fallback=GRANTING), {"f": DENYING}, EntitlementKind.NUMERIC),
        (a_query("f"), {"f": DENYING}, EntitlementKind.METERED),
        (a_query("f"), {"g": DENYING}, EntitlementKind.BOOLEAN),
        (a_credit_query("tokens", requested_usage=1), {"tokens": DENYING}, EntitlementKind.CREDIT),
    ],
)
def test_generic_fallback_answers_in_the_arm_of_its_options(
    query: Query, rules: dict[str, FallbackValue], kind: EntitlementKind
) -> None:
    """The options say it, then the configured entry; a balance is always a credit."""
    decision = decide_by_fallback(query, rules=rules)

    assert kind is decision.kind


def test_fallback_of_a_balance_denies_by_default() -> None:
    """Nothing is configured by currency, so that only the call's own fallback grants."""
    decisions = [
        decide_by_fallback(query, rules={"tokens": GRANTING})
        for query in (a_credit_query("tokens"), replace(a_credit_query("tokens"), fallback=GRANTING))
    ]

    expected = [
        Decision(
            has_access=basis.has_access,
            reason=AccessDeniedReason.UNKNOWN,
            kind=EntitlementKind.CREDIT,
            basis=basis,
            id="tokens",
        )
        for basis in (DEFAULT_FALLBACK, GRANTING)
    ]
    assert expected == decisions


def test_fallback_of_an_invalid_query_denies() -> None:
    """A query without a feature is answered, and named by nothing."""
    decision = decide_by_fallback(Query(key=A_KEY), rules={"f": GRANTING})

    expected = Decision(
        has_access=False,
        reason=AccessDeniedReason.UNKNOWN,
        kind=EntitlementKind.BOOLEAN,
        basis=DEFAULT_FALLBACK,
    )
    assert expected == decision


def test_list_by_fallback_holds_the_configured_features() -> None:
    """In the configured order, each in the arm that its own fields say."""
    listed = list_by_fallback(rules={"f": GRANTING, "g": DENYING, "h": FallbackValue(has_access=True)})

    expected = EntitlementList(
        decisions=tuple(
            Decision(
                has_access=basis.has_access,
                reason=AccessDeniedReason.UNKNOWN,
                kind=kind,
                basis=basis,
                id=id_,
            )
            for id_, basis, kind in (
                ("f", GRANTING, EntitlementKind.NUMERIC),
                ("g", DENYING, EntitlementKind.METERED),
                ("h", FallbackValue(has_access=True), EntitlementKind.BOOLEAN),
            )
        )
    )
    assert expected == listed


def test_list_by_fallback_without_rules_is_empty() -> None:
    """Nothing is configured, nothing is listed."""
    assert EntitlementList(decisions=()) == list_by_fallback(rules={})


@given(st.integers(0, 10**13), st.floats(0, 1e6), st.integers(0, 10**13), st.sampled_from(ResetPeriod))
def test_freshening_is_idempotent(now_ms: int, used: float, end_ms: int, reset_period: ResetPeriod) -> None:
    """A fresh meter is fresh, and its period has not ended."""
    metered = a_metered_feature(
        usage=Usage(current=used, period_end_ms=end_ms), period_anchor_ms=end_ms, reset_period=reset_period
    )

    fresh = in_current_period(metered, now_ms=now_ms)

    assert fresh == in_current_period(fresh, now_ms=now_ms)


def test_next_boundary() -> None:
    """The earliest end of a period or of validity; what never ends has none."""
    metered = a_metered_feature(usage=a_usage(period_end_ms=NOW_MS + 30), valid_until_ms=NOW_MS + 40)
    boolean = a_boolean_feature(valid_until_ms=NOW_MS + 20)
    decisions = [
        evaluate(an_entity(metered, boolean), a_query(id_), rules={}, now_ms=NOW_MS)
        for id_ in ("seats", "flag", "absent")
    ]

    assert NOW_MS + 30 == next_boundary_ms(decisions[:1])
    assert NOW_MS + 20 == next_boundary_ms(decisions)
    assert None is next_boundary_ms(decisions[2:])
