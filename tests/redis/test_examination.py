"""What a Redis is and lets us do is known before it is needed, whoever made that Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from entitlements.domain.membership import LeaseStatus
from entitlements.redis.connection import UNAVAILABLE
from entitlements.redis.examination import NEEDED, SPARED, Examination, examine, outbox_probes
from entitlements.redis.lease import Lease
from tests.cache.samples import CUSTOMER, entity, metered
from tests.fakes import FakeClock
from tests.redis.parts import KEYS, a_connection, a_tier, put, stopping, taken
from tests.redis_fleet import port_with_bus
from tests.redis_server import RedisServer, programs

PROGRAMS = programs()
RULES = ("on", ">pw", "~*", "+@all")
CHANNELS = "&*"


@pytest.fixture(params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(program=PROGRAMS[request.param]) as server:
        yield server


async def examined(
    server: RedisServer, *, rules: tuple[str, ...] = (), has_outbox: bool = False
) -> Examination:
    server.command("ACL", "SETUSER", "us", "reset", *RULES, CHANNELS, *rules)
    with stopping(a_connection(server.url, username="us", password="pw")) as connection:
        while True:  # on a busy machine it takes longer than a call may
            found = await connection.run(lambda client: examine(client, KEYS, has_outbox=has_outbox))
            if found is not UNAVAILABLE:
                return found


async def test_a_redis_that_allows_all_is_known_by_its_kind(
    server: RedisServer, request: pytest.FixtureRequest
) -> None:
    found = await examined(server, has_outbox=True)

    assert found.server is not None
    assert Examination(server=found.server, may_evict=False, durability=found.durability) == found
    assert found.server.replace(" ", "-") in request.node.callspec.id


@pytest.mark.parametrize("command", [*NEEDED, *SPARED])
async def test_each_command_that_is_refused_is_named(redis: RedisServer, command: str) -> None:
    refused = (
        ("-subscribe", "-psubscribe")
        if command == "SUBSCRIBE"
        else (f"-{command.lower().replace(' ', '|')}",)
    )
    found = await examined(redis, rules=refused)

    assert (command,) == found.refused
    assert (command in NEEDED) == bool(found.lacking)
    assert len(found.sentences) == 1
    assert command in found.sentences[0]


@pytest.mark.parametrize("command", outbox_probes("o"))
async def test_each_command_that_an_outbox_lacks_is_named(redis: RedisServer, command: str) -> None:
    """And is tried without effect."""
    found = await examined(redis, rules=(f"-{command.lower()}",), has_outbox=True)

    assert (command,) == found.lacking
    assert f"its user may not {command}: " in found.sentences[0]
    assert set() == {name for name in redis.texts() if "outbox" in name}


async def test_a_command_that_is_not_known_is_named() -> None:
    """Of an older Redis, or one whose owner renamed it away."""
    with RedisServer("--rename-command", "XACK", "", "--rename-command", "SCAN", "renamed") as server:
        found = await examined(server, has_outbox=True)

    assert {"XACK", "SCAN"} == set(found.lacking)


@pytest.mark.parametrize(
    ("options", "rules", "may_evict"),
    [
        (("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), (), True),
        (("--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"), (), True),
        (("--maxmemory", "100mb", "--maxmemory-policy", "noeviction"), (), False),
        (("--maxmemory", "0", "--maxmemory-policy", "allkeys-lru"), (), False),
        ((), ("-info",), None),
    ],
    ids=["any key", "what has an expiry", "none", "room for all", "not told"],
)
async def test_whether_it_gives_up_keys_is_known(
    options: tuple[str, ...], rules: tuple[str, ...], may_evict: bool | None
) -> None:
    with RedisServer(*options) as server:
        found = await examined(server, rules=rules)

    assert may_evict is found.may_evict


async def test_a_user_without_channels_may_not_subscribe(redis: RedisServer) -> None:
    """As Redis 7 makes a user unless it is configured otherwise."""
    found = await examined(redis, rules=("resetchannels",))

    assert ("PUBLISH", "SUBSCRIBE") == found.lacking


async def test_a_redis_that_says_nothing_of_itself_is_examined_all_the_same(redis: RedisServer) -> None:
    assert Examination() == await examined(redis, rules=("-info",))


@pytest.mark.parametrize("rules", [(), ("-info",)])
async def test_a_node_of_a_cluster_is_reported_as_such(rules: tuple[str, ...], tmp_path: Path) -> None:
    """By what it says of itself, else by how it answers."""
    with RedisServer("--cluster-enabled", "yes", "--dir", str(tmp_path), port=port_with_bus()) as server:
        found = await examined(server, rules=rules)

    assert found.is_cluster
    assert "Redis Cluster" in found.sentences[0]


@pytest.mark.parametrize("refused", ["script", "evalsha", "client", "subscribe"])
async def test_what_can_go_on_goes_on(redis: RedisServer, refused: str) -> None:
    """Entities are shared and the feed has its leader without any of these."""
    rules = ("-subscribe", "-psubscribe") if refused == "subscribe" else (f"-{refused}",)
    redis.command("ACL", "SETUSER", "us", "reset", *RULES, CHANNELS, *rules)
    redis.command("SCRIPT", "FLUSH")
    with stopping(a_connection(redis.url, username="us", password="pw")) as connection:
        tier = a_tier(connection)
        await put(tier, CUSTOMER, entity(metered()))
        lease = Lease(connection, name=KEYS.feed_lease, holder="us", clock=FakeClock())

        assert entity(metered()) == await taken(tier, CUSTOMER)
        assert await lease.try_hold() is LeaseStatus.OURS
        assert await lease.try_hold() is LeaseStatus.OURS
        assert connection.last_refusal is None
