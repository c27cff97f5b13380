"""What the overview says first."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from django.test import Client as DjangoClient

from emulator.server import Emulator
from entitlements.admin.overview import problems
from tests.admin.test_access import Session
from tests.admin.visitor import PASSWORD, USERNAME
from tests.cloud_states import boolean_state
from tests.eventually import MOST_SECONDS, eventually
from tests.harness import client_of, environment_for, is_granted, spawned
from tests.redis_server import RedisServer

WELL: Mapping[str, object] = {"problem": None, "meaning": "Every change arrives."}


def test_nothing_is_said_when_all_is_well() -> None:
    assert [] == list(problems({"feed": WELL}, is_serving=True))


def test_each_trouble_is_reported_by_what_it_means() -> None:
    parts: dict[str, Mapping[str, object]] = {
        "feed": WELL,
        "redis": {"problem": "not_answering", "meaning": "Redis does not answer."},
    }

    assert ["Redis does not answer."] == list(problems(parts, is_serving=True))


def test_a_draining_process_says_so() -> None:
    assert ["This process drains: balancers turn elsewhere."] == list(problems({}, is_serving=False))


async def test_whichever_of_several_workers_answers_counts_all(emulator: Emulator, tmp_path: Path) -> None:
    """Both pages of both workers show one count, and say that they do; customers are those of Redis."""
    emulator.state.put("customer-x", boolean_state(), push=False)
    with RedisServer() as redis:
        environment = environment_for(
            emulator,
            tmp_path,
            REDIS_ENVIRONMENT_PREFIX="production",
            REDIS_PORT=str(redis.port),
            SIDECAR_ADMIN_USERNAME=USERNAME,
            SIDECAR_ADMIN_PASSWORD=PASSWORD,
        )
        async with spawned(environment, "--workers=2") as sidecar:
            await sidecar.started()
            await eventually(lambda: sidecar.output.count("listening: ") == 2)
            session = Session(sidecar)
            await session.log_in()
            async with client_of(sidecar) as client:
                for _ in range(300):
                    assert await is_granted(client, "customer-x")
            async with asyncio.timeout(MOST_SECONDS):
                while await _hit_rates(session) != {"99.7%"}:  # noqa: ASYNC110 - counts settle in a second
                    await asyncio.sleep(0.1)
            async with asyncio.timeout(MOST_SECONDS):
                while not await _shows_two_roles(session):  # noqa: ASYNC110 - said every five seconds
                    await asyncio.sleep(0.2)
            page = (await session.get("/admin/")).text
            listed = (await session.get("/admin/entitlements/cachedcustomer/")).text
            await sidecar.stop()
            left = redis.command("HLEN", "production:sidecar:heartbeats")

    assert "figures and charts count all of them" in page
    assert page.count("(this one)") == 1
    assert int(left) == 0
    assert "Several workers: this is Redis" in listed
    assert "customer-x" in listed


async def _shows_two_roles(session: Session) -> bool:
    """The list of processes, once the one that leads has said so."""
    page = (await session.get("/admin/")).text
    return sorted(re.findall(r'data-label="Role">(\w+)<', page)) == ["follower", "leader"]


async def _hit_rates(session: Session) -> set[str]:
    """What eight pages show; each comes over a connection of its own, from either worker."""
    pages = [(await session.get("/admin/")).text for _ in range(8)]
    figure = re.compile(r"Answered from the cache</dt>\s*<dd[^>]*>([^<]+)</dd>")
    return {found for page in pages for found in figure.findall(page)}


def test_the_overview_reports_every_part_in_one_format(on_call: DjangoClient) -> None:
    """No moment of 1970, no ISO text, no markup, no Python; moments stand behind how long ago they were."""
    page = on_call.get("/admin/").content.decode()
    shown = re.sub(r"<[^>]+>", " ", page.split("<h1", 1)[-1])

    assert "All times are UTC" in page
    assert re.search(
        r'<dt>so since</dt><dd><time title="20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC">[^<]+ ago</time>', page
    )
    assert "Without Redis no process knows of another" in page
    for never in ("1970", "{'", "[]", "`", "True", "None", "T2"):
        assert never not in shown, never
    assert not re.search(r"\d{4}-\d\d-\d\dT", shown)
