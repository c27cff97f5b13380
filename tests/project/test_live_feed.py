"""The live feed on real processes and sockets: changes show at once, and a lost connection loses nothing."""

import asyncio
import os
import statistics
from pathlib import Path

import pytest

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.hostile import SCALE
from tests.cloud_states import boolean_state, metered_state
from tests.eventually import MOST_SECONDS, eventually
from tests.harness import Client, SidecarProcess, check, client_of, is_granted, running_sidecar, usage_of

NEWER = "2026-06-02T00:00:00.000Z"
QUICK_FEED = {"SIDECAR_FEED_PING_SECONDS": "0.2", "SIDECAR_FEED_IDLE_TIMEOUT_SECONDS": "1"}


async def _until_granted(client: Client, customer_id: str, *, granted: bool) -> float:
    async def is_so() -> bool:
        return await is_granted(client, customer_id) is granted

    return await eventually(is_so)


async def _until_used(client: Client, customer_id: str, usage: float) -> float:
    async def is_so() -> bool:
        return await usage_of(client, customer_id) == usage

    return await eventually(is_so)


async def test_change_in_the_cloud_is_answered_soon(emulator: Emulator, client: Client) -> None:
    """Entitlements and usage alike, in the median: 100 ms where a check takes one."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    emulator.state.put("customer-2", metered_state(), push=False)
    assert await is_granted(client, "customer-1")
    assert await usage_of(client, "customer-2") == 0

    entitlement_seconds, usage_seconds, check_seconds = [], [], []
    for number in range(1, 21):
        granted = number % 2 == 0
        stamp = f"2026-06-01T00:00:{number:02}.000Z"
        emulator.state.put("customer-1", boolean_state(granted=granted, updated_at=stamp))
        entitlement_seconds.append(await _until_granted(client, "customer-1", granted=granted))
        emulator.state.set_usage("customer-2", "m", number)
        usage_seconds.append(await _until_used(client, "customer-2", number))
        check_seconds.append(await _until_used(client, "customer-2", number))

    assert statistics.median(entitlement_seconds) < 100 * statistics.median(check_seconds)
    assert statistics.median(usage_seconds) < 100 * statistics.median(check_seconds)
    assert emulator.counters.fetches() == 2


async def test_burst_of_ten_thousand_events_is_applied_whole(
    emulator: Emulator, client: Client, sidecar: SidecarProcess
) -> None:
    """All applied, in order per entity, and checks are answered meanwhile."""
    names = [f"customer-{number}" for number in range(10)]
    for name in names:
        emulator.state.put(name, metered_state(), push=False)
        await usage_of(client, name)

    for number in range(1, 1001):
        for name in names:
            emulator.state.set_usage(name, "m", number)
        await asyncio.sleep(0)
        if number % 100 == 0:
            assert await usage_of(client, names[0]) <= number

    for name in names:
        await _until_used(client, name, 1000)
    assert await sidecar.metric('sidecar_feed_events_total{outcome="applied",type="usage"}') == 10_000
    assert emulator.counters.fetches() == len(names)


async def test_event_warms_the_cache(emulator: Emulator, client: Client, sidecar: SidecarProcess) -> None:
    """An entity that nobody asked for yet costs no fetch when somebody does."""
    emulator.state.put("customer-1", boolean_state())

    async def is_applied() -> bool:
        return await sidecar.metric('sidecar_feed_events_total{outcome="applied",type="entitlements"}') == 1

    await eventually(is_applied)
    assert await is_granted(client, "customer-1")
    assert emulator.counters.fetches() == 0


async def test_better_read_after_a_report_never_shows_older_usage(emulator: Emulator, client: Client) -> None:
    """2,000 tries, while the feed delivers every one of those usages, and late repetitions of older ones.

    `make fuzz` makes more of them.
    """
    names = [f"customer-{number}" for number in range(10)]
    for name in names:
        emulator.state.put(name, metered_state(), push=False)

    await asyncio.gather(*(_report_and_read(emulator, client, name, tries=200 * SCALE) for name in names))


async def _report_and_read(emulator: Emulator, client: Client, customer_id: str, *, tries: int) -> None:
    report = pb.ReportUsageRequest(customer_id=customer_id, feature_id="m", value=1)
    late = {
        "customerId": customer_id,
        "resourceId": None,
        "entitlementReference": {"id": "m", "type": "FEATURE"},
        "usage": {"currentUsage": 0, "usageUpdatedAt": 1, "usagePeriodStart": None, "usagePeriodEnd": None},
    }
    for number in range(tries):
        reported = (await client.ReportUsage(report, timeout=30)).current_usage
        if number % 10 == 0:
            emulator.state.push_raw("usageUpdatedV2", late)
        assert await usage_of(client, customer_id) >= reported == number + 1


async def test_ws_disabled_costs_no_second_fetch(emulator: Emulator, tmp_path: Path) -> None:
    """Without a feed a second read within the re-check age comes from memory."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with running_sidecar(emulator, tmp_path, WS_ENABLED="0") as sidecar, client_of(sidecar) as client:
        assert await is_granted(client, "customer-1")
        assert await is_granted(client, "customer-1")

    assert emulator.counters.fetches() == 1
    assert emulator.feed.connections == 0


async def test_better_lost_feed_leaves_every_answer_and_catches_up(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A change made while the feed was down is answered within one re-check after it is back."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with running_sidecar(emulator, tmp_path, **QUICK_FEED) as sidecar, client_of(sidecar) as client:
        await sidecar.following()
        assert await is_granted(client, "customer-1")
        emulator.faults.set("ws", "down")
        emulator.feed.drop()
        await sidecar.printed("the live feed is not connected")
        assert await is_granted(client, "customer-1")

        emulator.state.put("customer-1", boolean_state(granted=False, updated_at=NEWER))
        emulator.faults.clear("ws")
        await sidecar.following()

        await _until_granted(client, "customer-1", granted=False)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "down"},
        {"kind": "status", "status": 503},
        {"kind": "bad_key"},
        {"kind": "bad_key", "close_code": 4403},
        {"kind": "throttled"},
        {"kind": "garbage"},
        {"kind": "no_ack"},
        {"kind": "silent"},
        {"kind": "error", "operation": "usageUpdatedV2"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
async def test_no_weather_on_the_feed_turns_cached_answers_into_fallbacks(
    emulator: Emulator, tmp_path: Path, fault: dict[str, object]
) -> None:
    """Cut, refused, half-open, bad key, throttled, garbage: answers stay, and waiting costs little CPU."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    kind = str(fault.pop("kind"))
    async with running_sidecar(emulator, tmp_path, **QUICK_FEED) as sidecar, client_of(sidecar) as client:
        await sidecar.following()
        assert await is_granted(client, "customer-1")
        emulator.faults.set("ws", kind, **fault)
        emulator.feed.drop()
        async with asyncio.timeout(MOST_SECONDS):
            while (await sidecar.parts())["feed"]["following"]:  # noqa: ASYNC110 - HTTP announces no events
                await asyncio.sleep(0.02)

        cpu_before = _cpu_seconds(sidecar)
        async with asyncio.timeout(MOST_SECONDS):
            while (await sidecar.parts())["feed"]["failed_attempts"] < 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(2)  # the time over which CPU is measured
        cpu_share = (_cpu_seconds(sidecar) - cpu_before) / 2
        assert await is_granted(client, "customer-1")

        assert cpu_share < 0.35
        assert (await sidecar.parts())["feed"]["problem"] is not None


async def test_better_silent_connection_is_noticed(emulator: Emulator, tmp_path: Path) -> None:
    """A half-open socket, on which everything is swallowed, is cut, and the feed is followed again."""
    async with running_sidecar(emulator, tmp_path, **QUICK_FEED) as sidecar:
        await sidecar.following()

        emulator.feed.silence()
        await sidecar.printed("the live feed is not connected")

        await sidecar.following()


async def test_published_package_of_all_customers_is_checked_again(
    emulator: Emulator, client: Client
) -> None:
    """Everything cached is suspect: the next read answers at once, and one re-check later the truth."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    assert await is_granted(client, "customer-1")
    emulator.state.put("customer-1", boolean_state(granted=False, updated_at=NEWER), push=False)
    await asyncio.sleep(1.1)  # the shortest time between two fetches of one entity

    emulator.state.publish_package(migration_type="ALL_CUSTOMERS")

    await _until_granted(client, "customer-1", granted=False)


async def test_unknown_events_are_counted_and_skipped(
    emulator: Emulator, client: Client, sidecar: SidecarProcess
) -> None:
    """What is not understood changes nothing, and the feed goes on."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    assert await is_granted(client, "customer-1")

    emulator.state.push_raw("entitlementsUpdatedV2", {"nonsense": True})
    emulator.state.push_raw("usageUpdatedV2", None)
    emulator.state.put("customer-1", boolean_state(granted=False, updated_at=NEWER))

    await _until_granted(client, "customer-1", granted=False)
    assert await sidecar.metric('sidecar_upstream_skipped_total{what="feed_event"}') == 2
    assert (await check(client, "customer-1")).access_denied_reason == pb.ACCESS_DENIED_REASON_REVOKED


def _cpu_seconds(sidecar: SidecarProcess) -> float:
    """User and system time of a process, of its /proc/PID/stat."""
    fields = Path(f"/proc/{sidecar.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
