"""Every refusal passes by: what is behind it in the outbox is delivered."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from entitlements.domain.errors import (
    CircuitOpen,
    Forbidden,
    Garbled,
    KeyRefused,
    Rejected,
    Throttled,
    TooLarge,
    Unreachable,
    UpstreamError,
)
from entitlements.domain.outbox import KEY_MEMORY_MS, TOO_OLD, Replayed, Write
from entitlements.service.resting_writes import FIRST_REST_SECONDS, LONGEST_REST_SECONDS, MAX_SUSPECTS
from tests.outbox.outbox_contract import REPORT, events
from tests.service.test_outbox_dispatcher import Office, office

__all__ = ["office"]

TURNS = 200
WITHOUT_A_WORD = [
    Garbled("api", "answered with status 500"),
    Garbled("api", "sent an answer that is not JSON"),
    Rejected("api", code="INTERNAL_SERVER_ERROR"),
    Rejected("api", code=""),
    Rejected("api", message="status 404"),
    Forbidden("api"),
    Unreachable("api", "could not be reached"),
    Unreachable("api", "did not answer in time"),
    TooLarge("api"),
]
WITH_A_WORD = [
    Rejected("api", message="status 400", status=400),
    Rejected("api", message="status 413", status=413),
    Rejected("api", message="status 422", status=422),
    Rejected("api", code="BadUserInput"),
]


def fail_for(office: Office, error: UpstreamError, *, of: Callable[[Sequence[Write]], bool]) -> None:
    """The cloud fails so, for such writes together."""
    take = office.cloud._take

    def taken(writes: Sequence[Write]) -> None:
        if of(writes):
            office.cloud.saw.extend(writes)
            raise error
        take(writes)

    office.cloud._take = taken  # type: ignore[method-assign]


def holds(*keys: str) -> Callable[[Sequence[Write]], bool]:
    return lambda writes: any(write.idempotency_key in keys for write in writes)


async def delivered(office: Office, *, turns: int = TURNS) -> list[str]:
    """The keys of what arrives in so many turns, time passing as given."""
    for _ in range(turns):
        office.clock.advance(min(await office.dispatcher.deliver_once(), 0.01))
    return [write.idempotency_key for write in office.cloud.took]


@pytest.mark.parametrize("error", WITHOUT_A_WORD, ids=str)
@pytest.mark.parametrize("place", [0, 7, 19])
async def test_what_fails_without_a_word_rests_and_lets_others_pass(
    office: Office, error: UpstreamError, place: int
) -> None:
    """No answer for one of twenty: the other nineteen arrive, once each, and the one is not given up."""
    names = [f"e{number}" for number in range(20)]
    fail_for(office, error, of=holds(names[place]))
    await office.dispatcher.accept(events(*names))

    arrived = await delivered(office)
    await office.dispatcher.accept(events("later"))
    later = await delivered(office, turns=5)

    assert [name for name in names if name != names[place]] == sorted(arrived, key=names.index)
    assert "later" in later
    assert [names[place]] == [e.write.idempotency_key for e in await office.outbox.waiting(10)]


@pytest.mark.parametrize("error", WITH_A_WORD, ids=str)
async def test_what_is_refused_alone_is_set_aside_with_its_reason(
    office: Office, error: UpstreamError
) -> None:
    names = [f"e{number}" for number in range(20)]
    fail_for(office, error, of=holds("e7", "e13"))
    await office.dispatcher.accept(events(*names))

    arrived = await delivered(office, turns=3)

    letters = await office.outbox.dead_letters(10)
    assert [name for name in names if name not in {"e7", "e13"}] == arrived
    assert ["e7", "e13"] == [letter.entry.write.idempotency_key for letter in letters]
    assert {str(error)} == {letter.reason for letter in letters}


@pytest.mark.parametrize(
    "error", [WITH_A_WORD[1], Garbled("api", "sent an answer that is not JSON")], ids=str
)
async def test_a_gateway_with_a_bound_on_bodies_is_sent_smaller_batches(
    office: Office, error: UpstreamError
) -> None:
    """1,500 events of 1.1 kB behind 1 MB: all arrive, whether it says 413 or shows a page."""
    fail_for(office, error, of=lambda writes: len(writes) * 1100 > 1_000_000)
    names = [str(number) for number in range(1500)]
    await office.dispatcher.accept(events(*names))

    arrived = await delivered(office, turns=30)

    assert names == arrived
    assert [] == await office.outbox.dead_letters(10)


async def test_what_rested_is_tried_alone_later_and_later(office: Office) -> None:
    """And arrives when its trouble is over, with nothing held up meanwhile."""
    fail_for(office, Garbled("api"), of=holds("bad"))
    await office.dispatcher.accept(events("bad", "good"))
    await delivered(office, turns=10)
    await office.dispatcher.accept(events("better"))
    await delivered(office, turns=10)
    tries = []

    for seconds in (FIRST_REST_SECONDS, 2 * FIRST_REST_SECONDS, LONGEST_REST_SECONDS):
        office.cloud.saw.clear()
        office.clock.advance(seconds)
        await office.dispatcher.accept(events("next"))
        await delivered(office, turns=6)
        tries.append([write.idempotency_key for write in office.cloud.saw].count("bad"))

    assert [1, 1, 1] == tries
    assert ["bad"] == [e.write.idempotency_key for e in await office.outbox.waiting(10)]


async def test_reports_of_a_meter_keep_their_order(office: Office) -> None:
    """A later SET must not be undone by an earlier one that rested; other meters pass."""
    fail_for(office, Garbled("api"), of=holds("first"))
    other = replace(REPORT, feature_id="other", idempotency_key="other")
    first, second = replace(REPORT, idempotency_key="first"), replace(REPORT, idempotency_key="second")
    await office.dispatcher.accept([first, second, other])

    assert ["other"] == await delivered(office)


@pytest.mark.parametrize(
    "error", [Throttled("api"), KeyRefused("api"), CircuitOpen("api"), Unreachable("api")], ids=str
)
async def test_in_an_outage_nothing_is_found_out_about_any_write(
    office: Office, error: UpstreamError
) -> None:
    """When it ends, all arrive in order, none rests, and none was set aside."""
    names = [str(number) for number in range(50)]
    office.cloud.failure = error
    await office.dispatcher.accept(events(*names))
    await delivered(office, turns=60)
    suspects = len(office.dispatcher._resting._suspects)
    office.cloud.failure = None

    at_once = len(await delivered(office, turns=1))
    arrived = await delivered(office, turns=20)

    assert suspects <= MAX_SUSPECTS
    assert (1 if type(error) is Unreachable else len(names)) == at_once
    assert names == sorted(arrived, key=int)
    assert [] == await office.outbox.dead_letters(10)
    assert 0 == office.dispatcher._resting.count


async def test_what_the_cloud_may_have_forgotten_is_not_sent_by_itself(office: Office) -> None:
    """After seven days a key protects nothing: a person decides."""
    await office.dispatcher.accept(events("old"))
    office.clock.advance(KEY_MEMORY_MS / 1000 + 1)
    await office.dispatcher.accept(events("new"))

    arrived = await delivered(office, turns=3)

    letters = await office.outbox.dead_letters(10)
    assert ["new"] == arrived
    assert [("old", TOO_OLD)] == [(each.entry.write.idempotency_key, each.reason) for each in letters]


async def test_what_is_replayed_all_the_same_is_sent(office: Office) -> None:
    """It was set aside again at once, for it was as old as before."""
    await office.dispatcher.accept(events("old"))
    office.clock.advance(KEY_MEMORY_MS / 1000 + 1)
    await delivered(office, turns=1)

    assert Replayed(count=0, kept=1) == await office.outbox.replay()
    assert [] == await delivered(office, turns=1)
    assert Replayed(count=1) == await office.outbox.replay(even_too_old=True)
    assert ["old"] == await delivered(office, turns=1)
    assert 0 == (await office.dispatcher.look()).dead
