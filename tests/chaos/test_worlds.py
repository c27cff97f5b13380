"""Worlds are chosen by seed, and have the faults that they can have."""

from tests.chaos.faults import FAULTS, absent
from tests.chaos.worlds import WORLDS, world_of


def test_as_many_seeds_as_worlds_choose_all_of_them() -> None:
    """Each the same one again."""
    assert set(WORLDS) == {world_of(seed) for seed in range(7, 7 + len(WORLDS))}
    assert world_of(7) == world_of(7)


def test_a_world_has_the_faults_that_it_offers() -> None:
    """What needs slots is of the Cluster, what kills one worker needs another, and all is somewhere."""
    absent_in = {name: absent(world.offers) for name, world in WORLDS.items()}

    assert {"cluster"} == {name for name, those in absent_in.items() if "slots moved" not in those}
    assert {"plain"} == {name for name, those in absent_in.items() if "worker killed" in those}
    assert "Redis line cut" in absent_in["sentinel"]
    assert "primary killed" in absent_in["plain"]
    assert {fault.name for fault in FAULTS if fault.needs} == set[str]().union(*absent_in.values())
    assert not frozenset.intersection(*absent_in.values())
