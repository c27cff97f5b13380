"""The demo as a newcomer runs it: two processes, an invitation, and nothing left behind."""

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.harness import CALL_SECONDS, environment_for, spawned
from tests.redis_server import free_port

pytestmark = pytest.mark.timeout(90)


async def test_the_demo_answers_what_it_invites_to_ask(tmp_path: Path) -> None:
    """No account, no key, no Redis; Ctrl-C ends all of it."""
    ports = {"GRPC_PORT": str(free_port()), "METRICS_PORT": str(free_port())}
    environment = environment_for(None, tmp_path) | ports
    async with spawned(environment, "--demo") as demo:
        await demo.printed("manage.py ask customer-demo feature-api-calls")

        asking = environment_for(None, tmp_path) | ports
        async with spawned(asking, "customer-demo", "feature-api-calls", command="ask") as ask:
            code = await ask.process.wait()
            await ask.stop()
        assert code == 0
        assert "used: 420 of 1000 calls" in ask.output
        invited = await demo.printed("/admin/ as demo, password ")
        await _log_in(*re.findall(r"(http://\S+/admin/) as (\S+), password (\S+)", invited)[0])

        assert await demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in demo.output


async def _log_in(url: str, username: str, password: str) -> None:
    """The admin lets this user in, and nobody with another password."""
    async with httpx.AsyncClient(trust_env=False, timeout=CALL_SECONDS) as browser:
        page = await browser.get(f"{url}login/")
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        cookie = page.headers["Set-Cookie"].split(";")[0]
        for tried, status in ((password + "?", 200), (password, 302)):
            fields = {"csrfmiddlewaretoken": token, "username": username, "password": tried}
            headers = {"Referer": url, "Cookie": cookie}
            answer = await browser.post(f"{url}login/", data=fields, headers=headers)
            assert status == answer.status_code, answer.text


async def test_a_demo_without_the_emulator_s_packages_is_told_in_a_sentence(tmp_path: Path) -> None:
    """The image has none of them."""
    missing = tmp_path / "aiohttp.py"
    missing.write_text("raise ModuleNotFoundError(\"No module named 'aiohttp'\", name='aiohttp')")
    environment = environment_for(None, tmp_path / "data", PYTHONPATH=str(tmp_path))
    async with spawned(environment, "--demo") as sidecar:
        code = await sidecar.process.wait()
        await sidecar.stop()

    assert (1, 1) == (code, sidecar.output.count("\n"))
    assert "--demo needs the emulator and its packages, and aiohttp is not installed here" in sidecar.output
