"""The frame of all pages: who comes in, where the files come from, and what is there without it."""

from pathlib import Path

from playwright.async_api import Browser, Route, expect

from emulator.server import Emulator
from tests.admin.visitor import Visitor, visiting
from tests.harness import SidecarProcess, http_client, running_sidecar


async def test_a_visitor_logs_in_and_sees_the_overview(
    browser: Browser, common_sidecar: SidecarProcess
) -> None:
    """Secure cookies reach http://localhost; all files come from the sidecar itself; the page reloads."""
    async with visiting(browser, common_sidecar.http_port) as visitor:
        await visitor.log_in_by_page()
        await expect(visitor.page.get_by_role("heading", name="Overview").first).to_be_visible()
        await expect(visitor.page.get_by_role("status")).to_contain_text("Healthy")
        await expect(visitor.page.get_by_role("link", name="Users")).to_be_visible()

        cookies = {each["name"]: each for each in await visitor.page.context.cookies()}
        assert cookies["sidecar_session"]["secure"]
        assert cookies["sidecar_session"]["httpOnly"]
        await _loads_itself_again(visitor)


async def _loads_itself_again(visitor: Visitor) -> None:
    """Not while something is typed; else after its interval, which is shortened here on its way."""
    page = visitor.page
    field = page.get_by_label("Customer id, or a part of it")
    typed = []
    for text in ("", "cust", ""):
        await field.fill(text)
        typed.append(await page.evaluate("isTyped()"))
    assert [False, True, False] == typed

    async def shorten(route: Route) -> None:
        answer = await route.fetch()
        text = await answer.text()
        await route.fulfill(response=answer, body=text.replace('seconds="30"', 'seconds="0.1"'))

    await page.route("**/admin/", shorten, times=1)
    await visitor.open("/admin/")
    async with page.expect_navigation(url="**/admin/"):
        pass


async def test_a_stranger_sees_a_login_page_and_nothing_else(
    browser: Browser, common_sidecar: SidecarProcess
) -> None:
    async with visiting(browser, common_sidecar.http_port) as stranger:
        for path in ("/admin/", "/admin/auth/user/", "/admin/nothing", "/admin/search/?s=a"):
            await stranger.open(path)
            assert "/admin/login/" in stranger.page.url, path
        text = await stranger.text()

    assert "Log in" in text
    for word in ("Overview", "Cached", "0.1.0", "Redis", "Outbox"):
        assert word not in text


async def test_without_the_admin_there_are_no_routes(emulator: Emulator, tmp_path: Path) -> None:
    async with running_sidecar(emulator, tmp_path, SIDECAR_ADMIN_ENABLED="0") as sidecar:
        assert 404 == (await sidecar.get("/admin/")).status_code
        assert 404 == (await sidecar.get("/static/entitlements/admin.css")).status_code
        assert 200 == (await sidecar.get("/readyz")).status_code


async def test_pages_forbid_what_they_do_not_need(common_sidecar: SidecarProcess) -> None:
    """CSP, no frames, no sniffing; and no script may stand in a page."""
    async with http_client() as client:
        headers = (await client.get(f"http://127.0.0.1:{common_sidecar.http_port}/admin/login/")).headers

    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self' 'unsafe-eval'", "frame-ancestors 'none'"} <= set(policy)
    assert "DENY" == headers["x-frame-options"]
    assert "nosniff" == headers["x-content-type-options"]
