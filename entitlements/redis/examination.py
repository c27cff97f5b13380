"""What a Redis is and what its user may do there, asked before it is needed: managed ones refuse a lot."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from entitlements.redis.causes import refusal_of
from entitlements.redis.connection import Client
from entitlements.redis.durability import Durability, durability_of
from entitlements.redis.keys import KeySpace, raw
from entitlements.redis.nodes import node_of

PROBE_MS = 5_000
"""So long the one key lives that is written to see whether that is allowed."""
SUBSCRIBE_SECONDS = 0.2
CLUSTER = (
    "it is a node of a Redis Cluster, and a plain client reaches only a part of all keys there: set "
    "SIDECAR_REDIS_MODE=cluster"
)
NEEDED: Mapping[str, str] = {
    "EVAL": "nothing is read from there or written there, nobody leads, and an outbox in Redis keeps nothing",
    "SET": "nothing is written there",
    "MGET": "nothing is read from there",
    "PTTL": "nothing is read from there",
    "TIME": "nothing is read from there or written there",
    "DEL": "what the cloud removed stays there",
    "EXISTS": "a customer that two processes miss at once is fetched by both",
    "PUBLISH": "a customer that this process fetches shows late in the others",
    "SUBSCRIBE": "a customer that another process fetches shows late in this one",
    "CLIENT TRACKING": (
        "what others change there shows in this process after SIDECAR_MAX_UNVERIFIED_SECONDS at the latest"
    ),
    "SCAN": "its customers cannot be listed",
}
"""What does not go where a command is refused; all else goes on."""
NEEDED_BY_OUTBOX = "the outbox keeps nothing"
"""The same for each of `outbox_probes`: what is promised must also be found, settled and set aside."""
SPARED = frozenset({"SCRIPT"})
"""Where it is refused, all goes on: scripts are sent by EVAL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found out."""

    server: str | None = None
    """Such as "redis 7.0.15"; None where it may not be asked."""
    is_cluster: bool = False
    """True for a node of a Cluster, which a plain client cannot use."""
    may_evict: bool | None = None
    """Whether it gives up keys once its memory is full; None where it may not be asked."""
    durability: Durability | None = None
    """Whether it keeps an outbox; None where it has none to keep."""
    refused: tuple[str, ...] = ()
    """The commands that this user may not use or this Redis does not know, of those that are ever used."""

    @property
    def lacking(self) -> tuple[str, ...]:
        """Those without which something does not go."""
        return tuple(command for command in self.refused if command not in SPARED)

    @property
    def sentences(self) -> list[str]:
        """What a person has to know."""
        sentences = [CLUSTER] if self.is_cluster else []
        sentences += [lack(command) for command in self.lacking]
        sentences += [] if self.durability is None else self.durability.sentences
        spared = [command for command in self.refused if command in SPARED]
        return sentences + (
            [f"its user may not {' and '.join(spared)}, which is not needed"] if spared else []
        )


def lack(command: str) -> str:
    """What does not go without a command that is not allowed, or not known there."""
    return f"its user may not {command}: {NEEDED.get(command, NEEDED_BY_OUTBOX)}"


def outbox_probes(name: str) -> dict[str, Sequence[str | int]]:
    """What an outbox of that name needs, each tried without effect: on a key that is not there."""
    nothing = f"{name}:none"
    return {
        "EVAL": ("EVAL", "return 1", 0),
        "EXISTS": ("EXISTS", nothing),
        "GET": ("GET", nothing),
        "SET": ("SET", nothing, 0, "XX"),
        "INCRBY": ("INCRBY", nothing, "no number"),
        "HGET": ("HGET", nothing, "field"),
        "HSET": ("HSET", nothing, "field", 0, "odd"),
        "HINCRBY": ("HINCRBY", nothing, "field", "no number"),
        "XLEN": ("XLEN", nothing),
        "XRANGE": ("XRANGE", nothing, "-", "+", "COUNT", 1),
        "XADD": ("XADD", nothing, "0-0", "write", ""),  # an id that no entry may have
        "XGROUP": ("XGROUP", "CREATE", nothing, "none", 0),
        "XREADGROUP": ("XREADGROUP", "GROUP", "none", "none", "COUNT", 1, "STREAMS", nothing, ">"),
        "XACK": ("XACK", nothing, "none", "0-1"),
        "XDEL": ("XDEL", nothing, "0-1"),
    }


def refused_of(client: Client, probes: Mapping[str, Sequence[bytes | str | int]]) -> tuple[str, ...]:
    """Which of these commands are refused or not known there, asked in one round trip."""
    pipeline: Any = client.pipeline(transaction=False)
    for command in probes.values():
        pipeline.execute_command(*command)
    answers = pipeline.execute(raise_on_error=False)
    return tuple(name for name, answer in zip(probes, answers, strict=True) if _is_refused(answer))


def examine(client: Client, keys: KeySpace, *, has_outbox: bool = False) -> Examination:
    """Asks in two round trips; raises RedisError where Redis does not answer.

    Of a Cluster it asks the node that keeps the outbox.
    """
    node = node_of(client, raw(keys.outbox))
    found = _examine(node, keys, has_outbox=has_outbox)
    return replace(found, is_cluster=False) if keys.is_cluster else found


def _examine(client: Client, keys: KeySpace, *, has_outbox: bool) -> Examination:
    probe = raw(keys.probe)
    commands: dict[str, Sequence[bytes | str | int]] = {
        "EVAL": ("EVAL", "return 1", 0),
        "SCRIPT": ("SCRIPT EXISTS", 40 * "0"),
        "CLIENT TRACKING": ("CLIENT TRACKING", "OFF"),
        "SET": ("SET", probe, "{}", "PX", PROBE_MS),
        "MGET": ("MGET", probe),
        "PTTL": ("PTTL", probe),
        "TIME": ("TIME",),
        "EXISTS": ("EXISTS", probe),
        "PUBLISH": ("PUBLISH", raw(keys.fetch_channels[:-1]), "{}"),
        "SCAN": ("SCAN", 0, "COUNT", 1),
        "DEL": ("DEL", probe),
    }
    if has_outbox:
        commands = {**outbox_probes(keys.outbox), **commands}
    pipeline: Any = client.pipeline(transaction=False)
    for command in commands.values():
        pipeline.execute_command(*command)
    pipeline.info("cluster")
    pipeline.info("server")
    pipeline.info("persistence")
    pipeline.info("memory")
    pipeline.config_get("save")
    *answers, cluster, server, persistence, memory, save = pipeline.execute(raise_on_error=False)
    refused = [name for name, answer in zip(commands, answers, strict=True) if _is_refused(answer)]
    if not _may_subscribe(client, keys):
        refused.append("SUBSCRIBE")
    enabled = isinstance(cluster, dict) and bool(cluster.get("cluster_enabled"))
    moved = any(isinstance(answer, RedisError) and _is_moved(answer) for answer in answers)
    return Examination(
        server=_name(server),
        is_cluster=enabled or moved,
        may_evict=_may_evict(memory),
        durability=durability_of(persistence, memory, save) if has_outbox else None,
        refused=tuple(refused),
    )


def _is_refused(answer: object) -> bool:
    """Not allowed, or not known: an older Redis, or one whose owner renamed what is dangerous."""
    is_unknown = isinstance(answer, ResponseError) and str(answer).lower().startswith("unknown command")
    return is_unknown or isinstance(answer, NoPermissionError)


def _is_moved(error: Any) -> bool:
    return refusal_of(error) in {"MOVED", "CLUSTERDOWN"}


def _may_evict(memory: object) -> bool | None:
    if not isinstance(memory, dict) or "maxmemory_policy" not in memory:
        return None
    return bool(memory.get("maxmemory")) and memory["maxmemory_policy"] != "noeviction"


def _may_subscribe(client: Client, keys: KeySpace) -> bool:
    with closing(client.pubsub()) as pubsub:
        try:
            pubsub.psubscribe(raw(keys.fetch_channels))
            pubsub.get_message(timeout=SUBSCRIBE_SECONDS)
        except NoPermissionError:
            return False
    return True


def _name(server: object) -> str | None:
    if not isinstance(server, dict):
        return None
    for name, field in (("valkey", "valkey_version"), ("redis", "redis_version")):
        if field in server:
            return f"{name} {server[field]}"
    return None
