"""The demo as a newcomer runs it: two processes, an invitation, and nothing left behind."""

import re
import signal
from pathlib import Path

import pytest

from tests.harness import environment_for, http_client, spawned
from tests.redis_server import free_port

CUSTOMERS = """
customers:
  acme:
    entitlementsV2:
      - __typename: FeatureEntitlement
        isGranted: true
        feature: {refId: feature-sso, featureType: BOOLEAN}
"""


def free_ports() -> dict[str, str]:
    names = ("GRPC_PORT", "METRICS_PORT", "SIDECAR_HTTP_PORT", "EMULATOR_PORT")
    return {name: str(free_port()) for name in names}


async def test_the_demo_answers_what_it_invites_to_ask(tmp_path: Path) -> None:
    """No account, no key, no Redis; Ctrl-C ends all of it."""
    ports = free_ports()
    environment = environment_for(None, tmp_path) | ports
    async with spawned(environment, "--demo") as demo:
        await demo.printed("manage.py ask customer-demo feature-api-calls")

        asking = environment_for(None, tmp_path) | ports
        async with spawned(asking, "customer-demo", "feature-api-calls", command="ask") as ask:
            code = await ask.process.wait()
            await ask.stop()
        assert code == 0
        assert "used: 420 of 1,000 calls" in ask.output
        invited = await demo.printed("/admin/ as demo, password ")
        await _log_in(*re.findall(r"(http://\S+/admin/) as (\S+), password (\S+)", invited)[0])

        assert await demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in demo.output


async def _log_in(url: str, username: str, password: str) -> None:
    """The admin lets this user in, and nobody with another password."""
    async with http_client() as browser:
        page = await browser.get(f"{url}login/")
        token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
        cookie = page.headers["Set-Cookie"].split(";")[0]
        for tried, status in ((password + "?", 200), (password, 302)):
            fields = {"csrfmiddlewaretoken": token, "username": username, "password": tried}
            headers = {"Referer": url, "Cookie": cookie}
            answer = await browser.post(f"{url}login/", data=fields, headers=headers)
            assert status == answer.status_code, answer.text


async def test_a_demo_without_the_emulator_s_packages_is_reported_in_a_sentence(tmp_path: Path) -> None:
    """The image has none of them."""
    missing = tmp_path / "aiohttp.py"
    missing.write_text("raise ModuleNotFoundError(\"No module named 'aiohttp'\", name='aiohttp')")
    environment = environment_for(None, tmp_path / "data", PYTHONPATH=str(tmp_path))
    async with spawned(environment, "--demo") as sidecar:
        code = await sidecar.process.wait()
        await sidecar.stop()

    assert 1 == code
    assert 1 == sidecar.output.count("\n")
    assert "--demo needs the emulator and its packages, and aiohttp is not installed here" in sidecar.output


async def test_a_second_demo_says_which_variable_to_set_and_leaves_the_first_alone(tmp_path: Path) -> None:
    """Both are given the same ports and the same folder."""
    ports = free_ports()
    environment = environment_for(None, tmp_path) | ports
    async with spawned(environment, "--demo") as first:
        await first.printed("manage.py ask customer-demo feature-api-calls")
        async with spawned(environment, "--demo") as second:
            code = await second.process.wait()
            await second.stop()
        async with spawned(environment, "customer-demo", "feature-sso", command="ask") as ask:
            answered = await ask.process.wait()
            await ask.stop()
        await first.stop(signal.SIGINT)

    assert code == 1
    assert second.output.count("\n") == 1
    assert "set EMULATOR_PORT to another port, or to 0 for a free one" in second.output
    assert answered == 0


async def test_the_demo_knows_the_customers_of_a_file(tmp_path: Path) -> None:
    """In the offline file's form; a mistake in it is a sentence."""
    ports = free_ports()
    environment = environment_for(None, tmp_path) | ports
    file = tmp_path / "customers.yaml"
    file.write_text(CUSTOMERS)
    async with spawned(environment, "--demo", "--customers", str(file)) as demo:
        await demo.printed("manage.py ask customer-demo feature-api-calls")
        async with spawned(environment, "acme", "feature-sso", command="ask") as ask:
            answered = await ask.process.wait()
            await ask.stop()
        await demo.stop(signal.SIGINT)

    assert answered == 0

    file.write_text(CUSTOMERS.replace("feature-sso", "''"))
    async with spawned(environment, "--demo", "--customers", str(file)) as refused:
        code = await refused.process.wait()
        await refused.stop()

    assert code == 1
    place = "customers.acme.entitlementsV2[0].feature.refId"
    assert f"customers.yaml: {place}: it must be a string that is not empty" in refused.output


@pytest.mark.parametrize("port", ["http", "65536", "-1"])
async def test_a_port_of_the_emulator_that_is_none_is_reported_by_its_variable(
    port: str, tmp_path: Path
) -> None:
    environment = environment_for(None, tmp_path, EMULATOR_PORT=port)
    async with spawned(environment, "--demo") as demo:
        code = await demo.process.wait()
        await demo.stop()

    assert code == 1
    assert f"EMULATOR_PORT is '{port}'; it must be a port, or 0 for a free one" in demo.output
