"""Fixtures only: a browser, and somebody who may log in."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from emulator.server import Emulator
from tests.admin.visitor import PASSWORD, USERNAME, Visitor, visiting
from tests.harness import SidecarProcess, running_sidecar

NO_CHROMIUM = "no Chromium is installed: the admin is not tested in a browser (apt-get install chromium)"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip(NO_CHROMIUM)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """For SIDECAR_ADMIN_PASSWORD_FILE."""
    file = tmp_path / "admin-password"
    file.write_text(PASSWORD)
    return file


@pytest.fixture
async def sidecar(emulator: Emulator, tmp_path: Path, password_file: Path) -> AsyncIterator[SidecarProcess]:
    """A sidecar with a user of the admin, following the emulator's feed."""
    async with running_sidecar(
        emulator,
        tmp_path,
        SIDECAR_ADMIN_USERNAME=USERNAME,
        SIDECAR_ADMIN_PASSWORD_FILE=str(password_file),
    ) as sidecar:
        await sidecar.following()
        yield sidecar


@pytest.fixture
async def visitor(browser: Browser, sidecar: SidecarProcess) -> AsyncIterator[Visitor]:
    """A person who has logged in; leaving fails on whatever their browser complained about."""
    async with visiting(browser, sidecar.http_port) as visitor:
        await visitor.log_in()
        yield visitor
