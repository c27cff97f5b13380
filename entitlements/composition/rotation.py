"""What is done with a secret whose file changed."""

import asyncio
from dataclasses import replace

from redis.exceptions import RedisClusterException, RedisError

from entitlements.composition.cloud import key_verdict
from entitlements.composition.process import Sidecar
from entitlements.redis.address import RedisAddress
from entitlements.redis.causes import Trouble, cause_of
from entitlements.redis.credentials import Credentials
from entitlements.redis.factories import dialled
from entitlements.service.key_check import KeyVerdict

USERNAME, PASSWORD = "REDIS_USERNAME", "REDIS_PASSWORD"


def follow_api_key(built: Sidecar) -> None:
    """Asks the cloud by a new SERVER_API_KEY once the cloud accepts it."""

    async def trial(key: str) -> KeyVerdict:
        return await key_verdict(key, built.http_client, built.config, built.clock)

    async def take(key: str) -> None:
        built.http_client.identity.take_key(key)
        built.key_check.accepted()
        if built.feed is not None:  # one that is followed goes on with the key that it began with
            built.feed.try_now()

    if not built.config.offline:
        in_use = built.config.server_api_key.get_secret_value()
        built.secret_rotation.follow("SERVER_API_KEY", in_use, take=take, trial=trial)


def follow_redis_credentials(built: Sidecar, address: RedisAddress) -> None:
    """Shows Redis a new REDIS_USERNAME or REDIS_PASSWORD once it accepts them.

    Where both change, one file is written after the other: so each is tried beside the other that is in use,
    and beside the other that its file holds by now.
    """
    rotation, credentials = built.secret_rotation, address.credentials
    accepted = Credentials(credentials.username, credentials.password)

    async def first_valid(pairs: list[tuple[str | None, str | None]]) -> KeyVerdict:
        verdict = KeyVerdict.UNKNOWN
        for username, password in pairs:
            verdict = await asyncio.to_thread(_redis_verdict, address, username, password)
            if verdict is KeyVerdict.VALID:
                accepted.take(username, password)
                break
        return verdict

    async def try_username(username: str) -> KeyVerdict:
        return await first_valid([(username, credentials.password), (username, rotation.held(PASSWORD))])

    async def try_password(password: str) -> KeyVerdict:
        return await first_valid([(credentials.username, password), (rotation.held(USERNAME), password)])

    async def take(_secret: str) -> None:
        credentials.take(accepted.username, accepted.password)

    rotation.follow(USERNAME, credentials.username or "", take=take, trial=try_username)
    rotation.follow(PASSWORD, credentials.password or "", take=take, trial=try_password)


def _redis_verdict(address: RedisAddress, username: str | None, password: str | None) -> KeyVerdict:
    """What Redis says of these credentials; on a thread, within a connection's time-outs."""
    try:
        client = dialled(replace(address, credentials=Credentials(username, password)))
        try:
            client.ping()
        finally:
            client.close()
    except (RedisError, RedisClusterException, OSError) as error:
        is_refused = cause_of(error).trouble is Trouble.PASSWORD_REFUSED
        return KeyVerdict.REFUSED if is_refused else KeyVerdict.UNKNOWN
    return KeyVerdict.VALID
