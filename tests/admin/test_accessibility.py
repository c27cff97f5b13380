"""Every page, light and dark, wide and on a phone: nothing serious for axe, nothing wider than the screen."""

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.admin.test_access import Session
from tests.admin.visitor import ON_CALL, PHONE, WIDE, visiting
from tests.cloud_states import metered_state
from tests.harness import CALL_SECONDS, Client, SidecarProcess, client_of, running_sidecar, usage_of

COLOURS_ONCE = """
const Colour = axe.commons.color.Color.prototype, parse = Colour.parseString, known = {};
Colour.parseString = function (text) {
  if (!(text in known)) {
    const {r, g, b, alpha} = parse.call(this, text);
    known[text] = {r, g, b, alpha};
  }
  return Object.assign(this, known[text]);
};
true;
"""
"""The same few colours are on hundreds of elements: axe reads each anew, for a fifth of its time."""
AXE = Axe().axe_script + COLOURS_ONCE
THEME_ANEW = """
async () => {
  const page = Alpine.$data(document.documentElement);
  page.adminTheme = "light";
  page.adminTheme = "auto";
  await Alpine.nextTick();
  for (const each of document.getAnimations()) if (each instanceof CSSTransition) each.finish();
}
"""
"""As at its load: a page looks at the colour scheme when its theme is set, not when the scheme changes."""
SERIOUS = {"serious", "critical"}
Colour: TypeAlias = Literal["light", "dark"]
RULES: dict[Colour, dict[str, Any]] = {
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
    "login": "/admin/login/",
}
SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")
"""A folder: pictures of all pages go there, for people to look at."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A sidecar of which every page shows something, and the cookies of who may see it."""

    port: int
    cookies: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sight(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sight]:
    """One for all pages."""
    async with (
        Emulator(states={}) as emulator,
        running_sidecar(
            emulator, tmp_path_factory.mktemp("sight"), SIDECAR_OVERRIDES="1", **ON_CALL
        ) as sidecar,
        client_of(sidecar) as client,
    ):
        await _something_to_see(emulator, sidecar, client)
        session = Session(sidecar)
        await session.log_in()
        await _made_by_a_person(session)
        yield Sight(port=sidecar.http_port, cookies=session.cookies)


async def _something_to_see(emulator: Emulator, sidecar: SidecarProcess, client: Client) -> None:
    """A denied customer, and a dead letter."""
    emulator.state.put("customer-1", metered_state(usage=105, limit=100), push=False)
    assert await usage_of(client, "customer-1") == 105
    emulator.state.put("customer-1", metered_state(usage=3, limit=100), push=False)
    events = [pb.Event(event_name="opened", customer_id="nobody", idempotency_key="poison")]
    emulator.faults.set("graphql", "down")
    await client.ReportEvents(pb.ReportEventsRequest(events=events), timeout=CALL_SECONDS)
    emulator.faults.set(
        "graphql", "errors_200", customer_id="nobody", code="CustomerNotFound", message="unknown"
    )
    await sidecar.printed("the cloud refused a write of the outbox")
    emulator.faults.clear("graphql")


async def _made_by_a_person(session: Session) -> None:
    """An override, and a rule."""
    override = {"act": "grant", "customer": "customer-2", "feature": "m", "lasts": "1h"}
    rule = {"feature_id": "m", "is_active": "on", "is_unlimited": "unknown", "has_soft_limit": "unknown"}
    made = [
        await session.post("/admin/overrides/", **override, reason="the plan is being repaired"),
        await session.post("/admin/entitlements/fallbackrule/add/", **rule),
    ]
    assert [302, 302] == [each.status_code for each in made]


@pytest.mark.parametrize("name", PAGES)
async def test_every_page_is_for_everybody(browser: Browser, sight: Sight, name: str) -> None:
    cookies = {} if name == "login" else sight.cookies
    async with visiting(browser, sight.port, cookies=cookies) as visitor:
        await visitor.open(PAGES[name])
        assert visitor.page.url.endswith(PAGES[name])
        findings = [
            each
            for colour in RULES
            for size in (WIDE, PHONE)
            for each in await _looked_at(visitor.page, name, colour, size)
        ]

    assert [] == findings


async def _looked_at(page: Page, name: str, colour: Colour, size: tuple[int, int]) -> list[str]:
    width, height = size
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme=colour)
    await page.evaluate(THEME_ANEW)
    assert (colour == "dark") is await page.evaluate("document.documentElement.classList.contains('dark')")
    if SCREENSHOTS is not None:
        picture = Path(SCREENSHOTS) / f"{name}-{colour}-{width}.png"
        await page.screenshot(path=picture, full_page=True)
    findings = await _findings(page, RULES[colour])
    found = await page.evaluate("document.documentElement.scrollWidth")
    if found > width:
        findings.append(f"{found} pixels wide")
    return [f"{name} {colour} {width}: {each}" for each in findings]


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
