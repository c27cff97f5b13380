"""Slots go round among the callers, not to who has asked most."""

import asyncio
from collections.abc import Sequence

import pytest

from entitlements.domain.errors import Overloaded
from entitlements.service.fair_slots import FairSlots


class Crowd:
    """Callers that wait for the slots, and who had one in which order."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.served: list[str] = []
        self.failed: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def wait(self, names: Sequence[str]) -> None:
        """Each is a caller's letter and a number of its own."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._one(name))
            await asyncio.sleep(0)

    async def _one(self, name: str) -> None:
        try:
            await self.slots.acquire(name[0], name)
        except Overloaded:
            self.failed.append(name)
        else:
            self.served.append(name)
            self.slots.release()

    async def release(self) -> None:
        self.slots.release()
        await asyncio.wait(self.tasks.values())


async def taken() -> Crowd:
    """One slot, which somebody has."""
    slots = FairSlots(1)
    await slots.acquire("x", "x0")
    return Crowd(slots)


@pytest.mark.parametrize(
    ("waiting", "served"),
    [
        ("a1 a2 a3 a4 b1", "a1 b1 a2 a3 a4"),
        ("a1 a2 b1 c1 b2 c2", "a1 b1 c1 a2 b2 c2"),
        ("a1 a2 a3", "a1 a2 a3"),
    ],
)
async def test_each_caller_has_its_turn(waiting: str, served: str) -> None:
    crowd = await taken()
    await crowd.wait(waiting.split())

    await crowd.release()

    assert served.split() == crowd.served
    assert crowd.slots.try_acquire()


async def test_who_waits_for_the_same_brings_its_own_turn() -> None:
    """What a crowd asks for last comes at the turn of another who wants it too; and only once."""
    crowd = await taken()
    await crowd.wait(["a1", "a2", "a3"])
    crowd.slots.join("b", "a3")
    crowd.slots.join("b", "nobody waits for this")

    await crowd.release()

    assert ["a1", "a3", "a2"] == crowd.served


async def test_who_goes_away_takes_no_turn() -> None:
    """Nor does it keep a slot that it was given as it went."""
    crowd = await taken()
    await crowd.wait(["a1", "b1", "c1"])
    crowd.tasks["b1"].cancel()
    await asyncio.sleep(0)
    crowd.slots.release()  # to a1, which goes away before it knows
    crowd.tasks["a1"].cancel()
    await asyncio.wait(crowd.tasks.values())

    assert ["c1"] == crowd.served
    assert crowd.slots.try_acquire()


async def test_the_youngest_of_the_caller_with_most_makes_room() -> None:
    crowd = await taken()
    await crowd.wait(["a1", "a2", "a3", "b1"])

    rooms = [crowd.slots.displace(each, Overloaded("full")) for each in ("c", "a", "b")]
    await crowd.release()

    assert [True, False, False] == rooms
    assert ["a3"] == crowd.failed
    assert ["a1", "b1", "a2"] == crowd.served


async def test_nobody_is_displaced_where_nobody_waits() -> None:
    assert not (await taken()).slots.displace("a", Overloaded("full"))
