"""How long a call is waited for follows what calls take."""

import pytest

from entitlements.redis.patience import LEAST_SECONDS, MOST_SECONDS, Patience


def after(*took_seconds: float) -> float:
    patience = Patience()
    for each in took_seconds:
        patience.note(each)
    return patience.seconds


@pytest.mark.parametrize(
    ("took_seconds", "least", "most"),
    [
        ([], MOST_SECONDS, MOST_SECONDS),
        ([0.001] * 3, LEAST_SECONDS, LEAST_SECONDS),
        ([0.2], 0.4, MOST_SECONDS),
        ([0.2] * 50, LEAST_SECONDS, LEAST_SECONDS),
        ([0.4] * 50, 0.4, 0.45),
        ([0.3, 0.5] * 50, 0.6, MOST_SECONDS),
        ([5.0] * 3, MOST_SECONDS, MOST_SECONDS),
        ([0.001] * 100 + [0.4], 0.4, 0.6),  # one answer that came late is enough
        ([0.4] * 100 + [0.001] * 50, LEAST_SECONDS, LEAST_SECONDS),
    ],
)
def test_it_is_what_calls_take_and_some_more(took_seconds: list[float], least: float, most: float) -> None:
    assert least <= after(*took_seconds) <= most
