"""A person with a browser before the admin."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from playwright.async_api import Browser, ConsoleMessage, Dialog, Error, Page, Request

USERNAME = "on-call"
PASSWORD = "correct horse battery staple"
QUICK_LOGINS = {"DJANGO_SETTINGS_MODULE": "tests.quick_logins"}
"""Variables of a sidecar that checks a password in no time."""
ON_CALL = {"SIDECAR_ADMIN_USERNAME": USERNAME, "SIDECAR_ADMIN_PASSWORD": PASSWORD, **QUICK_LOGINS}
"""Of one that such a person may enter."""
WIDE, PHONE = (1280, 900), (390, 844)


@dataclass
class Visitor:
    """One browser tab, and all that its console complained about."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    """What boxes said that a script opened; they are dismissed."""

    async def open(self, path: str) -> None:
        """Goes to a path of the sidecar."""
        await self.page.goto(self.address + path)

    async def log_in(self, username: str = USERNAME, password: str = PASSWORD) -> None:
        """Logs in past the page, which costs half a second of CPU."""
        send, address = self.page.context.request, self.address + "/admin/login/"
        await send.get(address)
        form: dict[str, str | float | bool] = {
            "csrfmiddlewaretoken": (await self.cookies())["sidecar_csrf"],
            "username": username,
            "password": password,
        }
        answer = await send.post(address, form=form, max_redirects=0)
        assert 302 == answer.status, await answer.text()

    async def log_in_by_page(self, username: str = USERNAME, password: str = PASSWORD) -> None:
        """Logs in from wherever the login page leads to."""
        await self.open("/admin/")
        await self.page.fill("#id_username", username)
        await self.page.fill("#id_password", password)
        await self.page.click("button[type=submit]")

    async def cookies(self) -> dict[str, str]:
        """Their values, by their names."""
        return {each["name"]: each["value"] for each in await self.page.context.cookies()}

    async def text(self) -> str:
        """What the page says."""
        return await self.page.inner_text("body")

    def on_console(self, line: ConsoleMessage) -> None:
        """Errors alone are complaints."""
        if line.type == "error":
            self.complaints.append(line.text)

    def on_error(self, error: Error) -> None:
        """What a script did not catch."""
        self.complaints.append(str(error))

    def on_request(self, request: Request) -> None:
        """Whatever comes from elsewhere is a complaint."""
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(request.url)

    async def on_dialog(self, dialog: Dialog) -> None:
        """Nobody sees it."""
        self.dialogs.append(dialog.message)
        await dialog.dismiss()


@asynccontextmanager
async def visiting(
    browser: Browser, port: int, *, cookies: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Visitor]:
    """A visitor, with what they have of an earlier visit.

    Leaving fails when the console showed an error, or a file came from elsewhere.

    All visitors sit at one tab, one after the other: a new one costs a second of CPU before its first page.
    """
    page = await _tab(browser)
    visitor = Visitor(page=page, address=f"http://localhost:{port}")
    await page.context.add_cookies(
        [{"name": name, "value": value, "url": visitor.address} for name, value in cookies.items()]
    )
    listeners = {
        "console": visitor.on_console,
        "pageerror": visitor.on_error,
        "request": visitor.on_request,
        "dialog": visitor.on_dialog,
    }
    for event, listener in listeners.items():
        page.on(event, listener)  # type: ignore[call-overload]  # one overload for each event
    try:
        yield visitor
    finally:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        await page.goto("about:blank")
        await page.context.clear_cookies()
    assert not visitor.complaints, visitor.complaints


WITHOUT_RELOAD = """
const later = window.setInterval;
window.setInterval = (act, ms, ...rest) => ms < 30000 ? later(act, ms, ...rest) : 0;
"""
"""On a busy machine a page may be looked at for longer than the overview stays.

To keep the script from the browser instead, by a route, would keep it from caching any file.
"""


async def _tab(browser: Browser) -> Page:
    """The one tab, as wide as a desk and in the light."""
    size = {"width": WIDE[0], "height": WIDE[1]}
    if not browser.contexts:
        context = await browser.new_context()
        await context.add_init_script(WITHOUT_RELOAD)
        await context.new_page()
    (page,) = browser.contexts[0].pages
    await page.set_viewport_size(size)  # type: ignore[arg-type]  # a dictionary of these two
    await page.emulate_media(color_scheme="light")
    return page
