"""Redis as more than one process: a primary with its replica under Sentinels, and a Cluster."""

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import redis as redis_py

from tests.redis_server import LAST_PORT, RedisServer, free_port

MASTER = "my-Primary"
"""What the Sentinels call it; with a capital, which a URL would lose."""
CHOICE_SECONDS = 30.0
DOWN_AFTER_MS = 500
SLOTS = 16384
BUS_OFFSET = 10000
PRIMARIES = 3


class SentinelFleet:
    """A primary, a replica, and three Sentinels that watch them."""

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        self._folder = folder
        self._password = password
        self._stack = ExitStack()
        quickly = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        self.servers = [RedisServer(*quickly), RedisServer(*quickly)]
        self.sentinels: list[RedisServer] = []

    def __enter__(self) -> "SentinelFleet":
        try:
            for server in self.servers:
                self._stack.enter_context(server)
            first, second = self.servers
            second.command("REPLICAOF", "127.0.0.1", first.port)
            until(lambda: "master_link_status:up" in info(second))
            for number in range(3):
                self.sentinels.append(self._stack.enter_context(self._sentinel(number)))
            until(lambda: all(self._is_known(each) for each in self.sentinels))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where the Sentinels listen."""
        return tuple(("127.0.0.1", each.port) for each in self.sentinels)

    @property
    def primary(self) -> RedisServer:
        """As the last of the Sentinels says, which a test never kills."""
        _, port = self.sentinels[-1].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return next(each for each in self.servers if each.port == int(port))

    def failed_over(self, lost: RedisServer) -> RedisServer:
        """The new primary, once all Sentinels know it."""
        until(lambda: all(self._primary_of(each) != lost.port for each in self.sentinels))
        new = self.primary
        until(lambda: "role:master" in info(new))
        return new

    def _primary_of(self, sentinel: RedisServer) -> int:
        return int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def _is_known(self, sentinel: RedisServer) -> bool:
        answer = sentinel.command("SENTINEL", "MASTER", MASTER)
        state = answer if isinstance(answer, dict) else _pairs(answer)
        return int(state["num-slaves"]) == 1 and int(state["num-other-sentinels"]) == 2

    def _sentinel(self, number: int) -> RedisServer:
        file = self._folder / f"sentinel-{number}.conf"
        file.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} 3000\n"
            + (
                f"requirepass {self._password}\nsentinel sentinel-pass {self._password}\n"
                if self._password
                else ""
            )
        )
        return RedisServer(sentinel_file=file, password=self._password)


class ClusterFleet:
    """Three primaries with one replica each."""

    def __init__(self, folder: Path, *options: str, replicas: bool = True) -> None:
        self._stack = ExitStack()
        count = PRIMARIES * 2 if replicas else PRIMARIES
        self.servers = [self._node(folder / str(number), options) for number in range(count)]

    def __enter__(self) -> "ClusterFleet":
        try:
            self._form()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where all nodes listen."""
        return tuple(("127.0.0.1", each.port) for each in self.servers)

    @property
    def primaries(self) -> list[RedisServer]:
        """Those that have slots."""
        first = next(each for each in self.servers if each.is_running)
        ports = {slots[2][1] for slots in first.command("CLUSTER", "SLOTS")}
        return [each for each in self.servers if each.port in ports]

    def primary_of(self, key: str) -> RedisServer:
        """Who has the slot of that key."""
        first = next(each for each in self.servers if each.is_running)
        return self.primary_of_slot(first.command("CLUSTER", "KEYSLOT", key))

    def primary_of_slot(self, slot: int) -> RedisServer:
        """Who has that slot."""
        first = next(each for each in self.servers if each.is_running)
        port = next(s[2][1] for s in first.command("CLUSTER", "SLOTS") if s[0] <= slot <= s[1])
        return next(each for each in self.servers if each.port == port)

    def client(self) -> "redis_py.RedisCluster":
        """Another's client."""
        return redis_py.RedisCluster(host="127.0.0.1", port=self.primaries[0].port)

    def texts(self) -> dict[str, str | None]:
        """All that stands in it."""
        return {key: value for each in self.primaries for key, value in each.texts().items()}

    def empty(self) -> None:
        """Forgets all keys."""
        for each in self.primaries:
            each.command("FLUSHALL")

    def failed_over(self, lost: RedisServer) -> None:
        """Returns once another has the slots of the lost one, and the Cluster is well."""
        alive = [each for each in self.servers if each.is_running and each is not lost]
        until(lambda: lost.port not in _slot_ports(alive[0]) and all(map(_is_well, alive)))

    def move_slots(self, source: RedisServer, target: RedisServer, slots: range) -> None:
        """As a resharding does it: slot by slot, the keys first."""
        for slot in slots:
            self.move_slot(source, target, slot)

    def move_slot(self, source: RedisServer, target: RedisServer, slot: int) -> None:
        """One slot of a resharding."""
        source_id, target_id = (each.command("CLUSTER", "MYID") for each in (source, target))
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)
        for each in (target, source, *self.primaries):
            each.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def _node(self, folder: Path, options: tuple[str, ...]) -> RedisServer:
        folder.mkdir()
        cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--dir", str(folder))
        quickly = ("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        return RedisServer(*cluster, *quickly, *options, port=port_with_bus())

    def _form(self) -> None:
        for server in self.servers:
            self._stack.enter_context(server)
        primaries, replicas = self.servers[:PRIMARIES], self.servers[PRIMARIES:]
        share = SLOTS // PRIMARIES + 1
        for number, server in enumerate(primaries):
            slots = range(number * share, min((number + 1) * share, SLOTS))
            server.command("CLUSTER", "ADDSLOTS", *slots)
        for number, server in enumerate(self.servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in self.servers:
            server.command("CLUSTER", "MEET", "127.0.0.1", self.servers[0].port)
        until(lambda: all(_known(each) == len(self.servers) for each in self.servers))
        for primary, replica in zip(primaries, replicas, strict=False):
            replica.command("CLUSTER", "REPLICATE", primary.command("CLUSTER", "MYID"))
        until(lambda: all("master_link_status:up" in info(each) for each in replicas))
        until(lambda: all(map(_is_well, self.servers)))
        for primary in primaries:
            primary.command("FLUSHALL")  # a replica counts once it got something; a ping comes after 10 s
        until(lambda: all(len(s) == 4 for s in primaries[0].command("CLUSTER", "SLOTS")) or not replicas)


def until(is_so: Callable[[], bool]) -> None:
    """Returns once it is so; servers announce no events."""
    deadline = time.monotonic() + CHOICE_SECONDS
    while not _holds(is_so):
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def info(server: RedisServer) -> str:
    """What it says of its replication."""
    answer = server.command("INFO", "replication")
    if isinstance(answer, bytes):
        return answer.decode()
    return "\n".join(f"{name}:{value}" for name, value in answer.items())


def replicated(primary: RedisServer) -> None:
    """Returns once its replica has all that it has: what a primary took last may die with it."""
    until(lambda: len({*_OFFSET.findall(info(primary))}) == 1)


_OFFSET = re.compile(r"(?:[^_]offset=|master_repl_offset:|'offset': )(\d+)")


def _holds(is_so: Callable[[], bool]) -> bool:
    try:
        return is_so()
    except (redis_py.RedisError, StopIteration):
        return False


def _slot_ports(server: RedisServer) -> set[int]:
    return {slots[2][1] for slots in server.command("CLUSTER", "SLOTS")}


def _known(server: RedisServer) -> int:
    return len(server.command("CLUSTER", "NODES").splitlines())


def _is_well(server: RedisServer) -> bool:
    return b"cluster_state:ok" in server.command("CLUSTER", "INFO")


def _pairs(answer: list[bytes]) -> dict[str, str]:
    words = [each.decode() for each in answer]
    return dict(zip(words[::2], words[1::2], strict=True))


def port_with_bus() -> int:
    """A free port beside which the bus of a Cluster has one, too."""
    return free_port(last=LAST_PORT - BUS_OFFSET)
