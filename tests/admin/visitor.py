"""A person with a browser before the admin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, Page

USERNAME = "on-call"
PASSWORD = "correct horse battery staple"
WIDE, PHONE = (1280, 900), (390, 844)


@dataclass
class Visitor:
    """One browser tab, and all that its console complained about."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

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


@asynccontextmanager
async def visiting(
    browser: Browser, port: int, *, size: tuple[int, int] = WIDE, dark: bool = False, **options: Any
) -> AsyncIterator[Visitor]:
    """A visitor; leaving fails when the console told of an error, or a file came from elsewhere."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        **options,
    )
    page = await context.new_page()
    visitor = Visitor(page=page, address=f"http://localhost:{port}")
    complaints = visitor.complaints
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((visitor.address, "data:", "blob:"))
            else complaints.append(request.url)
        ),
    )
    yield visitor
    await context.close()
    assert not complaints, complaints
