"""Every page, light and dark, wide and on a phone: nothing serious for axe, nothing wider than the screen."""

import os
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.admin.visitor import PHONE, WIDE, Visitor
from tests.cloud_states import metered_state
from tests.harness import Client, SidecarProcess, usage_of

pytestmark = pytest.mark.timeout(900)

AXE = Axe().axe_script
SERIOUS = {"serious", "critical"}
RULES: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}},
}
"""The same page in other colours: only rules about colours can find something else there."""
PAGES = {
    "overview": "/admin/",
    "explain-form": "/admin/explain/",
    "explain": "/admin/explain/?customer=customer-1&feature=m&usage=1&compare=on",
    "customers": "/admin/entitlements/cachedcustomer/",
    "customer": "/admin/entitlements/cachedcustomer/customer/?customer=customer-1",
    "fallbacks": "/admin/entitlements/fallbackrule/",
    "fallback-add": "/admin/entitlements/fallbackrule/add/?feature_id=m",
    "fallback-change": "/admin/entitlements/fallbackrule/1/change/",
    "outbox": "/admin/entitlements/outboxentry/",
    "shadow": "/admin/shadow/",
    "configuration": "/admin/configuration/",
    "overrides": "/admin/overrides/",
    "explain-override": "/admin/explain/?customer=customer-2&feature=m",
    "users": "/admin/auth/user/",
    "groups": "/admin/auth/group/",
    "audit": "/admin/entitlements/auditentry/",
}
SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")
"""A folder: pictures of all pages go there, for people to look at."""


async def _looked_at(visitor: Visitor, name: str, path: str) -> list[str]:
    """One page, opened once for each colour and looked at in both sizes."""
    findings: list[str] = []
    page = visitor.page
    for colour in ("light", "dark"):
        await page.emulate_media(color_scheme=colour)
        await page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
        await visitor.open(path)
        for width, height in (WIDE, PHONE):
            await page.set_viewport_size({"width": width, "height": height})
            if SCREENSHOTS is not None:
                picture = Path(SCREENSHOTS) / f"{name}-{colour}-{width}.png"
                await page.screenshot(path=picture, full_page=True)
            findings += [f"{name} {colour} {width}: {each}" for each in await _findings(page, RULES[colour])]
            found = await page.evaluate("document.documentElement.scrollWidth")
            if found > width:
                findings.append(f"{name} {colour} {width}: {found} pixels wide")
    return findings


async def _findings(page: Page, rules: dict[str, Any]) -> list[str]:
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE)
    results = await page.evaluate("rules => axe.run({resultTypes: ['violations'], ...rules})", rules)
    return [
        f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
        for violation in results["violations"]
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


async def _something_to_see(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, visitor: Visitor
) -> None:
    """A denied customer, a dead letter, a waiting write, a rule."""
    emulator.state.put("customer-1", metered_state(usage=105, limit=100), push=False)
    assert await usage_of(client, "customer-1") == 105
    emulator.state.put("customer-1", metered_state(usage=3, limit=100), push=False)
    emulator.faults.set(
        "graphql", "errors_200", customer_id="nobody", code="CustomerNotFound", message="unknown"
    )
    events = [pb.Event(event_name="opened", customer_id="nobody", idempotency_key="poison")]
    emulator.faults.set("graphql", "down")
    await client.ReportEvents(pb.ReportEventsRequest(events=events), timeout=15)
    emulator.faults.set(
        "graphql", "errors_200", customer_id="nobody", code="CustomerNotFound", message="unknown"
    )
    await sidecar.printed("the cloud refused a write of the outbox")
    emulator.faults.clear("graphql")
    await visitor.open("/admin/explain/?customer=customer-2&feature=m")
    await visitor.page.locator("details.sidecar-card > summary").last.click()
    await visitor.page.get_by_label("Reason").fill("the plan is being repaired")
    await visitor.page.get_by_role("button", name="Grant", exact=True).click()
    await visitor.page.get_by_role("note").wait_for()
    await visitor.open("/admin/entitlements/fallbackrule/add/?feature_id=m")
    await visitor.page.get_by_role("button", name="Save", exact=True).click()
    await visitor.page.wait_for_url("**/fallbackrule/")


async def test_every_page_is_for_everybody(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, visitor: Visitor
) -> None:
    await _something_to_see(emulator, sidecar, client, visitor)
    findings: list[str] = []
    for name, path in PAGES.items():
        findings += await _looked_at(visitor, name, path)
    await visitor.page.context.clear_cookies()
    findings += await _looked_at(visitor, "login", "/admin/login/")

    assert [] == findings
