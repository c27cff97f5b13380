"""Small records that all processes of one Redis prefix share: one hash, ours alone, a field for each."""

import uuid
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import cast

from entitlements.redis.connection import UNAVAILABLE, Client, RedisConnection
from entitlements.redis.keys import raw

MAX_RECORD_BYTES = 65_536
"""A larger value in the hash is none of ours, and is left out."""
VERSION = b"#version"
"""The field that each write gives a new value: while it stands, nothing needs to be read again."""


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
        self._version: bytes | None = None
        self._held: Mapping[str, bytes] = MappingProxyType({})
        """What was read with that version."""

    async def read(self) -> Mapping[str, bytes] | None:
        """All records by their ids; None where Redis does not answer."""
        known = self._version

        def read(client: Client) -> dict[bytes, bytes] | None:
            if known is not None and cast("bytes | None", client.hget(self._name, _VERSION_NAME)) == known:
                return None
            return cast("dict[bytes, bytes]", client.hgetall(self._name))

        found = await self._connection.run(read, key=self._key)
        if found is UNAVAILABLE:
            return None
        if found is not None:
            self._version = found.pop(VERSION, None)
            self._held = MappingProxyType(
                {
                    id_.decode(errors="replace"): value
                    for id_, value in found.items()
                    if len(value) <= MAX_RECORD_BYTES
                }
            )
        return self._held

    async def write(self, records: Mapping[str, bytes], *, removed: Iterable[str] = ()) -> None:
        """Puts these and takes those away; what Redis does not take is written with the next change."""
        gone = list(removed)
        if not records and not gone:
            return
        version = uuid.uuid4().bytes

        def write(client: Client) -> None:
            with client.pipeline(transaction=True) as pipeline:
                pipeline.hset(self._name, mapping={VERSION: version, **records})
                if gone:
                    pipeline.hdel(self._name, *gone)
                pipeline.expire(self._name, self._ttl_seconds)
                pipeline.execute()

        await self._connection.run(write, key=self._key)


_VERSION_NAME = cast("str", VERSION)
