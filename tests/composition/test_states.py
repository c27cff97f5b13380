"""Every problem that a part can have is reported with what it means, and what a person can do."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from entitlements import metrics
from entitlements.composition import build
from entitlements.composition.meanings import MEANINGS
from entitlements.composition.states import _feed_problem
from entitlements.config import load
from entitlements.domain.breaker import FAILURES_TO_OPEN
from entitlements.domain.difference import Constancy, Difference
from entitlements.domain.entity import EntityKey
from entitlements.domain.entity_history import Origin
from entitlements.domain.errors import KeyRefused, OutboxUnavailable, Unreachable, Untrusted
from entitlements.domain.freshness import Trust
from entitlements.domain.membership import Role
from entitlements.domain.outbox import OutboxState
from entitlements.domain.ports import Source
from entitlements.frame_channel import FrameChannel
from entitlements.redis.address import RedisAddress, cache_settings
from entitlements.redis.durability import Durability
from entitlements.redis.examination import Examination
from entitlements.service.key_check import KeyVerdict
from entitlements.service.shadow_ledger import FAILURES_UNTIL_AWAY, ComparedRead
from entitlements.upstream.feed import FeedPhase, FeedState
from entitlements.upstream.feed_protocol import Problem
from tests.builders import A_KEY
from tests.fakes import FakeClock
from tests.outbox.outbox_contract import EVENT

FOLLOWED = Trust(following=True, max_unverified_seconds=60)
LOST = Trust(following=False, max_unverified_seconds=60)


def parts(built: Any) -> Any:
    return built.health.parts()


@pytest.fixture
async def built() -> Any:
    """A process that has done nothing yet."""
    sidecar = build(load({"SERVER_API_KEY": "made-up", "SIDECAR_OUTBOX": "off"}).config, clock=FakeClock())
    yield sidecar
    await sidecar.http_client.aclose()


async def test_a_process_that_has_done_nothing_has_no_problem_but_the_feed(built: Any) -> None:
    problems = {name: part["problem"] for name, part in parts(built).items()}

    well = dict.fromkeys(("upstream", "background", "memory", "outbox", "database"))
    assert {**well, "drift_audit": None, "feed": "connecting"} == problems
    assert "off" in parts(built)["outbox"]["meaning"]


async def test_what_is_set_here_is_reported_as_shared_or_this_pod_s_alone(built: Any) -> None:
    """And how much memory the history of entities takes."""
    before = parts(built)["memory"]["history_bytes"]
    built.history.note_differences(A_KEY, [Difference("state", "", None, "x")], Origin.FEED)

    assert "pod" == parts(built)["database"]["shared_by"]
    assert 0 == before < parts(built)["memory"]["history_bytes"]


async def test_how_the_cloud_fails_is_reported(built: Any) -> None:
    """A key that is revoked later is reported too, although it was valid at the start."""
    circuits = built.circuits
    reported = []
    built.key_check.has_failed = True
    reported.append(parts(built)["upstream"]["problem"])
    for source in (Source.EDGE, Source.API):
        circuits._breakers[source].trip(0, pause_seconds=10)
        circuits._outages._causes[source] = Unreachable("x").outcome
        reported.append(parts(built)["upstream"]["problem"])
    circuits._outages._causes[Source.API] = KeyRefused("api").outcome
    reported.append(parts(built)["upstream"]["problem"])
    circuits._outages._causes[Source.API] = Untrusted("api").outcome
    reported.append(parts(built)["upstream"]["problem"])
    circuits._outages._causes.clear()
    built.key_check.verdict = KeyVerdict.REFUSED
    reported.append(parts(built)["upstream"]["problem"])

    assert [
        *("key_unverified", "partly_answering", "not_answering", "key_refused", "certificate_untrusted"),
        "key_refused",
    ] == reported


async def test_for_how_long_rechecks_are_spread_out_is_reported(built: Any) -> None:
    """After an outage of the cloud and after one of the feed: as long as it was, at most a minute."""
    reported = [parts(built)["feed"]["rechecks_spread_seconds"]]
    for source in (Source.EDGE, Source.API):
        built.circuits.failed(source, KeyRefused(source.value))
    built.clock.advance(20)
    built.circuits.answered(Source.API)
    reported.append(parts(built)["feed"]["rechecks_spread_seconds"])
    built.feed_applier.followed()
    built.feed_applier.lost()
    built.clock.advance(600)
    built.feed_applier.followed()
    built.clock.advance(15)
    reported.append(parts(built)["feed"]["rechecks_spread_seconds"])

    assert [0, 20, 45] == reported


@pytest.mark.parametrize(
    ("state", "trust", "receives", "problem"),
    [
        (FeedState(), FOLLOWED, False, None),
        (FeedState(), FOLLOWED, True, None),
        (FeedState(), LOST, False, "connecting"),
        (FeedState(), LOST, True, "holder_not_following"),
        *((FeedState(phase=FeedPhase.WAITING, problem=each), LOST, False, each.value) for each in Problem),
    ],
)
def test_how_the_feed_fails_is_reported(
    state: FeedState, trust: Trust, receives: bool, problem: str | None
) -> None:
    assert problem == _feed_problem(state, follows=True, trust=trust, receives=receives)
    assert None is _feed_problem(state, follows=False, trust=trust, receives=receives)
    assert problem is None or problem in MEANINGS["feed"]


async def test_a_feed_that_is_followed_shows_that_the_api_is_there(built: Any) -> None:
    """Page and readiness said for a quarter of an hour that one way to the cloud does not answer."""
    for number in range(FAILURES_TO_OPEN):
        built.circuits.failed(Source.API, Unreachable("api"), key=EntityKey(str(number)))
    before = parts(built)["upstream"]["circuits"]
    feed = built.open_feed(FrameChannel(built.feed_applier))

    await feed.followed()

    assert {"edge": "closed", "api": "open"} == before
    assert {"edge": "closed", "api": "closed"} == parts(built)["upstream"]["circuits"]


async def test_what_waits_in_the_outbox_is_reported(tmp_path: Path, settings: Any) -> None:
    """Writes that wait come before letters that nobody hurries for."""
    settings.DATA_DIR = tmp_path
    clock = FakeClock()
    sidecar = build(load({"SERVER_API_KEY": "made-up"}).config, clock=clock)
    assert sidecar.outbox is not None
    reported = []
    for state in (
        OutboxState(waiting=1, oldest_accepted_at_ms=clock.now_ms()),
        OutboxState(dead=1),
        OutboxState(dead=1, waiting=1, oldest_accepted_at_ms=clock.now_ms() - 11_000),
        OutboxState(dead=1, damaged_files=1),
        OutboxState(damaged_files=1, has_room=False),
    ):
        sidecar.outbox.dispatcher.state = state
        reported.append(parts(sidecar)["outbox"]["problem"])
    await sidecar.http_client.aclose()
    await sidecar.outbox.store.stop()

    assert [None, "dead_letters", "waiting", "damaged", "disk_full"] == reported


async def test_an_outbox_whose_file_cannot_be_opened_is_reported(tmp_path: Path, settings: Any) -> None:
    """It said that writes are kept, in a folder of another user."""
    (tmp_path / "outbox.sqlite3").mkdir()  # no user, root included, can open that as a file
    settings.DATA_DIR = tmp_path
    sidecar = build(load({"SERVER_API_KEY": "made-up"}).config, clock=FakeClock())
    assert sidecar.outbox is not None

    with pytest.raises(OutboxUnavailable):
        await sidecar.outbox.dispatcher.look()

    reported = parts(sidecar)["outbox"]
    assert "unavailable" == reported["problem"]
    assert MEANINGS["outbox"]["unavailable"] == reported["meaning"]
    (tmp_path / "outbox.sqlite3").rmdir()
    await sidecar.outbox.dispatcher.look()
    assert None is parts(sidecar)["outbox"]["problem"]
    await sidecar.http_client.aclose()
    await sidecar.outbox.store.stop()


async def test_what_a_restart_of_redis_would_lose_is_reported(settings: Any) -> None:
    """As long as nothing worse is to be reported."""
    settings.REDIS_ADDRESS = RedisAddress(host="127.0.0.1", port=1)
    settings.CACHES = {**settings.CACHES, "redis": cache_settings(settings.REDIS_ADDRESS)}
    config = load({"SERVER_API_KEY": "made-up", "REDIS_ENVIRONMENT_PREFIX": "p"}).config
    sidecar = build(config, clock=FakeClock())
    assert sidecar.redis is not None
    assert sidecar.outbox is not None
    reported = []
    for durability in (None, Durability(appendonly=True), Durability(appendonly=False)):
        sidecar.redis.examination = Examination(durability=durability)
        reported.append(parts(sidecar)["outbox"])
    sidecar.outbox.dispatcher.state = OutboxState(dead=1)
    reported.append(parts(sidecar)["outbox"])
    await sidecar.http_client.aclose()
    sidecar.redis.connection.stop()

    assert [None, None, "at_risk", "dead_letters"] == [each["problem"] for each in reported]
    assert Durability(appendonly=False).sentences == reported[2]["risks"]


async def test_lost_writes_are_reported_and_counted(tmp_path: Path, settings: Any) -> None:
    """For as long as the process lives: nobody else says so."""
    settings.DATA_DIR = tmp_path
    (tmp_path / "outbox.sqlite3").write_bytes(b"no database" * 1000)
    sidecar = build(load({"SERVER_API_KEY": "made-up"}).config, clock=FakeClock())
    assert sidecar.outbox is not None
    outbox = sidecar.outbox.store
    lost_before = metrics.OUTBOX_LOST._value.get()
    await outbox.accept([EVENT, EVENT])
    file = tmp_path / "outbox.sqlite3"
    with sqlite3.connect(file) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    file.write_bytes(b"\xff" * file.stat().st_size)

    await sidecar.outbox.dispatcher.look()

    reported = parts(sidecar)["outbox"]
    await sidecar.http_client.aclose()
    await outbox.stop()
    assert "lost" == reported["problem"]
    assert 2 == reported["lost"]
    assert 2 == reported["damaged_files"]
    assert 2 == metrics.OUTBOX_LOST._value.get() - lost_before


async def test_offline_and_without_a_feed_is_no_problem() -> None:
    """It is as wanted, and the meaning says so."""
    sidecar = build(load({"OFFLINE": "1"}).config, clock=FakeClock())
    reported = parts(sidecar)
    await sidecar.http_client.aclose()

    assert reported["upstream"]["problem"] is None
    assert reported["feed"]["problem"] is None
    assert MEANINGS["upstream"]["offline"] == reported["upstream"]["meaning"]
    assert MEANINGS["feed"]["disabled"] == reported["feed"]["meaning"]
    assert Role.STANDALONE.value == reported["feed"]["role"]


async def test_what_another_sidecar_answers_otherwise_is_reported() -> None:
    """That it does not answer at all goes first."""
    sidecar = build(load({"OFFLINE": "1", "SIDECAR_SHADOW_ADDRESS": "other:80"}).config, clock=FakeClock())
    ledger = sidecar.shadow
    assert ledger is not None
    reported = [parts(sidecar)["shadow"]]
    difference = Difference("has_access", "", "True", "False")
    read = ComparedRead(
        method="GetEntitlement",
        customer="c",
        resource="",
        feature="f",
        differences={difference: Constancy.LASTING},
        our_knowledge="",
        their_knowledge="",
    )
    ledger.differed("question", read)
    reported.append(parts(sidecar)["shadow"])
    for _ in range(FAILURES_UNTIL_AWAY):
        ledger.failed("GetEntitlement", "UNAVAILABLE")
    reported.append(parts(sidecar)["shadow"])
    await sidecar.http_client.aclose()

    assert [None, "differs", "not_answering"] == [each["problem"] for each in reported]
    assert ("other:80", 1, "UNAVAILABLE") == tuple(
        reported[2][k] for k in ("address", "lasting", "last_failure")
    )


def test_every_meaning_is_whole_sentences() -> None:
    sentences = [text for part in MEANINGS.values() for text in part.values()]

    assert all(text[0].isupper() or text.startswith("OFFLINE") for text in sentences)
    assert all(text.endswith(".") for text in sentences)
