"""The Redis of a world: one server, a primary and its replica under Sentinels, or a Cluster."""

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, NoReturn, Protocol, Self, TypeVar

from tests.redis_fleet import MASTER, ClusterFleet, SentinelFleet, info, until
from tests.redis_server import RedisServer

PREFIX = "weather"
MOVED_SLOTS = 24
ONE_SERVER, REPLICAS, SLOTS = "one server", "replicas", "slots"
"""What a fault may need of a Redis."""


Fleet = TypeVar("Fleet", bound=SentinelFleet | ClusterFleet)


class Store(Protocol):
    """Runs while entered."""

    offers: frozenset[str]
    """Of ONE_SERVER, REPLICAS and SLOTS."""

    @property
    def servers(self) -> Sequence[RedisServer]:
        """Those that hold data."""
        ...

    @property
    def ports(self) -> frozenset[int]:
        """Of all that a sidecar may connect to."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def variables(self) -> dict[str, str]:
        """By which a sidecar finds it; one server is reached by a line instead."""
        ...

    @property
    def primary(self) -> RedisServer:
        """One that takes writes."""
        ...

    def empty(self) -> None:
        """Forgets all keys."""
        ...

    def failed_over(self, lost: RedisServer) -> None:
        """Returns once another has taken the place of that primary."""
        ...

    def promote(self) -> None:
        """A replica takes the place of its primary, which lives on as its replica."""
        ...


class OneServer:
    """Writes everything to disk before it answers."""

    offers = frozenset({ONE_SERVER})

    def __init__(self, folder: Path, port: int) -> None:
        aof = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(folder))
        self._server = RedisServer(*aof, "--maxmemory-policy", "noeviction", port=port)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def servers(self) -> Sequence[RedisServer]:
        return [self._server]

    @property
    def ports(self) -> frozenset[int]:
        return frozenset({self._server.port})

    @property
    def variables(self) -> dict[str, str]:
        return {}

    @property
    def primary(self) -> RedisServer:
        return self._server

    def empty(self) -> None:
        self.primary.command("FLUSHALL")

    def failed_over(self, lost: RedisServer) -> NoReturn:
        raise NotImplementedError

    def promote(self) -> NoReturn:
        raise NotImplementedError


class _Replicated(Generic[Fleet]):
    """Several servers, of which one takes another's place."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def __enter__(self) -> Self:
        self._fleet.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._fleet.__exit__()

    @property
    def servers(self) -> Sequence[RedisServer]:
        return self._fleet.servers

    def failed_over(self, lost: RedisServer) -> None:
        self._fleet.failed_over(lost)


class Sentinels(_Replicated[SentinelFleet]):
    """A primary, a replica and three Sentinels."""

    offers = frozenset({REPLICAS})

    def __init__(self, folder: Path, _port: int) -> None:
        super().__init__(SentinelFleet(folder))

    @property
    def ports(self) -> frozenset[int]:
        return frozenset(each.port for each in (*self.servers, *self._fleet.sentinels))

    @property
    def variables(self) -> dict[str, str]:
        return {
            "SIDECAR_REDIS_SENTINELS": _listed(self._fleet.addresses),
            "SIDECAR_REDIS_SENTINEL_MASTER": MASTER,
        }

    @property
    def primary(self) -> RedisServer:
        return self._fleet.primary

    def empty(self) -> None:
        self.primary.command("FLUSHALL")

    def promote(self) -> None:
        lost = self.primary
        until(lambda: bool(self._fleet.sentinels[-1].command("SENTINEL", "FAILOVER", MASTER)))
        self.failed_over(lost)


class Cluster(_Replicated[ClusterFleet]):
    """Three primaries with a replica each."""

    offers = frozenset({REPLICAS, SLOTS})

    def __init__(self, folder: Path, _port: int) -> None:
        nodes = folder / "nodes"
        nodes.mkdir(parents=True)
        super().__init__(ClusterFleet(nodes))

    @property
    def ports(self) -> frozenset[int]:
        return frozenset(each.port for each in self.servers)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "SIDECAR_REDIS_MODE": "cluster",
            "SIDECAR_REDIS_NODES": _listed(self._fleet.addresses[:3]),
        }

    @property
    def primary(self) -> RedisServer:
        """Which of them holds the lease is left to chance: it has its slot by its name."""
        return self._fleet.primaries[0]

    def empty(self) -> None:
        self._fleet.empty()

    def promote(self) -> None:
        replica = next(each for each in self.servers if "role:slave" in info(each))
        replica.command("CLUSTER", "FAILOVER")
        until(lambda: "role:master" in info(replica))

    def move_slots(self, customer_ids: Sequence[str]) -> None:
        """Those of some customers go from their primary to another."""
        some = self._fleet.servers[0]
        slots = {
            some.command("CLUSTER", "KEYSLOT", f"{PREFIX}:{{c_{who}}}") for who in customer_ids[:MOVED_SLOTS]
        }
        for slot in sorted(slots):
            source = self._fleet.primary_of_slot(slot)
            target = next(each for each in self._fleet.primaries if each is not source)
            self._fleet.move_slot(source, target, slot)


def rejoined(server: RedisServer) -> None:
    """Returns once a primary that came back is a replica that has all."""
    until(lambda: "role:slave" in info(server) and "master_link_status:up" in info(server))


def _listed(addresses: Sequence[tuple[str, int]]) -> str:
    return ",".join(f"{host}:{port}" for host, port in addresses)
