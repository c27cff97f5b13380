"""The seeded script of a run: which fault, when, how long, at whom."""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tests.chaos.faults import FAULTS, FaultKind
from tests.chaos.machine import INSTANCES

CALM_SECONDS = 1.0
"""Nothing happens before this."""
SHORTEST_SECONDS = 0.4
MOST_OF_A_FAMILY = {
    "cloud": 2,
    "slow feed": 1,
    "line": 1,
    "redis": 2,
    "process": 1,
    "disk": 1,
    "clock": 1,
    "network": 1,
    "load": 1,
}
CHANCES = {
    "cloud": 0.9,
    "slow feed": 0.04,
    "line": 0.4,
    "redis": 0.75,
    "process": 0.6,
    "disk": 0.3,
    "clock": 0.3,
    "network": 0.25,
    "load": 0.3,
}
"""How likely a family has a part in a run; a slow feed takes minutes to heal, so it is rare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gust:
    """One fault of a script."""

    at: float
    """Seconds since the run's beginning."""
    fault: FaultKind
    seconds: float
    targets: Sequence[str]


def forecast(seed: int, *, seconds: float, without: Collection[str] = ()) -> Sequence[Gust]:
    """Write the script of a seed; the same arguments give the same script.

    Args:
        seed: chooses everything.
        seconds: no fault begins later, less its own length.
        without: names of faults that this machine cannot have.
    """
    dice = random.Random(seed)
    script: list[Gust] = []
    while not script:
        for family, most in MOST_OF_A_FAMILY.items():
            choice = [fault for fault in FAULTS if fault.family == family and fault.name not in without]
            if choice and dice.random() < CHANCES[family]:
                script += _lane(dice, choice, dice.randint(1, most), seconds)
    return sorted(script, key=lambda gust: gust.at)


def _lane(dice: random.Random, choice: Sequence[FaultKind], count: int, seconds: float) -> Sequence[Gust]:
    """Faults of one family, one after the other, each in its own part of the time."""
    part_seconds = (seconds - CALM_SECONDS) / count
    lane = []
    for number in range(count):
        fault = dice.choice(choice)
        longest = max(SHORTEST_SECONDS, min(fault.longest_seconds, part_seconds * 0.8))
        length = dice.uniform(SHORTEST_SECONDS, longest)
        at = CALM_SECONDS + number * part_seconds + dice.uniform(0, max(0.0, part_seconds - length))
        how_many = dice.randint(1, fault.most_targets) if fault.most_targets else len(INSTANCES)
        targets = tuple(sorted(dice.sample(INSTANCES, how_many)))
        lane.append(Gust(at=round(at, 2), fault=fault, seconds=round(length, 2), targets=targets))
    return lane
