"""What the leader publishes, and what its followers make of it."""

from dataclasses import asdict, replace

import pytest

from entitlements.service.completeness import SharedCompleteness
from entitlements.service.sharing import SILENCE_SECONDS, FeedMessage, Role, Sharing, feed_message_from
from tests.service.conftest import House

CHANGE = ("usageUpdatedV2", "{}")


class Dropped:
    """How many writes Redis did not take."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def dropped() -> Dropped:
    return Dropped()


@pytest.fixture
def completeness(house: House, dropped: Dropped) -> SharedCompleteness:
    return SharedCompleteness(feed=house.feed_applier, clock=house.clock, dropped_writes=dropped)


@pytest.fixture
def sharing(house: House, completeness: SharedCompleteness) -> Sharing:
    return Sharing(feed_applier=house.feed_applier, completeness=completeness, clock=house.clock)


def a_message(
    *, sender: str = "one", number: int = 0, is_following: bool = True, change: bool = False
) -> FeedMessage:
    subscription, frame = CHANGE if change else (None, None)
    return FeedMessage(
        sender=sender,
        number=number,
        is_following=is_following,
        kept_seconds=30.0,
        subscription=subscription,
        frame=frame,
    )


def gap(house: House) -> float:
    """When the last gap was."""
    return house.feed_applier.trust.since


async def test_a_word_survives_the_channel_layer() -> None:
    message = a_message(change=True)

    assert message == feed_message_from({"type": "feed.message", **asdict(message)})


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"sender": 5},
        asdict(a_message()) | {"number": "1"},
        asdict(a_message()) | {"is_following": 1},
        asdict(a_message()) | {"kept_seconds": "long"},
        asdict(a_message()) | {"frame": ["x"]},
    ],
)
async def test_what_is_no_word_is_none(message: dict[str, object]) -> None:
    """Anybody who can reach Redis can publish there."""
    assert feed_message_from(message) is None


async def test_who_receives_from_a_leader_follows(house: House, sharing: Sharing) -> None:
    assert not sharing.receive(a_message())

    assert house.feed_applier.trust.following


async def test_a_change_is_to_be_applied(sharing: Sharing) -> None:
    sharing.receive(a_message(number=4))

    assert sharing.receive(a_message(number=5, change=True))


async def test_changes_in_order_are_no_gap(house: House, sharing: Sharing) -> None:
    sharing.receive(a_message(number=4))
    before = gap(house)
    house.clock.advance(1)

    sharing.receive(a_message(number=5, change=True))
    sharing.receive(a_message(number=6, change=True))
    sharing.receive(a_message(number=6))

    assert before == gap(house)


@pytest.mark.parametrize(
    "later",
    [a_message(number=6, change=True), a_message(number=5), a_message(number=3)],
    ids=["change", "beat", "past"],
)
async def test_a_number_that_does_not_follow_is_a_gap(
    house: House, sharing: Sharing, later: FeedMessage
) -> None:
    sharing.receive(a_message(number=4))
    house.clock.advance(1)

    sharing.receive(later)

    assert house.clock.monotonic() == gap(house)


async def test_another_holder_is_a_gap(house: House, sharing: Sharing) -> None:
    sharing.receive(a_message(sender="one", number=4))
    house.clock.advance(1)

    sharing.receive(a_message(sender="two", number=4))

    assert house.clock.monotonic() == gap(house)
    assert house.feed_applier.trust.following


async def test_a_holder_that_lost_the_feed_takes_the_others_along(house: House, sharing: Sharing) -> None:
    sharing.receive(a_message())

    sharing.receive(a_message(is_following=False))

    assert not house.feed_applier.trust.following


async def test_a_silent_holder_is_lost_after_a_while(
    house: House, sharing: Sharing, caplog: pytest.LogCaptureFixture
) -> None:
    sharing.receive(a_message())
    house.clock.advance(SILENCE_SECONDS)
    sharing.lose_silent_leader()
    was_following = house.feed_applier.trust.following

    house.clock.advance(0.1)
    sharing.lose_silent_leader()

    assert was_following
    assert not house.feed_applier.trust.following
    assert 1 == caplog.text.count("leader is silent")


async def test_who_leads_does_not_listen(house: House, sharing: Sharing) -> None:
    """A holder that was replaced and does not know it yet must not confuse the new one."""
    sharing.take_role(Role.LEADER)

    assert not sharing.receive(a_message(change=True))
    assert not house.feed_applier.trust.following


async def test_published_changes_are_numbered(house: House, sharing: Sharing) -> None:
    sharing.take_role(Role.LEADER)
    house.feed_applier.followed()

    messages = [sharing.heartbeat(), sharing.change(*CHANGE), sharing.change(*CHANGE), sharing.heartbeat()]

    assert [1, 2, 3, 3] == [message.number for message in messages]
    assert [None, "{}", "{}", None] == [message.frame for message in messages]
    assert len({message.sender for message in messages}) == 1


async def test_each_turn_as_the_holder_has_its_own_name(sharing: Sharing) -> None:
    sharing.take_role(Role.LEADER)
    first = sharing.heartbeat()
    sharing.take_role(Role.FOLLOWER)
    sharing.take_role(Role.LEADER)

    assert first.sender != sharing.heartbeat().sender


@pytest.mark.parametrize("role", [Role.LEADER, Role.STANDALONE])
async def test_giving_the_feed_up_is_a_gap(house: House, sharing: Sharing, role: Role) -> None:
    sharing.take_role(role)
    house.feed_applier.followed()

    sharing.take_role(Role.FOLLOWER)

    assert not house.feed_applier.trust.following


async def test_losing_redis_while_leading_is_no_gap(house: House, sharing: Sharing) -> None:
    """The feed goes on: what is in memory stays fresh."""
    sharing.take_role(Role.LEADER)
    house.feed_applier.followed()

    sharing.take_role(Role.STANDALONE)

    assert house.feed_applier.trust.following


async def test_what_redis_missed_while_it_was_away_is_not_vouched_for(house: House, sharing: Sharing) -> None:
    """A process that followed the feed for itself wrote nothing there meanwhile."""
    sharing.take_role(Role.STANDALONE)
    house.feed_applier.followed()
    house.clock.advance(10)

    sharing.take_role(Role.LEADER)

    assert 0 == sharing.heartbeat().kept_seconds


async def test_what_redis_holds_is_vouched_for_while_it_is_kept_up_to_date(
    house: House, sharing: Sharing, completeness: SharedCompleteness
) -> None:
    sharing.take_role(Role.LEADER)
    house.feed_applier.followed()
    followed_at = house.clock.monotonic()
    house.clock.advance(100)

    now = house.clock.monotonic()
    assert now == completeness.vouch(followed_at)
    assert followed_at - 1 == completeness.vouch(followed_at - 1)


async def test_a_follower_vouches_as_far_as_the_leader_does(
    house: House, sharing: Sharing, completeness: SharedCompleteness
) -> None:
    sharing.receive(replace(a_message(), kept_seconds=30.0))
    received_at = house.clock.monotonic()
    house.clock.advance(1)

    assert received_at + 1 == completeness.vouch(received_at - 30)
    assert received_at - 31 == completeness.vouch(received_at - 31)


@pytest.mark.parametrize("kept_seconds", [None, 0.0])
async def test_nothing_is_vouched_for_when_the_holder_does_not(
    house: House, sharing: Sharing, completeness: SharedCompleteness, kept_seconds: float | None
) -> None:
    sharing.receive(replace(a_message(), kept_seconds=kept_seconds))
    received_at = house.clock.monotonic()
    house.clock.advance(1)

    assert received_at - 1 == completeness.vouch(received_at - 1)


async def test_nothing_is_vouched_for_without_a_feed(
    house: House, sharing: Sharing, completeness: SharedCompleteness
) -> None:
    now = house.clock.monotonic()

    assert now - 1 == completeness.vouch(now - 1)


async def test_a_write_that_redis_did_not_take_ends_the_vouching_for_what_was_before(
    house: House, sharing: Sharing, completeness: SharedCompleteness, dropped: Dropped
) -> None:
    sharing.take_role(Role.LEADER)
    house.feed_applier.followed()
    followed_at = house.clock.monotonic()
    house.clock.advance(10)

    dropped.count += 1
    message = sharing.change(*CHANGE)
    house.clock.advance(1)

    assert 0 == message.kept_seconds
    assert followed_at == completeness.vouch(followed_at)
    assert house.clock.monotonic() == completeness.vouch(followed_at + 10)


async def test_a_gap_of_the_holder_is_one_for_all(house: House, sharing: Sharing) -> None:
    """Also when its feed is back before it says anything."""
    sharing.take_role(Role.LEADER)
    house.feed_applier.followed()
    before = sharing.heartbeat().number
    house.clock.advance(1)

    house.feed_applier.lost()
    house.feed_applier.followed()

    assert before + 1 == sharing.heartbeat().number
    assert before + 1 == sharing.heartbeat().number


async def test_a_holder_that_misses_changes_itself_says_so(house: House, sharing: Sharing) -> None:
    sharing.take_role(Role.LEADER)

    message = sharing.heartbeat()

    assert message.is_following is False
    assert message.kept_seconds is None


async def test_a_process_for_itself_vouches_for_nothing(
    house: House, sharing: Sharing, completeness: SharedCompleteness
) -> None:
    sharing.take_role(Role.STANDALONE)
    house.feed_applier.followed()
    now = house.clock.monotonic()

    assert now - 1 == completeness.vouch(now - 1)
