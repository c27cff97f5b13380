"""Ids with every kind of character: each customer learns its own, by every tier and in every process."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.hostile import IDS
from tests.cloud_states import boolean_state
from tests.harness import CALL_SECONDS, Client, client_of, running_sidecar
from tests.redis_server import RedisServer

pytestmark = pytest.mark.timeout(120)
Whose = tuple[str, str | None]
ENTITIES: Sequence[Whose] = [
    *((id_, None) for id_ in IDS),
    *(("a", id_) for id_ in IDS),
    ("a:r_b", "c"),
    ("a:b", "c"),
    ("a", "b:c"),
]
"""Of these some have one name in Redis: ("a", "b") and ("a:r_b", None)."""


def _own_feature(whose: Whose) -> str:
    return json.dumps(whose, ensure_ascii=False)


async def _reported(client: Client, whose: Whose) -> list[str]:
    request = pb.GetEntitlementsRequest(customer_id=whose[0], resource_id=whose[1])
    answer = await client.GetEntitlements(request, timeout=CALL_SECONDS)
    return [each.boolean.feature.id for each in answer.entitlements]


async def test_everybody_receives_its_own(emulator: Emulator, tmp_path: Path) -> None:
    """By the cloud, by memory, by Redis in another process; pages and logs bear the ids too."""
    for whose in ENTITIES:
        emulator.state.put(whose[0], boolean_state(feature_id=_own_feature(whose)), resource_id=whose[1])
    with RedisServer() as redis:
        variables = {
            "REDIS_ENVIRONMENT_PREFIX": "production",
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
            "LOG_LEVEL": "debug",
            "SIDECAR_OUTBOX": "off",
        }
        for name in ("first", "second"):
            async with running_sidecar(emulator, tmp_path / name, **variables) as sidecar:
                async with client_of(sidecar) as client:
                    for again in ("asked", "held"):
                        wrong: dict[Whose, list[str]] = {}
                        for at in range(0, len(ENTITIES), 20):
                            some = ENTITIES[at : at + 20]
                            answers = await asyncio.gather(*(_reported(client, whose) for whose in some))
                            wrong |= {
                                whose: reported
                                for whose, reported in zip(some, answers, strict=True)
                                if reported != [_own_feature(whose)]
                            }
                        assert {} == wrong, (name, again)
                for page in ("/readyz?verbose", "/metrics"):
                    text = (await sidecar.get(page)).text
                    assert [] == [id_ for id_ in ("a:r_b", "<script>", "x" * 100) if id_ in text]
                assert "Traceback" not in sidecar.output
                lines = [line for line in sidecar.lines if line.startswith("{")]
                assert len(lines) == len([json.loads(line) for line in lines])
                assert [] == [line for line in sidecar.lines if "\x1b" in line or "\x00" in line]
