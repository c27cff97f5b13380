"""SIDECAR_HTTP_PORT of a whole sidecar, in front of the emulator."""

import asyncio
import json
import shlex
import shutil
import signal
import statistics
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from emulator.server import Emulator
from grpc_service.reads import SERVICE
from tests.cloud_states import boolean_state
from tests.documentation.pages import PAGES, commands, fenced
from tests.eventually import MOST_SECONDS
from tests.harness import ROOT, client_of, http_client, is_granted, running_sidecar

DEMO = "127.0.0.1:8081"
OK, UNAUTHORIZED = 200, 401
STILL_READING = 28
"""curl's exit code when its time is over."""


async def test_http_and_grpc_answer_the_same(emulator: Emulator, tmp_path: Path) -> None:
    """A miss, a hit, a report, with the token; the part and the metric report it."""
    token_file = tmp_path / "token"
    token_file.write_text("a-token-of-the-test\n")
    emulator.state.put("c", boolean_state(), push=False)
    variables = {"SIDECAR_HTTP_PORT": "0", "SIDECAR_HTTP_TOKEN_FILE": str(token_file)}
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        url = f"http://127.0.0.1:{sidecar.api_port}/{SERVICE}"
        headers = {"Authorization": "Bearer a-token-of-the-test"}
        async with http_client(headers=headers) as client:
            asked = {"customerId": "c", "featureId": "f"}
            missed = await client.post(f"{url}/GetBooleanEntitlement", json=asked)
            hit = await client.get(
                f"{url}/GetBooleanEntitlement", params={"encoding": "json", "message": json.dumps(asked)}
            )
            reloaded = await client.post(f"{url}/ReloadEntitlements", json={"customerId": "c"})
            unreadable = await client.post(
                f"{url}/GetBooleanEntitlement",
                content=b"\xff",
                headers={"Content-Type": "application/proto"},
            )
        async with client_of(sidecar) as grpc_client:
            granted = await is_granted(grpc_client, "c")
        parts = await sidecar.parts()
        requests = await sidecar.metric('sidecar_http_api_requests_total{door="connect",status="200"}')

    assert granted is missed.json()["hasAccess"] is hit.json()["hasAccess"] is True
    assert "memory" == hit.headers["trailer-stigg-source"]
    assert {"entitledEntityExists": True} == reloaded.json()
    assert 400 == unreadable.status_code
    assert "invalid_argument" == unreadable.json()["code"]
    assert 3 == requests
    assert parts["http"]["problem"] is None
    assert "a-token-of-the-test" not in sidecar.output


async def test_a_change_in_the_cloud_is_announced_to_who_watches(emulator: Emulator, tmp_path: Path) -> None:
    """Whoever asks then gets what is new; the stream ends with the process."""
    emulator.state.put("c", boolean_state(), push=False)
    async with (
        running_sidecar(emulator, tmp_path, SIDECAR_HTTP_PORT="0") as sidecar,
        client_of(sidecar) as asked,
    ):
        await sidecar.following()
        before = await is_granted(asked, "c")
        url = f"http://127.0.0.1:{sidecar.api_port}/v1/watch?customer=c"
        async with (
            http_client(timeout=MOST_SECONDS) as client,
            client.stream("GET", url) as response,
        ):
            lines = response.aiter_lines()
            while await anext(lines) != ": watching":
                pass
            emulator.state.put("c", boolean_state(granted=False))
            while not (await anext(lines)).startswith("data:"):
                pass
            after = await is_granted(asked, "c")
            watchers = (await sidecar.parts())["http"]["watchers"]
            sidecar.process.send_signal(signal.SIGTERM)
            rest = [line async for line in lines]

    assert before
    assert not after
    assert 1 == watchers
    assert [] == [line for line in rest if line]


async def test_a_change_is_announced_soon(emulator: Emulator, tmp_path: Path) -> None:
    """In the median: 200 ms where a check takes one."""
    emulator.state.put("c", boolean_state(), push=False)
    announced, checked = [], []
    async with (
        running_sidecar(emulator, tmp_path, SIDECAR_HTTP_PORT="0") as sidecar,
        client_of(sidecar) as asked,
        http_client(timeout=20) as client,
    ):
        await sidecar.following()
        assert await is_granted(asked, "c")
        url = f"http://127.0.0.1:{sidecar.api_port}/v1/watch?customer=c"
        async with client.stream("GET", url) as response:
            lines = response.aiter_lines()
            while await anext(lines) != ": watching":
                pass
            for number in range(1, 21):
                stamp = f"2026-06-01T00:00:{number:02}.000Z"
                began = time.monotonic()
                emulator.state.put("c", boolean_state(granted=number % 2 == 0, updated_at=stamp))
                while not (await anext(lines)).startswith("data:"):
                    pass
                announced.append(time.monotonic() - began)
                began = time.monotonic()
                assert await is_granted(asked, "c") is (number % 2 == 0)
                checked.append(time.monotonic() - began)

    assert statistics.median(announced) < 200 * statistics.median(checked)


async def test_a_rotated_token_is_asked_for_without_a_restart(emulator: Emulator, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("first-token-of-the-test")
    variables = {"SIDECAR_HTTP_PORT": "0", "SIDECAR_HTTP_TOKEN_FILE": str(token_file)}

    async def status(token: str) -> int:
        async with http_client() as client:
            url = f"http://127.0.0.1:{sidecar.api_port}/{SERVICE}/GetBooleanEntitlement"
            headers = {"Authorization": f"Bearer {token}"}
            asked = {"customerId": "c", "featureId": "f"}
            return (await client.post(url, json=asked, headers=headers)).status_code

    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        before = await status("second-token-of-the-test")
        token_file.write_text("second-token-of-the-test")
        async with asyncio.timeout(MOST_SECONDS):
            while await status("second-token-of-the-test") != OK:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.05)
        after = await status("first-token-of-the-test")

    assert UNAUTHORIZED == before
    assert UNAUTHORIZED == after
    assert "second-token-of-the-test" not in sidecar.output


def curl_commands() -> list[str]:
    """Those that ask the demo's sidecar; its emulator is asked in tests/emulator/test_control.py."""
    typed = [command.text for page in PAGES for command in commands(page)]
    return [text for text in typed if text.startswith("curl ") and DEMO in text]


async def test_curl_of_the_pages_is_answered(tmp_path: Path) -> None:
    """Each as it is written, but for the port."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    async with (
        Emulator() as emulator,
        running_sidecar(emulator, tmp_path, SIDECAR_HTTP_PORT="0") as sidecar,
    ):
        for text in curl_commands():
            words = shlex.split(text.replace(DEMO, f"127.0.0.1:{sidecar.api_port}"))
            goes_on = "/v1/watch" in text
            options = ("--fail", "--silent", *(("--max-time", "0.5") if goes_on else ("--show-error",)))
            process = await asyncio.create_subprocess_exec(*words, *options, stdout=PIPE, stderr=PIPE)
            answer, trouble = await process.communicate()

            assert (STILL_READING if goes_on else 0) == process.returncode, text
            assert b"" == trouble, text
            assert answer if goes_on else json.loads(answer), text


async def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    """As it is written, but for the port."""
    (snippet,) = (text for word, text in fenced(ROOT / "docs/http.md") if word == "python")
    async with (
        Emulator() as emulator,
        running_sidecar(emulator, tmp_path, SIDECAR_HTTP_PORT="0") as sidecar,
    ):
        program = snippet.replace(DEMO, f"127.0.0.1:{sidecar.api_port}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=PIPE, stderr=PIPE
        )
        printed, trouble = await process.communicate()

    assert b"True\n25\n" == printed, trouble.decode()


def evaluated(url: str) -> dict[str, object]:
    """What the published provider makes of each type."""
    api.set_provider(OFREPProvider(url))
    client = api.get_client()
    customer = EvaluationContext("customer-demo")
    asked = {
        "sso": client.get_boolean_details("feature-sso", False, customer),
        "denied": client.get_boolean_details("feature-audit-log", True, customer),
        "templates": client.get_integer_details("feature-templates", 0, customer),
        "regions": client.get_object_details("feature-regions", {}, customer),
        "calls": client.get_boolean_details("feature-api-calls", False, customer),
        "limit": client.get_integer_details("feature-api-calls:limit", 0, customer),
        "unknown": client.get_boolean_details("feature-none", True, customer),
    }
    return {name: details.error_code or details.value for name, details in asked.items()}


async def test_the_published_provider_evaluates_every_type(tmp_path: Path) -> None:
    async with (
        Emulator() as emulator,
        running_sidecar(emulator, tmp_path, SIDECAR_HTTP_PORT="0") as sidecar,
    ):
        answers = await asyncio.to_thread(evaluated, f"http://127.0.0.1:{sidecar.api_port}")

    assert {
        "sso": True,
        "denied": False,
        "templates": 25,
        "regions": {"values": ["eu", "us"]},
        "calls": True,
        "limit": 1000,
        "unknown": ErrorCode.FLAG_NOT_FOUND,
    } == answers
