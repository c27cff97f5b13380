"""The vendor's writers beside the sidecars, in the same Redis."""

import asyncio
import contextlib
import json
from typing import Any

import redis as redis_py

from tests.chaos.lanes import Quiet
from tests.chaos.records import Run, now
from tests.chaos.stores import PREFIX

WRITER_SECONDS = 0.05


class OfficialWriter(Quiet):
    """The vendor's persistent-cache service: it writes each change into the same Redis, a little later."""

    form = "new"

    async def go_on(self, run: Run) -> None:
        client = redis_py.asyncio.Redis(port=self._machine.store.primary.port)
        written: dict[str, int] = {}
        try:
            while True:
                for who in run.truth.customers():
                    version = run.truth.versions(who)[-1]
                    if written.get(who) != version.number and version.announced_at < now():
                        with contextlib.suppress(redis_py.RedisError):
                            await self._write(client, who, version.number, version.updated_at_ms)
                            written[who] = version.number
                await asyncio.sleep(WRITER_SECONDS)
        finally:
            await client.aclose()

    async def _write(
        self, client: "redis_py.asyncio.Redis", who: str, number: int, updated_at_ms: int
    ) -> None:
        """Compared and written in two steps, as there."""
        key = f"{PREFIX}:c_{who}"
        held = await client.get(f"{key}#timestamp")
        if held is not None and int(held) > updated_at_ms:
            return
        document = {name: self._entry(name, **fields) for name, fields in _features(number)}
        async with client.pipeline(transaction=True) as pipe:
            pipe.set(key, json.dumps(document), ex=604_800)
            pipe.set(f"{key}#timestamp", updated_at_ms, ex=604_800)
            pipe.set(f"{key}:metadata", "{}", ex=604_800)
            pipe.set(f"{key}:metadata#timestamp", updated_at_ms, ex=604_800)
            await pipe.execute()

    def _entry(self, name: str, kind: str, **fields: Any) -> dict[str, Any]:
        feature = {"id": name, "featureType": kind, "meterType": "None"}
        if self.form == "old":
            return {"calculatedEntitlement": {"feature": feature} | fields, "featureUsage": None}
        feature["displayName"] = name
        return {"calculatedEntitlement": {"type": "FEATURE", "feature": feature} | fields}


class OldWriter(OfficialWriter):
    """Its version 2.39, which writes the form before."""

    form = "old"


def _features(number: int) -> list[tuple[str, dict[str, Any]]]:
    """As tests.cloud_states.versioned_state shows a version."""
    denied = None if number % 2 == 0 else "Revoked"
    return [
        ("number", {"kind": "NUMBER", "usageLimit": number}),
        ("word", {"kind": "ENUM", "enumValues": [str(number)]}),
        ("flag", {"kind": "BOOLEAN", "accessDeniedReason": denied}),
    ]
