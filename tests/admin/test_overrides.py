"""From a denial to an override to a granted check, in the browser of a person on call; and who may not."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.admin.test_access import ADD_VIEWER, Session, in_shell
from tests.admin.visitor import PHONE, USERNAME, WIDE, Visitor
from tests.cloud_states import metered_state
from tests.eventually import eventually
from tests.harness import CALL_SECONDS, Client, SidecarProcess, usage_of

WHY = "/admin/explain/?customer=a&feature=m&usage=1"


async def _one_more(client: Client) -> bool:
    request = pb.GetMeteredEntitlementRequest(customer_id="a", feature_id="m")
    request.options.requested_usage = 1
    answer = await client.GetMeteredEntitlement(request, timeout=CALL_SECONDS)
    return bool(answer.has_access)


async def _until(client: Client, *, granted: bool) -> None:
    async def is_so() -> bool:
        return await _one_more(client) is granted

    await eventually(is_so)


async def _repaired(emulator: Emulator, client: Client, *, usage: float, updated_at: str) -> None:
    """The cloud's word changes, and has arrived."""
    emulator.state.put("a", metered_state(usage=usage, limit=1000, updated_at=updated_at))

    async def has_arrived() -> bool:
        return await usage_of(client, "a") == usage

    await eventually(has_arrived)


async def _overridden(page: Page, act: str, reason: str) -> None:
    """Two clicks, and the reason between them."""
    await page.locator("details.sidecar-card > summary").last.click()
    await page.get_by_label("Reason").fill(reason)
    await page.get_by_role("button", name=act, exact=True).click()


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
async def test_from_a_denial_to_a_granted_check_and_back(
    visitor: Visitor, client: Client, emulator: Emulator, size: tuple[int, int]
) -> None:
    """In two clicks; every page says so meanwhile; once the cloud agrees it says that."""
    emulator.state.put("a", metered_state(usage=1000, limit=1000), push=False)
    page = visitor.page
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    assert not await _one_more(client)
    await visitor.open(WHY)
    await _overridden(page, "Grant", "the plan is being repaired")
    await expect(page.get_by_role("status").first).to_contain_text("Granted by an override")
    await _until(client, granted=True)
    wide = await page.evaluate("document.documentElement.scrollWidth")
    await visitor.open("/admin/")
    await expect(page.get_by_role("note")).to_contain_text("1 override in force")
    await page.get_by_role("link", name="1 override in force").click()
    row = page.locator("tr", has_text="the plan is being repaired")
    await expect(row).to_contain_text("says otherwise")
    await _repaired(emulator, client, usage=3, updated_at="2026-07-01T00:00:00.000Z")
    await row.get_by_role("link").click()
    await expect(page.locator("section", has_text="A person overrides")).to_contain_text(
        "The cloud says the same by now"
    )
    await _repaired(emulator, client, usage=1000, updated_at="2026-08-01T00:00:00.000Z")
    await page.get_by_role("button", name="End the override").click()
    await expect(page.get_by_role("status").first).to_contain_text("0 left: the next 1 is denied")
    await _until(client, granted=False)

    assert wide <= size[0]


async def test_a_denial_by_a_person_with_its_reason_wanted(
    visitor: Visitor, client: Client, emulator: Emulator
) -> None:
    """Without one the browser does not send it; the customer's page says who denied it."""
    emulator.state.put("a", metered_state(usage=3, limit=1000), push=False)
    page = visitor.page
    await visitor.open("/admin/explain/?customer=a&feature=m")
    await _overridden(page, "Deny", "")
    assert await _one_more(client)
    await page.get_by_label("Reason").fill("abuse")
    await page.get_by_role("button", name="Deny", exact=True).click()
    await expect(page.get_by_role("status").first).to_contain_text("Denied by an override")
    await _until(client, granted=False)
    await page.get_by_role("link", name="All that is cached of this customer").click()

    await expect(page.locator("tr", has_text="overridden by on-call: abuse")).to_contain_text("denied")


async def test_who_may_not_overrides_in_no_way(
    sidecar: SidecarProcess, emulator: Emulator, tmp_path: Path
) -> None:
    """A viewer sees all of it. Not by a form of their own, not from another page, not unknown."""
    await in_shell(emulator, tmp_path, ADD_VIEWER)
    viewer, owner, stranger = Session(sidecar), Session(sidecar), Session(sidecar)
    await viewer.log_in("viewer")
    await owner.log_in(USERNAME)
    asked = {"act": "grant", "customer": "a", "feature": "m", "reason": "r", "lasts": "1h"}
    begun = await owner.post("/admin/overrides/", **asked)
    why, listed = await viewer.get(WHY), await viewer.get("/admin/overrides/")
    refused = [
        (await viewer.post("/admin/overrides/", **asked)).status_code,
        (await viewer.post("/admin/overrides/", act="end", id="x")).status_code,
        (await stranger.get("/admin/overrides/")).status_code,
        (await stranger.post("/admin/overrides/", **asked)).status_code,
    ]
    forged = await owner.post(
        "/admin/overrides/", **asked | {"customer": "b", "csrfmiddlewaretoken": "c" * 64}
    )
    wrong = await owner.post("/admin/overrides/", act="wipe")
    rows = json.loads(await in_shell(emulator, tmp_path, COUNT))

    assert 302 == begun.status_code
    assert [403, 403, 302] == refused[:3]
    assert refused[3] in {302, 403}
    assert 403 == forged.status_code
    assert 400 == wrong.status_code
    assert "A person overrides the cloud here" in why.text
    assert "Let them in" not in why.text
    assert "End the override" not in why.text
    assert "1 override in force" in listed.text
    assert 'value="end"' not in listed.text
    assert [["a", USERNAME]] == rows


COUNT = """
import json
from entitlements.models import EntitlementOverride
print(json.dumps(list(EntitlementOverride.objects.values_list("customer_id", "author"))))
"""
