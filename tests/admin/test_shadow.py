"""What another sidecar answers otherwise, side by side in the browser."""

from pathlib import Path

from playwright.async_api import Browser, expect

from emulator.server import Emulator
from tests.admin.visitor import ON_CALL, Visitor, visiting
from tests.cloud_states import metered_state
from tests.grpc_service.standing import built, standing
from tests.harness import client_of, running_sidecar, usage_of

HOSTILE = '"><img src=x onerror=alert(1)>'


async def test_both_answers_are_shown_field_by_field(
    emulator: Emulator, browser: Browser, tmp_path: Path
) -> None:
    """What stays different, with where each came from; the ids are hashed, and nothing of them is run."""
    emulator.state.put(HOSTILE, metered_state(limit=10), push=False)
    other = built(tmp_path / "other", {HOSTILE: metered_state(limit=11)})
    async with (
        standing(other) as (address, _),
        running_sidecar(
            emulator,
            tmp_path / "ours",
            **ON_CALL,
            SIDECAR_SHADOW_ADDRESS=address,
            SIDECAR_SHADOW_SAMPLE="1",
        ) as sidecar,
        client_of(sidecar) as client,
        visiting(browser, sidecar.http_port) as visitor,
    ):
        await sidecar.following()
        await usage_of(client, HOSTILE)
        await visitor.log_in()
        page = visitor.page
        await visitor.open("/admin/shadow/")
        await expect(page.get_by_role("status")).to_contain_text("No difference that lasts was found")
        while not (await sidecar.parts())["shadow"]["lasting"]:
            await page.wait_for_timeout(200)
        await page.get_by_role("link", name="Shadow").click()

        await expect(page.get_by_role("status")).to_contain_text("answers some reads otherwise")
        row = page.locator("tr", has_text="entitlement.usage_limit")
        cells = [each.strip() for each in await row.locator("td").all_inner_texts()]
        text = await visitor.text()
        metric = (
            'sidecar_shadow_differences_total{field="entitlement.usage_limit",method="GetMeteredEntitlement"}'
        )
        counted = await sidecar.metric(metric)

    assert ["entitlement.usage_limit", "10.0", "11.0", "stays different"] == cells
    assert "Ours knew: memory, fresh, " in text
    assert "GetMeteredEntitlement of " in text
    assert HOSTILE not in text
    assert 1 == counted


async def test_without_the_variable_the_page_says_so(common_visitor: Visitor) -> None:
    await common_visitor.open("/admin/shadow/")

    await expect(common_visitor.page.get_by_role("status")).to_contain_text(
        "SIDECAR_SHADOW_ADDRESS is not set"
    )
