"""Two replies are compared by field: what differs is named, what means the same does not differ."""

from typing import Any

import pytest

from entitlements.domain.difference import Difference
from grpc_service.comparison import MAX_DIFFERENCES, MAX_TEXT, Outcome, compare
from grpc_service.generated import sidecar_pb2 as pb


def outcome(message: Any) -> Outcome:
    return Outcome(message.SerializeToString())


def metered(id_: str = "m", **fields: Any) -> pb.EntitlementV2:
    feature = pb.EntitlementFeature(id=id_, feature_type=pb.FEATURE_TYPE_NUMBER)
    return pb.EntitlementV2(has_access=True, metered=pb.MeteredEntitlement(feature=feature, **fields))


def state(*entitlements: pb.EntitlementV2) -> Outcome:
    return outcome(pb.GetEntitlementsStateV2Response(entitlements=entitlements))


def compare_states(ours: Outcome, theirs: Outcome) -> list[Difference]:
    return list(compare("GetEntitlementsStateV2", ours, theirs))


def test_equal_bytes_and_equal_meaning_do_not_differ() -> None:
    """The order of a list, and of the values of an enum, mean nothing."""
    one = pb.EntitlementV2(enum=pb.EnumEntitlement(enum_values=["eu", "us"]))
    other = pb.EntitlementV2(enum=pb.EnumEntitlement(enum_values=["us", "eu"]))

    assert [] == compare_states(state(metered()), state(metered()))
    assert [] == compare_states(state(metered("a"), one), state(other, metered("a")))


def test_not_a_number_is_itself_and_no_zero_is_negative() -> None:
    for ours, theirs in ((float("nan"), float("nan")), (0.0, -0.0)):
        assert [] == compare_states(state(metered(usage_limit=ours)), state(metered(usage_limit=theirs)))


def test_fields_are_named_by_their_path_and_their_entitlement() -> None:
    ours = state(metered("a", current_usage=1), metered("b", reset_period=pb.ENTITLEMENT_RESET_PERIOD_DAY))
    theirs = state(metered("a", current_usage=2), metered("b", reset_period=99))

    assert [
        Difference("entitlements.metered.current_usage", "a", "1.0", "2.0"),
        Difference("entitlements.metered.reset_period", "b", "ENTITLEMENT_RESET_PERIOD_DAY", "99"),
    ] == compare_states(ours, theirs)


def test_not_set_is_not_empty() -> None:
    """Callers in Go dereference what is set."""
    ours, theirs = (pb.EntitlementFeature(id="m", units=each) for each in ("", None))

    found = compare(
        "GetBooleanEntitlement",
        *(
            outcome(pb.GetBooleanEntitlementResponse(entitlement=pb.BooleanEntitlement(feature=each)))
            for each in (ours, theirs)
        ),
    )

    assert (Difference("entitlement.feature.units", "", "", None),) == found


def test_another_kind_is_two_differences() -> None:
    ours = outcome(pb.GetEntitlementResponse(boolean=pb.BooleanEntitlement()))
    theirs = outcome(pb.GetEntitlementResponse(enum=pb.EnumEntitlement()))

    assert [("boolean", "set", None), ("enum", None, "set")] == [
        (each.field, each.ours, each.theirs) for each in compare("GetEntitlement", ours, theirs)
    ]


def test_what_only_one_lists_is_reported_by_its_name() -> None:
    """One that is listed twice as well, and one without a kind."""
    credit = pb.EntitlementV2(credit=pb.CreditEntitlement(currency=pb.EntitlementCurrency(currency_id="t")))
    ours = state(metered("a"), metered("a"), credit)
    theirs = state(metered("a"), pb.EntitlementV2())

    assert {
        Difference("entitlements", "a #2", "listed", "missing"),
        Difference("entitlements", "t", "listed", "missing"),
        Difference("entitlements", "", "missing", "listed"),
    } == set(compare_states(ours, theirs))


def test_meta_data_and_moments_are_one_value() -> None:
    """Their keys are the operator's: they would be a label each."""
    ours, theirs = (pb.CreditEntitlement(currency=pb.EntitlementCurrency(currency_id="t")) for _ in range(2))
    ours.currency.additional_meta_data.update({"icon": "a", "sort": 1})
    theirs.currency.additional_meta_data.update({"icon": "b", "sort": 1})
    theirs.usage_period_end.FromMilliseconds(1_750_000_000_000)

    found = compare_states(state(pb.EntitlementV2(credit=ours)), state(pb.EntitlementV2(credit=theirs)))

    assert [
        "entitlements.credit.currency.additional_meta_data",
        "entitlements.credit.usage_period_end",
    ] == [each.field for each in found]
    assert None is found[1].ours


def test_a_field_that_only_a_newer_contract_has_is_one_difference() -> None:
    """Whatever its number: those are no bounded set."""
    known = pb.GetBooleanEntitlementResponse(has_access=True).SerializeToString()
    newer = known + bytes([0xF8, 0x7F, 0x01])

    (found,) = compare("GetBooleanEntitlement", Outcome(known), Outcome(newer))

    assert "unknown_fields" == found.field
    assert found.ours is None
    assert "2047: 1" == found.theirs


@pytest.mark.parametrize("garbage", [b"\xff", b"\x0a\xff\xff"])
def test_what_is_no_reply_is_reported_as_such(garbage: bytes) -> None:
    good = Outcome(pb.GetEntitlementResponse(has_access=True).SerializeToString())

    assert (Difference("reply", "", "a reply", None),) == compare("GetEntitlement", good, Outcome(garbage))
    assert () == compare("GetEntitlement", Outcome(garbage), Outcome(garbage + b"\xff"))


def test_a_refusal_is_a_difference_and_an_absence_is_none() -> None:
    good, refused = Outcome(b""), Outcome(status="UNIMPLEMENTED")

    assert (Difference("status", "", "OK", "UNIMPLEMENTED"),) == compare("GetEntitlementV2", good, refused)
    assert refused.is_answered
    assert not Outcome(status="UNAVAILABLE").is_answered


def test_what_is_reported_of_a_reply_has_a_bound() -> None:
    many = [metered(str(number), current_usage=1) for number in range(2 * MAX_DIFFERENCES)]

    assert MAX_DIFFERENCES == len(compare_states(state(*many), state()))


def test_long_texts_are_cut_to_where_they_differ() -> None:
    ours, theirs = ("x" * 3 * MAX_TEXT + each for each in "ab")

    (found,) = compare(
        "GetEntitlementV2",
        *(
            outcome(
                pb.GetEntitlementV2Response(
                    entitlement=pb.EntitlementV2(enum=pb.EnumEntitlement(enum_values=[each]))
                )
            )
            for each in (ours, theirs)
        ),
    )

    assert found.ours is not None
    assert found.theirs is not None
    assert "a'" == found.ours[-2:]
    assert "b'" == found.theirs[-2:]
    assert max(len(found.ours), len(found.theirs)) <= MAX_TEXT
