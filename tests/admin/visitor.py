"""A person with a browser before the admin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, ConsoleMessage, Dialog, Error, Page, Request, Route

USERNAME = "on-call"
PASSWORD = "correct horse battery staple"
QUICK_LOGINS = {"DJANGO_SETTINGS_MODULE": "tests.quick_logins"}
"""Variables of a sidecar that checks a password in no time."""
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
        """Logs in from wherever the login page leads to."""
        await self.open("/admin/")
        await self.page.fill("#id_username", username)
        await self.page.fill("#id_password", password)
        await self.page.click("button[type=submit]")

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
async def visiting(browser: Browser, port: int) -> AsyncIterator[Visitor]:
    """A visitor; leaving fails when the console showed an error, or a file came from elsewhere.

    All visitors sit at one tab, one after the other: a new one costs a second of CPU before its first page.
    """
    page = await _tab(browser)
    visitor = Visitor(page=page, address=f"http://localhost:{port}")
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


async def _without_reload(route: Route) -> None:
    """On a busy machine a page may be looked at for longer than the overview stays; one test has it."""
    await route.fulfill(content_type="text/javascript", body="")


async def _tab(browser: Browser) -> Page:
    """The one tab, as wide as a desk and in the light."""
    size = {"width": WIDE[0], "height": WIDE[1]}
    if not browser.contexts:
        context = await browser.new_context()
        await context.route("**/reload.js", _without_reload)
        await context.new_page()
    (page,) = browser.contexts[0].pages
    await page.set_viewport_size(size)  # type: ignore[arg-type]  # a dictionary of these two
    await page.emulate_media(color_scheme="light")
    return page
