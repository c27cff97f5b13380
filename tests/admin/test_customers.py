"""The cached customers in a browser and over HTTP: found, looked at, refreshed, evicted, and never obeyed."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from emulator.server import Emulator
from tests.admin.test_access import ADD_VIEWER, Session, in_shell
from tests.admin.visitor import ON_CALL, Visitor
from tests.cloud_states import boolean_state, metered_state
from tests.eventually import eventually
from tests.harness import Client, SidecarProcess, client_of, is_granted, running_sidecar, usage_of
from tests.redis_server import RedisServer

PLACE = "/admin/entitlements/cachedcustomer/"
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'); alert(1); ('",
    "{{7*7}}{% now 'Y' %}",
    "..",
    "../../metrics",
    "a/b?c=d&e#f%41",
    "javascript:alert(1)",
    "${alert(1)}`x-data`",
    "\u202eevil\u0000 \n id",
]
REFRESHED = re.compile("30.*39.*refreshed by a person", re.DOTALL)


async def test_a_customer_is_found_looked_at_refreshed_and_evicted(
    visitor: Visitor, emulator: Emulator, client: Client
) -> None:
    """As on call: from the overview to the customer, and what was done is reported with who did it."""
    emulator.state.put("customer-x", metered_state(usage=30, limit=40), push=False)
    emulator.state.put("somebody-else", boolean_state(), push=False)
    assert 30 == await usage_of(client, "customer-x")
    assert await is_granted(client, "somebody-else")
    page = visitor.page
    await visitor.open("/admin/")
    await page.fill("input[name=q]", "tomer-x")
    await page.get_by_role("button", name="Find").click()
    await expect(page.get_by_role("link", name="somebody-else")).to_have_count(0)
    await page.get_by_role("link", name="customer-x").click()
    row = page.get_by_role("row", name="metered")
    await expect(row).to_contain_text("30")
    await expect(row.get_by_role("img", name="75 % used")).to_be_visible()

    emulator.state.put(
        "customer-x", metered_state(usage=39, updated_at="2026-07-01T00:00:00.000Z"), push=False
    )
    await page.get_by_role("button", name="Refresh now").click()
    await expect(page.get_by_text("1 entry refreshed.")).to_be_visible()
    assert 39 == await usage_of(client, "customer-x")
    changes = page.locator("section", has_text="What changed").locator("tbody tr")
    await expect(changes.filter(has_text="30")).to_contain_text(REFRESHED)

    await visitor.open(PLACE)
    await page.get_by_role("checkbox", name="Select customer-x").check()
    await page.get_by_role("button", name="Evict selected").click()
    await page.get_by_role("button", name="Evict", exact=True).click()
    await expect(page.get_by_text("1 entry evicted.")).to_be_visible()
    await expect(page.get_by_text("is not cached here")).to_be_visible()
    await expect(changes.first).to_contain_text("evicted by a person")
    await visitor.open("/admin/entitlements/auditentry/")
    await expect(page.get_by_role("row", name="customer-x")).to_have_count(2)
    await expect(page.get_by_role("row", name="cache.evict")).to_contain_text("on-call")


async def test_no_name_of_the_cloud_becomes_markup(
    visitor: Visitor, emulator: Emulator, client: Client
) -> None:
    """Hostile ids, names and reasons are shown as they are, on the list and on each one's own page."""
    for hostile in HOSTILE:
        state = boolean_state(feature_id=hostile)
        entitlement: dict[str, Any] = state["entitlementsV2"][0]
        entitlement["feature"]["displayName"] = f"{hostile}<b>name</b>"
        entitlement["feature"]["description"] = "</pre><script>alert(2)</script>"
        emulator.state.put(hostile, state, push=False)
        assert await is_granted(client, hostile, hostile)
    page = visitor.page
    await visitor.open(PLACE)
    links = page.locator("table a")
    assert len(HOSTILE) == await links.count()
    addresses = [await links.nth(n).get_attribute("href") or "" for n in range(len(HOSTILE))]
    for address, hostile in zip(addresses, reversed(HOSTILE), strict=True):
        await visitor.open(address)
        shown = await page.locator("table td").first.inner_text()
        assert "<b>name</b>" in shown, hostile
        assert hostile.split()[0].strip("\x00\u202e") in shown.replace("\u202e", ""), hostile
        assert 0 == await page.locator("main b, #content b, #content script, #content img").count()
    assert [] == visitor.dialogs


async def test_a_viewer_sees_customers_and_may_not_act(
    sidecar: SidecarProcess, emulator: Emulator, client: Client, tmp_path: Path
) -> None:
    emulator.state.put("customer-x", boolean_state(), push=False)
    assert await is_granted(client, "customer-x")
    await in_shell(emulator, tmp_path, ADD_VIEWER)
    session = Session(sidecar)
    await session.log_in("viewer")
    shown = await session.get(PLACE)
    detail = await session.get(f"{PLACE}customer/?customer=customer-x")
    refused = await session.post(f"{PLACE}act/", act="evict", key="10:customer-x", sure="1")

    assert "customer-x" in shown.text
    assert "granted" in detail.text
    assert "Refresh now" not in detail.text
    assert 403 == refused.status_code
    assert await is_granted(client, "customer-x")
    assert 1 == emulator.counters.fetches()


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("act/", {"act": "format", "key": "1:a"}),
        ("act/", {"act": "evict", "key": "nonsense"}),
        ("act/", {"act": "refresh", "key": ["1:a"] * 201}),
    ],
)
async def test_a_wrong_form_is_refused(
    common_sidecar: SidecarProcess, path: str, fields: dict[str, str | list[str]]
) -> None:
    session = Session(common_sidecar)
    await session.log_in()
    await session.get(PLACE)

    assert 400 == (await session.post(f"{PLACE}{path}", **fields)).status_code
    assert 400 == (await session.get(f"{PLACE}?after=nowhere")).status_code


async def test_a_cloud_that_is_away_takes_nothing_away(
    sidecar: SidecarProcess, emulator: Emulator, client: Client
) -> None:
    emulator.state.put("customer-x", boolean_state(), push=False)
    assert await is_granted(client, "customer-x")
    session = Session(sidecar)
    await session.log_in()
    await session.get(PLACE)
    await emulator.stop()
    await session.post(f"{PLACE}act/", act="refresh", key="10:customer-x")
    shown = await session.get(f"{PLACE}customer/?customer=customer-x")

    assert "What was cached stays." in shown.text
    assert await is_granted(client, "customer-x")


async def test_redis_is_shown_and_acted_upon(emulator: Emulator, tmp_path: Path) -> None:
    """With Redis both tiers can be looked at, and evicting reaches both."""
    emulator.state.put("customer-x", boolean_state(), push=False)
    variables = {"REDIS_ENVIRONMENT_PREFIX": "production", **ON_CALL}
    with RedisServer() as redis:
        async with running_sidecar(emulator, tmp_path, **variables, REDIS_PORT=str(redis.port)) as sidecar:
            async with client_of(sidecar) as client:
                assert await is_granted(client, "customer-x")
            session = Session(sidecar)
            await session.log_in()
            await eventually(lambda: redis.text("production:c_customer-x") is not None)
            listed = await session.get(f"{PLACE}?tier=redis&q=omer-")
            detail = await session.get(f"{PLACE}customer/?customer=customer-x&tier=redis")
            await session.post(f"{PLACE}act/", act="evict", key="10:customer-x", sure="1")
            after = await session.get(f"{PLACE}?tier=redis")
            memory = await session.get(PLACE)

    assert "This is Redis" in listed.text
    assert "customer-x" in listed.text
    assert "granted" in detail.text
    assert "customer-x</a>" not in after.text
    assert "customer-x</a>" not in memory.text
