"""The shared Redis: whether it answers, takes writes, and holds nothing foreign under our prefix."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import cast

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from entitlements.config import SidecarConfig
from entitlements.management.diagnosis.finding import Finding, fault, ok, skipped, warning
from entitlements.redis.connection import Client
from entitlements.redis.keys import KeySpace, raw

MAX_KEYS_EXAMINED = 1000
"""So many keys under the prefix are looked at."""
_PROBE_SECONDS = 5
_OURS = ("c_", "refetchEntityEntitlementsAfterCacheMiss", "sidecar:")
_ODD = frozenset("*?[]{}\\ \t")


def examine_redis(config: SidecarConfig, client: Client | None) -> Iterator[Finding]:
    """The way there first; a part behind a broken one is left out."""
    prefix = config.redis_environment_prefix
    if prefix is None or client is None:
        yield skipped("Redis", "REDIS_ENVIRONMENT_PREFIX is not set: nothing is shared")
        return
    address = f"{config.redis_host} port {config.redis_port}"
    try:
        client.ping()
        yield ok("Redis", f"{address} answers")
        yield from _prefix(prefix)
        yield _writes(client, KeySpace(prefix=prefix))
        yield _foreign(client, prefix)
    except (AuthenticationError, ResponseError) as error:
        told = f"{address} refuses ({type(error).__name__})"
        mend = "correct REDIS_USERNAME and REDIS_PASSWORD, or the rights of that user"
        yield fault("Redis", told, mend=mend)
    except (RedisError, OSError) as error:
        told = f"{address} does not answer ({type(error).__name__})"
        yield fault("Redis", told, mend="start it, open the way there, or correct REDIS_HOST, _PORT and _TLS")


def _prefix(prefix: str) -> Iterator[Finding]:
    if _ODD & set(prefix) or prefix.endswith(":"):
        told = f"REDIS_ENVIRONMENT_PREFIX is {prefix!r}; a colon follows it in any case"
        yield warning(
            "Redis prefix", told, mend="use the plain name of the environment, as its other users do"
        )


def _writes(client: Client, keys: KeySpace) -> Finding:
    try:
        client.set(raw(f"{keys.prefix}:sidecar:doctor"), b"{}", ex=_PROBE_SECONDS)
    except ResponseError as error:
        code = str(error).split(" ", 1)[0]
        mend = "point REDIS_HOST at the primary, give the user the right to write, or Redis more memory"
        return fault("Redis writes", f"Redis takes no writes ({code})", mend=mend)
    return ok("Redis writes", "Redis takes writes")


def _foreign(client: Client, prefix: str) -> Finding:
    pattern = "".join(f"\\{each}" if each in r"\*?[]" else each for each in prefix) + ":*"
    found = client.scan_iter(match=pattern, count=MAX_KEYS_EXAMINED)
    names = cast("list[bytes]", list(islice(found, MAX_KEYS_EXAMINED)))
    foreign = [name for name in names if not _is_ours(client, name, prefix)]
    if foreign:
        told = f"{len(foreign)} of {len(names)} keys under {prefix!r} are not of the Stigg layout"
        mend = f"give Redis' other users another prefix; the first is {foreign[0].decode(errors='replace')!r}"
        return fault("Redis prefix", told, mend=mend)
    return ok("Redis prefix", f"{len(names)} keys under {prefix!r}, none of them foreign")


def _is_ours(client: Client, name: bytes, prefix: str) -> bool:
    rest = name.decode(errors="replace").removeprefix(f"{prefix}:")
    if not rest.startswith(_OURS):
        return False
    if not rest.startswith("c_") or rest.endswith("#timestamp"):
        return True
    try:
        text = cast("bytes | None", client.get(name))
        return text is None or isinstance(json.loads(text), dict)
    except (ResponseError, ValueError):
        return False
