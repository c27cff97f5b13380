"""What is done with a secret whose file changed."""

from entitlements.composition.cloud import key_verdict
from entitlements.composition.process import Sidecar
from entitlements.service.key_check import KeyVerdict


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
