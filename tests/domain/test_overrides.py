"""No override is in force where overrides are switched off."""

from entitlements.domain.overrides import NO_OVERRIDES
from tests.builders import A_KEY, a_query


def test_none_is_in_force_where_there_are_none() -> None:
    assert () == NO_OVERRIDES.of(A_KEY)
    assert NO_OVERRIDES.find(a_query()) is None
