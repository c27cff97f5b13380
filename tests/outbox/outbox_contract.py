"""What every Outbox must do; run by each of them."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Overloaded
from entitlements.domain.outbox import (
    KEY_MEMORY_MS,
    TOO_OLD,
    Outbox,
    OutboxEntry,
    OutboxLimits,
    OutboxState,
    Replayed,
    Write,
)
from entitlements.domain.usage import UpdateBehavior, UsageEvent, UsageReport
from entitlements.outbox.codec import encode
from tests.fakes import FakeClock

LIMITS = OutboxLimits(max_entries=10, max_bytes=2000)
EVENT = UsageEvent(
    event_name="opened",
    key=EntityKey("customer-1", "resource-1"),
    idempotency_key="k",
    dimensions={"where": "Zürich", "count": 1.5, "paid": True},
    timestamp_ms=1_750_000_000_000,
)
REPORT = UsageReport(
    key=EntityKey("customer-1"),
    feature_id="f",
    value=2.5,
    idempotency_key="r",
    update_behavior=UpdateBehavior.SET,
    created_at_ms=1_750_000_000_000,
)


def events(*names: str) -> list[Write]:
    return [replace(EVENT, idempotency_key=name) for name in names]


def keys_of(entries: Iterable[OutboxEntry]) -> list[str]:
    return [entry.write.idempotency_key for entry in entries]


class OutboxContract:
    """Subclasses give a fixture `outbox`: empty, with LIMITS and the fixture `clock`."""

    async def test_what_is_accepted_comes_out_whole_and_in_order(self, outbox: Outbox) -> None:
        """Every field survives."""
        await outbox.accept([EVENT, REPORT])
        await outbox.accept(events("later"))

        taken = await outbox.oldest(10)

        assert [EVENT, REPORT, *events("later")] == [entry.write for entry in taken]

    async def test_unsettled_entries_come_again_before_new_ones(self, outbox: Outbox) -> None:
        """What a process took and did not settle is delivered by the next, and nothing overtakes it."""
        await outbox.accept(events("a", "b"))
        await outbox.oldest(1)
        await outbox.accept(events("c"))

        assert ["a", "b", "c"] == keys_of(await outbox.oldest(10))

    async def test_settled_entries_are_gone(self, outbox: Outbox) -> None:
        """Their room is free again."""
        await outbox.accept(events("a", "b"))
        taken = await outbox.oldest(10)

        await outbox.settle(taken[:1])
        await outbox.settle(taken[:1])

        assert ["b"] == keys_of(await outbox.oldest(10))
        assert len(encode(EVENT)) == (await outbox.state()).size_bytes

    async def test_settling_all_leaves_nothing(self, outbox: Outbox) -> None:
        """Nor a byte."""
        await outbox.accept(events("a", "b"))

        await outbox.settle(await outbox.oldest(10))

        assert OutboxState() == await outbox.state()

    async def test_looking_takes_nothing(self, outbox: Outbox) -> None:
        """A person may look while another process delivers."""
        await outbox.accept(events("a", "b"))

        assert ["a"] == keys_of(await outbox.waiting(1))
        assert ["a", "b"] == keys_of(await outbox.oldest(2))

    async def test_dead_letter_keeps_its_reason_and_its_room(self, outbox: Outbox) -> None:
        """It is not delivered, and not forgotten."""
        await outbox.accept(events("a", "b"))
        taken = await outbox.oldest(10)

        await outbox.bury(taken[0], reason="no such customer")

        letters = await outbox.dead_letters(10)
        assert [("no such customer", "a")] == [
            (letter.reason, letter.entry.write.idempotency_key) for letter in letters
        ]
        assert ["b"] == keys_of(await outbox.oldest(10))
        state = await outbox.state()
        assert 1 == state.waiting
        assert 1 == state.dead
        assert 2 * len(encode(EVENT)) == state.size_bytes

    async def test_dead_letters_are_replayed(self, outbox: Outbox) -> None:
        """They wait again, under the same idempotency key."""
        await self._bury_all(outbox, "a", "b")
        letters = await outbox.dead_letters(10)

        assert Replayed(count=1) == await outbox.replay([letters[1].entry.id, "999999", "no id", "9" * 30])
        assert ["b"] == keys_of(await outbox.oldest(10))
        assert Replayed(count=1) == await outbox.replay()
        assert {"a", "b"} == set(keys_of(await outbox.oldest(10)))

    async def test_dead_letters_are_discarded(self, outbox: Outbox) -> None:
        """Nothing is left of them; what waits stays."""
        await self._bury_all(outbox, "a", "b", "c")
        await outbox.accept(events("d"))
        letters = await outbox.dead_letters(10)

        assert await outbox.discard([letters[0].entry.id]) == 1
        assert await outbox.discard() == 2
        assert ["d"] == keys_of(await outbox.oldest(10))
        assert len(encode(EVENT)) == (await outbox.state()).size_bytes

    async def test_what_waits_is_discarded_where_that_is_said(self, outbox: Outbox) -> None:
        """By its name, or with all; taken or not."""
        await self._bury_all(outbox, "a")
        await outbox.accept(events("b", "c", "d"))
        taken = await outbox.oldest(2)

        assert await outbox.discard([taken[0].id, "999999", "no id", "9" * 30]) == 1
        assert ["c", "d"] == keys_of(await outbox.oldest(10))
        assert await outbox.discard(waiting=True) == 3
        assert OutboxState() == await outbox.state()
        await outbox.settle(taken)
        assert OutboxState() == await outbox.state()

    async def test_what_may_have_been_delivered_is_replayed_only_where_that_is_said(
        self, outbox: Outbox, clock: FakeClock
    ) -> None:
        """Then it begins to wait anew; what was refused in so many words is replayed in any case."""
        await outbox.accept(events("delivered?", "refused", "young"))
        clock.advance(KEY_MEMORY_MS / 1000 + 1)
        first, second, third = await outbox.oldest(10)
        await outbox.bury(first, reason=TOO_OLD)
        await outbox.bury(second, reason="no such customer")
        await outbox.settle([third])

        assert Replayed(count=1, kept=1) == await outbox.replay()
        assert [("refused", clock.now_ms())] == await self._waiting(outbox)
        (letter,) = await outbox.dead_letters(10)
        assert Replayed(count=0, kept=1) == await outbox.replay([letter.entry.id])
        assert Replayed(count=1) == await outbox.replay([letter.entry.id], even_too_old=True)
        assert {("refused", clock.now_ms()), ("delivered?", clock.now_ms())} == set(
            await self._waiting(outbox)
        )

    async def test_a_young_dead_letter_keeps_its_age(self, outbox: Outbox, clock: FakeClock) -> None:
        """The cloud's memory of its key began then."""
        await self._bury_all(outbox, "a")
        accepted_at_ms = clock.now_ms()
        clock.advance(3600)

        await outbox.replay(even_too_old=True)

        assert [("a", accepted_at_ms)] == await self._waiting(outbox)

    async def test_too_many_entries_are_refused_whole(self, outbox: Outbox) -> None:
        """The caller is answered by the bound's name; nothing of the call is kept."""
        await outbox.accept(events(*"abcdefg"))

        with pytest.raises(Overloaded, match="SIDECAR_OUTBOX_MAX_ENTRIES"):
            await outbox.accept(events(*"hijk"))

        assert 7 == (await outbox.state()).waiting
        await outbox.accept(events(*"hij"))

    async def test_too_many_bytes_are_refused_whole(self, outbox: Outbox) -> None:
        """The same."""
        large: list[Write] = [replace(EVENT, dimensions={"text": "x" * 1500})]
        await outbox.accept(large)

        with pytest.raises(Overloaded, match="SIDECAR_OUTBOX_MAX_BYTES"):
            await outbox.accept(large)

        await outbox.accept(events("fits"))

    async def test_concurrent_callers_are_all_kept(self, outbox: Outbox) -> None:
        """Up to the bound; what was not reported as kept may be, where Redis was too slow to say so."""
        outcomes = await asyncio.gather(
            *(outbox.accept(events(str(number))) for number in range(15)), return_exceptions=True
        )

        assert 0 < outcomes.count(None) <= (await outbox.state()).waiting <= 10

    async def test_age_is_that_of_the_oldest_that_waits(self, outbox: Outbox) -> None:
        """For people and metrics."""
        assert (await outbox.state()).oldest_accepted_at_ms is None
        await outbox.accept(events("a"))

        taken = await outbox.oldest(1)

        assert taken[0].accepted_at_ms == (await outbox.state()).oldest_accepted_at_ms

    async def _waiting(self, outbox: Outbox) -> list[tuple[str, int]]:
        return [(each.write.idempotency_key, each.accepted_at_ms) for each in await outbox.waiting(10)]

    async def _bury_all(self, outbox: Outbox, *names: str) -> None:
        await outbox.accept(events(*names))
        for entry in await outbox.oldest(10):
            await outbox.bury(entry, reason="no")
