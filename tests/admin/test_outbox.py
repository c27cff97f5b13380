"""Dead letters in the browser: looked at, replayed, discarded; by who may."""

from pathlib import Path

from playwright.async_api import Browser, expect

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.admin.test_access import ADD_VIEWER, in_shell
from tests.admin.visitor import Visitor, visiting
from tests.eventually import eventually
from tests.harness import Client, SidecarProcess
from tests.management.test_outbox import make_too_old

PATH = "/admin/entitlements/outboxentry/"
HOSTILE = '"><img src=x onerror=alert(1)>'


async def _a_dead_letter(emulator: Emulator, sidecar: SidecarProcess, client: Client) -> None:
    """A good event that is delivered, and one that the cloud refuses."""
    request = pb.ReportEventsRequest(
        events=[
            pb.Event(event_name="opened", customer_id="customer-1", idempotency_key="good"),
            pb.Event(event_name=HOSTILE, customer_id="nobody", idempotency_key="poison"),
        ]
    )
    emulator.faults.set("graphql", "down")
    await client.ReportEvents(request, timeout=15)
    emulator.faults.set(
        "graphql", "errors_200", customer_id="nobody", code="CustomerNotFound", message="no such customer"
    )
    await sidecar.printed("the cloud refused a write of the outbox")


async def test_a_dead_letter_is_looked_at_and_replayed(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, visitor: Visitor, tmp_path: Path
) -> None:
    """With the cloud's reason; asked twice where the cloud may have it; once taken it is gone, and logged."""
    await _a_dead_letter(emulator, sidecar, client)
    page = visitor.page

    await visitor.open(PATH)
    row = page.locator("tr", has_text="no such customer")
    await expect(row).to_contain_text("nobody")
    await row.locator("summary").click()
    await expect(row.locator("pre")).to_contain_text('"idempotency_key": "poison"')
    assert 0 == await page.locator("img[src=x]").count()

    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("Choose dead letters first.")).to_be_visible()
    emulator.faults.clear("graphql")
    make_too_old(tmp_path)
    await page.get_by_label("Choose event").check()
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("Replay 1 dead letter that the cloud may have?")).to_be_visible()
    assert 1 == (await sidecar.parts())["outbox"]["dead"]
    await page.get_by_role("button", name="Replay all the same").click()

    await expect(page.get_by_text("Replayed: 1. Delivered: 1.")).to_be_visible()
    await emulator.state.ledger.events_reached(2, timeout_seconds=20)
    await visitor.open("/admin/entitlements/auditentry/")
    await expect(page.get_by_role("row", name="outbox.replay")).to_contain_text("count: 1")


async def test_to_discard_is_asked_for_twice(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, visitor: Visitor
) -> None:
    await _a_dead_letter(emulator, sidecar, client)
    page = visitor.page

    await visitor.open(PATH)
    await page.get_by_label("All of them (1)").check()
    await page.get_by_role("button", name="Discard").click()
    await expect(page.get_by_text("Discard all dead letters for good?")).to_be_visible()
    assert 1 == (await sidecar.parts())["outbox"]["dead"]
    await page.get_by_role("button", name="Discard for good").click()

    await expect(page.get_by_text("Discarded: 1.")).to_be_visible()
    await expect(page.get_by_text("None: the cloud refused nothing.")).to_be_visible()
    assert ["good"] == list(emulator.state.ledger.keys())


async def test_what_waits_is_discarded(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, visitor: Visitor
) -> None:
    """One by one or all of it; asked twice, logged, and what is left is delivered."""
    emulator.faults.set("graphql", "down")
    for key in ("first", "second", "third"):
        event = pb.Event(event_name="opened", customer_id="customer-1", idempotency_key=key)
        await client.ReportEvents(pb.ReportEventsRequest(events=[event]), timeout=15)
    page = visitor.page
    await sidecar.printed("the outbox waits for the cloud")

    await visitor.open(PATH)
    await expect(page.get_by_role("status")).to_contain_text("The cloud did not take the last delivery: it ")
    await expect(page.get_by_role("status")).to_contain_text("The next try is in")
    await expect(page.locator(".sidecar-figures")).to_contain_text("of 100.7 MB, and")
    await page.get_by_role("button", name="Discard waiting").click()
    await expect(page.get_by_text("Choose waiting writes first.")).to_be_visible()
    await page.get_by_label("Choose waiting event").first.check()
    await page.get_by_role("button", name="Discard waiting").click()
    await expect(page.get_by_text("Discard 1 waiting write for good?")).to_be_visible()
    assert 3 == (await sidecar.parts())["outbox"]["waiting"]
    await page.get_by_role("button", name="Discard for good").click()
    await expect(page.get_by_text("Discarded: 1.")).to_be_visible()
    await page.get_by_label("All that waits (2), and all dead letters (0)").check()
    await page.get_by_role("button", name="Discard waiting").click()
    await page.get_by_role("button", name="Discard for good").click()

    await expect(page.get_by_text("Nothing: all that was promised is delivered.")).to_be_visible()

    async def nothing_waits() -> bool:
        return not (await sidecar.parts())["outbox"]["waiting"]

    await eventually(nothing_waits)  # it is looked at once a second
    await visitor.open("/admin/entitlements/auditentry/")
    discarded = page.get_by_role("row", name="all that waited, and all dead letters")
    await expect(discarded).to_contain_text("count: 2")


async def test_a_viewer_looks_and_changes_nothing(
    emulator: Emulator, browser: Browser, sidecar: SidecarProcess, client: Client, tmp_path: Path
) -> None:
    """Explains as well; no button, and what is sent without one is refused."""
    await _a_dead_letter(emulator, sidecar, client)
    await in_shell(emulator, tmp_path, ADD_VIEWER)
    async with visiting(browser, sidecar.http_port) as viewer:
        await viewer.log_in("viewer")
        await viewer.open(PATH)
        await expect(viewer.page.get_by_text("no such customer")).to_be_visible()
        assert 0 == await viewer.page.get_by_role("button", name="Replay").count()
        await viewer.open("/admin/explain/?customer=nobody&feature=f")
        await expect(viewer.page.get_by_role("status")).to_contain_text("Denied")
        assert 0 == await viewer.page.get_by_role("link", name="Fallback rules of this feature").count()
        cookies = {each["name"]: each["value"] for each in await viewer.page.context.cookies()}
        sent: dict[str, str | float | bool] = {"all": "1", "csrfmiddlewaretoken": cookies["sidecar_csrf"]}
        answers = [
            await viewer.page.context.request.post(viewer.address + PATH, form={**sent, **asked})
            for asked in ({"act": "replay"}, {"act": "discard", "waiting": "1", "sure": "1"})
        ]
        added = await viewer.page.context.request.get(
            viewer.address + "/admin/entitlements/fallbackrule/add/"
        )

    assert [403, 403, 403] == [each.status for each in (*answers, added)]
    assert 1 == (await sidecar.parts())["outbox"]["dead"]
