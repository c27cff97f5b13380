"""The shared Redis: whether it answers, takes writes, and holds nothing foreign under our prefix."""

import enum
import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import cast

from redis.exceptions import RedisClusterException, RedisError, ResponseError

from entitlements.config import SidecarConfig, redis_place
from entitlements.management.diagnosis.finding import Finding, fault, ok, skipped, warning
from entitlements.redis.causes import Trouble, cause_of, refusal_of
from entitlements.redis.clocks import redis_ms
from entitlements.redis.connection import Client
from entitlements.redis.examination import CLUSTER, Examination, examine, lack
from entitlements.redis.keys import KeySpace
from entitlements.redis.nodes import primaries
from entitlements.redis.scripts import Write, write_newest

MAX_KEYS_EXAMINED = 1000
"""How many keys under the prefix are looked at."""
_PROBE_SECONDS = 5
_FIXES = {
    Trouble.NOT_ANSWERING: "start it, open the way there, or correct REDIS_HOST, _PORT and _TLS, "
    "SIDECAR_REDIS_NODES or SIDECAR_REDIS_SENTINELS",
    Trouble.PASSWORD_REFUSED: "correct REDIS_USERNAME and REDIS_PASSWORD",
    Trouble.NO_CLUSTER: "set SIDECAR_REDIS_MODE=plain, or correct SIDECAR_REDIS_NODES",
    Trouble.CERTIFICATE_REFUSED: "correct what the sentence names, or the certificate",
}
_ODD = frozenset("*?[]{}\\ \t")


def examine_redis(config: SidecarConfig, dial: Callable[[], Client] | None) -> Iterator[Finding]:
    """The way there first; a part behind a broken one is left out."""
    prefix = config.redis_environment_prefix
    if prefix is None or dial is None:
        yield skipped("Redis", "REDIS_ENVIRONMENT_PREFIX is not set: nothing is shared")
        return
    address = redis_place(config)
    keys = KeySpace(prefix=prefix, is_cluster=config.sidecar_redis_mode == "cluster")
    try:
        client = dial()
        for node in primaries(client):
            node.ping()
        yield ok("Redis", f"{address} answers")
        yield from _tls(config)
        yield from _prefix(prefix)
        examination = examine(client, keys, has_outbox=config.sidecar_outbox != "off")
        if examination.is_cluster:
            fix = "set SIDECAR_REDIS_MODE=cluster, or point REDIS_HOST at another Redis"
            yield fault("Redis", f"{address} cannot be used: {CLUSTER}", fix=fix)
            return
        yield from _rights(examination)
        yield from _durability(examination)
        yield _writes(client, keys)
        yield from _found(client, keys)
    except ResponseError as error:
        message = f"{address} refuses commands ({refusal_of(error)})"
        yield fault("Redis", message, fix="correct the rights of the user in REDIS_USERNAME")
    except (RedisError, RedisClusterException, OSError) as error:
        cause = cause_of(error)
        yield fault("Redis", f"{address} does not answer: {cause.text}", fix=_FIXES[cause.trouble])


def _tls(config: SidecarConfig) -> Iterator[Finding]:
    if config.redis_tls and not config.sidecar_redis_tls_verify:
        message = "Redis' certificate is not verified (SIDECAR_REDIS_TLS_VERIFY=off)"
        yield warning("Redis TLS", message, fix="set SIDECAR_REDIS_CA_FILE to its authority instead")


def _rights(examination: Examination) -> Iterator[Finding]:
    fix = "give the user in REDIS_USERNAME the right to it (ACL SETUSER), or use a newer Redis"
    for command in examination.lacking:
        yield fault("Redis rights", lack(command), fix=fix)


def _durability(examination: Examination) -> Iterator[Finding]:
    """Of a Redis that has an outbox to keep."""
    durability = examination.durability
    if durability is None:
        return
    part = "Redis durability"
    fix = "set appendonly yes, and maxmemory-policy noeviction or volatile-lru, as deploy/compose.yaml does"
    for sentence in durability.sentences:
        yield warning(part, sentence, fix=fix)
    if durability.appendonly is None or durability.maxmemory_policy is None:
        yield skipped(part, "it may not be asked (INFO) whether it keeps the outbox over a restart")
    elif not durability.sentences:
        yield ok(part, "it keeps the outbox over a restart, and when its memory is full")


def _prefix(prefix: str) -> Iterator[Finding]:
    if _ODD & set(prefix) or prefix.endswith(":"):
        message = f"REDIS_ENVIRONMENT_PREFIX is {prefix!r}; a colon follows it in any case"
        yield warning(
            "Redis prefix", message, fix="use the plain name of the environment, as its other users do"
        )


def _writes(client: Client, keys: KeySpace) -> Finding:
    try:
        write = Write(key=keys.probe, value=b"{}", timestamp_ms=0)
        now_ms = redis_ms(client, keys.probe)
        write_newest(client, [write], ttl_seconds=_PROBE_SECONDS, sent_at_redis_ms=now_ms)
    except ResponseError as error:
        code = refusal_of(error)
        fix = "point REDIS_HOST at the primary, give the user the right to write, or Redis more memory"
        return fault("Redis writes", f"Redis takes no writes ({code})", fix=fix)
    return ok("Redis writes", "Redis takes writes")


def _found(client: Client, keys: KeySpace) -> Iterator[Finding]:
    """What stands under the prefix: of others, or of official services that are too old for ours."""
    prefix = keys.prefix
    pattern = "".join(f"\\{each}" if each in r"\*?[]" else each for each in prefix) + ":*"
    found = client.scan_iter(match=pattern, count=MAX_KEYS_EXAMINED)
    names = cast("list[bytes]", list(islice(found, MAX_KEYS_EXAMINED)))
    kinds = [_kind_of(client, name, keys) for name in names]
    if _Kind.FOREIGN in kinds:
        message = (
            f"{kinds.count(_Kind.FOREIGN)} of {len(names)} keys under {prefix!r} are not of the Stigg layout"
        )
        first = names[kinds.index(_Kind.FOREIGN)].decode(errors="replace")
        fix = f"give Redis' other users another prefix; the first is {first!r}"
        yield fault("Redis prefix", message, fix=fix)
    else:
        yield ok("Redis prefix", f"{len(names)} keys under {prefix!r}, none of them foreign")
    if _Kind.OLD_FORM in kinds:
        message = (
            f"{kinds.count(_Kind.OLD_FORM)} of {len(names)} keys under {prefix!r} are in the older form: an "
            "official service that writes it misreads what we write"
        )
        fix = "update it (sidecar 5.194.5, Node SDK 4.12.1), or give it another prefix: docs/migrating.md"
        yield warning("Redis form", message, fix=fix)


class _Kind(enum.Enum):
    OURS = "ours"
    OLD_FORM = "old form"
    FOREIGN = "foreign"


def _kind_of(client: Client, name: bytes, keys: KeySpace) -> _Kind:
    message = name.decode(errors="replace")
    if not keys.is_of_the_layout(message):
        return _Kind.FOREIGN
    if not keys.is_a_customers(message) or message.endswith("#timestamp"):
        return _Kind.OURS
    try:
        text = cast("bytes | None", client.get(name))
        value = {} if text is None else json.loads(text)
    except (ResponseError, ValueError):
        return _Kind.FOREIGN
    if not isinstance(value, dict):
        return _Kind.FOREIGN
    is_old = any(isinstance(each, dict) and "featureUsage" in each for each in value.values())
    return _Kind.OLD_FORM if is_old else _Kind.OURS
