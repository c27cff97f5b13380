"""Small records that all processes of one Redis prefix share: one hash, ours alone, a field for each."""

from collections.abc import Iterable, Mapping
from typing import cast

from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection
from entitlements.redis.keys import raw

MAX_RECORD_BYTES = 65_536
"""A larger value in the hash is none of ours, and is left out."""


class SharedRecords:
    """Its methods belong to the event loop of the connection."""

    def __init__(self, connection: RedisConnection, *, name: str, ttl_seconds: int) -> None:
        """Shares by a hash.

        Args:
            connection: the way to Redis.
            name: the key of the hash.
            ttl_seconds: the hash goes so long after its last change.
        """
        self._connection = connection
        self._key = name
        self._name = cast("str", raw(name))  # bytes, which redis-py takes and its types do not know
        self._ttl_seconds = ttl_seconds

    async def read(self) -> Mapping[str, bytes] | None:
        """All records by their ids; None where Redis does not answer."""

        def read(client: Client) -> dict[bytes, bytes]:
            return cast("dict[bytes, bytes]", client.hgetall(self._name))

        found = await self._connection.run(read, key=self._key)
        if found is UNAVAILABLE:
            return None
        return {
            id_.decode(errors="replace"): value
            for id_, value in found.items()
            if len(value) <= MAX_RECORD_BYTES
        }

    async def write(self, records: Mapping[str, bytes], *, removed: Iterable[str] = ()) -> None:
        """Puts these and takes those away; what Redis does not take is written with the next change."""
        gone = list(removed)
        if not records and not gone:
            return

        def write(client: Client) -> None:
            with client.pipeline(transaction=True) as pipeline:
                if records:
                    pipeline.hset(self._name, mapping=dict(records))
                if gone:
                    pipeline.hdel(self._name, *gone)
                pipeline.expire(self._name, self._ttl_seconds)
                pipeline.execute()

        await self._connection.run(write, key=self._key)
