"""The scripts that seeds stand for."""

from collections import Counter, defaultdict

from tests.chaos.faults import FAULTS
from tests.chaos.forecast import CALM_SECONDS, forecast


def test_a_seed_is_a_script() -> None:
    """The same seed, the same weather; another seed, another."""
    assert forecast(7, seconds=8) == forecast(7, seconds=8)
    assert forecast(7, seconds=8) != forecast(8, seconds=8)


def test_scripts_fit_and_families_take_turns() -> None:
    """Nothing before the calm, nothing beyond the end, of one family one at a time."""
    for seed in range(300):
        ended: defaultdict[str, float] = defaultdict(lambda: CALM_SECONDS)
        for gust in forecast(seed, seconds=8):
            assert gust.at >= round(ended[gust.fault.family], 2) - 0.02, (seed, gust)
            ended[gust.fault.family] = gust.at + gust.seconds
            assert gust.at + gust.seconds <= 8.02, (seed, gust)
            assert len(gust.targets) <= (gust.fault.most_targets or 2)


def test_a_hundred_seeds_hold_every_fault() -> None:
    """But for those that the machine cannot have."""
    seen = Counter(gust.fault.name for seed in range(1, 401) for gust in forecast(seed, seconds=8))

    assert {fault.name for fault in FAULTS} == set(seen)
    without = {
        gust.fault.name for seed in range(200) for gust in forecast(seed, seconds=8, without=["disk full"])
    }
    assert "disk full" not in without
