"""Fixtures only: a browser, and somebody who may log in."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from django.contrib.auth.models import User
from django.test import Client as DjangoClient
from playwright.async_api import Browser, async_playwright
from pytest_asyncio import is_async_test

from emulator.server import Emulator
from tests.admin.visitor import ON_CALL, Visitor, visiting
from tests.harness import Client, SidecarProcess, client_of, running_sidecar

HERE = Path(__file__).parent
NO_CHROMIUM = "no Chromium is installed: the admin is not tested in a browser (apt-get install chromium)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of this folder share a loop: a browser answers on the one that it was started on."""
    for item in items:
        if HERE in item.path.parents and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, without a window: one for all, each visitor of which has cookies of their own."""
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
def on_call(db: None) -> DjangoClient:
    """Somebody who may do everything, at this process's own pages: no browser and no socket."""
    client = DjangoClient(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("on-call", password=None))
    return client


@pytest_asyncio.fixture(loop_scope="session")
async def emulator() -> AsyncIterator[Emulator]:
    """A Stigg cloud that knows nobody."""
    async with Emulator(states={}) as emulator:
        yield emulator


@pytest_asyncio.fixture(loop_scope="session")
async def sidecar(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SidecarProcess]:
    """A sidecar with a user of the admin, following the emulator's feed."""
    async with running_sidecar(emulator, tmp_path, SIDECAR_OVERRIDES="1", **ON_CALL) as sidecar:
        await sidecar.following()
        yield sidecar


@pytest_asyncio.fixture(loop_scope="session")
async def client(sidecar: SidecarProcess) -> AsyncIterator[Client]:
    """A grpcio client of it."""
    async with client_of(sidecar) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser, sidecar: SidecarProcess) -> AsyncIterator[Visitor]:
    """A person who has logged in; leaving fails on whatever their browser complained about."""
    async with visiting(browser, sidecar.http_port) as visitor:
        await visitor.log_in()
        yield visitor


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def common_emulator() -> AsyncIterator[Emulator]:
    """The same for all tests that only look; each has customers of its own, and none breaks it."""
    async with Emulator(states={}) as emulator:
        yield emulator


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def started_sidecar(
    common_emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SidecarProcess]:
    """In front of it."""
    async with running_sidecar(common_emulator, tmp_path_factory.mktemp("common"), **ON_CALL) as sidecar:
        await sidecar.following()
        yield sidecar


@pytest_asyncio.fixture(loop_scope="session")
async def common_sidecar(started_sidecar: SidecarProcess) -> SidecarProcess:
    """It follows the feed again, which stood still with the loop that it is served on, between the tests."""
    await started_sidecar.following()
    return started_sidecar


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def common_client(started_sidecar: SidecarProcess) -> AsyncIterator[Client]:
    """A grpcio client of it."""
    async with client_of(started_sidecar) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def common_login(browser: Browser, started_sidecar: SidecarProcess) -> dict[str, str]:
    """The cookies of a person who has logged in there."""
    async with visiting(browser, started_sidecar.http_port) as visitor:
        await visitor.log_in()
        return await visitor.cookies()


@pytest_asyncio.fixture(loop_scope="session")
async def common_visitor(
    browser: Browser, common_sidecar: SidecarProcess, common_login: dict[str, str]
) -> AsyncIterator[Visitor]:
    """That person."""
    async with visiting(browser, common_sidecar.http_port, cookies=common_login) as visitor:
        yield visitor
