"""Other people's bytes, in this process: spoiled documents by hypothesis, and what atheris makes up."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest
from hypothesis import given, seed
from hypothesis import strategies as st

from entitlements.cache.codec import encode_entity
from entitlements.domain.entity import EntityKey
from entitlements.outbox import codec
from tests.builders import a_report, an_entity, an_event
from tests.cache.samples import credit, metered
from tests.chaos import targets
from tests.chaos.hostile import SCALE, SEED, spoiled_text, tries
from tests.cloud_states import boolean_state, metered_state
from tests.harness import ROOT

CREDIT = {
    "__typename": "CreditEntitlement",
    "currency": {"currencyId": "c", "displayName": "C", "additionalMetaData": {"a": [1, {"b": "c"}]}},
    "usageLimit": 5,
    "currentUsage": 1,
}
METER = metered_state()["entitlementsV2"][0] | {
    "usagePeriodAnchor": "2026-01-31T00:00:00.000Z",
    "usagePeriodEnd": "2026-02-01T00:00:00.000Z",
    "resetPeriod": "MONTH",
    "resetPeriodConfiguration": {"monthlyAccordingTo": "SubscriptionStart"},
    "creditRate": {"amount": 1, "currencyId": "c"},
}
ENTITLEMENTS = [boolean_state()["entitlementsV2"][0], METER, CREDIT]
STATE = {"entitlementsState": {"entitlementsV2": ENTITLEMENTS, "accessDeniedReason": None}}
OFFLINE = {
    "customers": {
        "a": {
            "entitlementsV2": ENTITLEMENTS,
            "resources": {"b": {"entitlementsV2": ENTITLEMENTS, "accessDeniedReason": "Revoked"}},
        }
    }
}
REDIS = json.loads(encode_entity(EntityKey("a", "b"), an_entity(metered("m"), credit("c"))))
FRAMES: tuple[dict[str, Any], ...] = (
    {
        "type": "next",
        "id": "1",
        "payload": {
            "data": {
                "entitlementsUpdatedV2": {"customerId": "a", "resourceId": "b", "entitlements": ENTITLEMENTS}
            }
        },
    },
    {
        "type": "next",
        "id": "2",
        "payload": {
            "data": {
                "usageUpdatedV2": {
                    "customerId": "a",
                    "resourceId": "b",
                    "entitlementReference": {"id": "m", "type": "FEATURE"},
                    "usage": {"currentUsage": 1, "usageUpdatedAt": 1, "usagePeriodEnd": 2},
                }
            }
        },
    },
    {"type": "error", "id": "1", "payload": [{"message": "no"}]},
    {"type": "ping", "payload": {"a": []}},
    {"type": "complete", "id": "2"},
)
SNAPSHOT = {"customer_id": "a", "resource_id": None, "confirmed_ms": 1_750_000_000_000, "updated_at_ms": 1}
DOCUMENTS = {
    "answer": st.just(STATE),
    "redis": st.sampled_from([REDIS, {"accessDeniedReason": None}, {"currentUsage": 1, "usagePeriodEnd": 2}]),
    "feed": st.sampled_from(FRAMES),
    "outbox": st.sampled_from([json.loads(codec.encode(each)) for each in (an_event(), a_report())]),
    "offline": st.just(OFFLINE),
}
RUNS = 2_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_spoiled_documents_are_understood_in_part_or_refused(name: str) -> None:
    """No error but the one that says so; and what is understood can be answered, kept and exported."""

    @seed(SEED)
    @tries(60)
    @given(DOCUMENTS[name].flatmap(spoiled_text))
    def run(text: bytes) -> None:
        targets.TARGETS[name](text)

    run()


@pytest.mark.timeout(600)
def test_a_spoiled_snapshot_is_read_as_far_as_it_goes() -> None:
    """Heads and bodies of lines, spoiled one by one."""

    @seed(SEED)
    @tries(40)
    @given(st.lists(st.tuples(spoiled_text(SNAPSHOT), spoiled_text({}), spoiled_text(REDIS)), max_size=3))
    def run(lines: list[tuple[bytes, bytes, bytes]]) -> None:
        targets.snapshot(b"".join(b"\t".join(line) + b"\n" for line in lines))

    run()


@pytest.mark.timeout(900)
async def test_coverage_guided() -> None:
    """Atheris finds nothing in a bounded number of runs, each target in a process of its own."""
    failures = {}
    found = ROOT / "build"
    found.mkdir(exist_ok=True)
    for name in targets.TARGETS:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.coverage_guided", name),
            *(
                f"-runs={RUNS * SCALE}",
                f"-seed={SEED}",
                "-max_len=4096",
                "-max_total_time=100",
                "-timeout=10",
            ),
            f"-artifact_prefix={found}/fuzz-{name}-",
            cwd=ROOT,
            env=os.environ | {"PYTHONDEVMODE": ""},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            failures[name] = output.decode(errors="replace")[-3000:]
        else:
            assert b"Done " in output, output

    assert {} == failures
