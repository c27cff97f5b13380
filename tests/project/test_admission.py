"""Strangers before the admin: how many of their requests are let through, and what the others learn."""

import asyncio
from http import HTTPStatus
from threading import get_ident
from typing import Any, ClassVar

import httpx
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.contrib.auth.models import User

from sidecar_project import admission, asgi
from sidecar_project.admission import ALL_LOGINS, LOGINS, MAX_WAITING, PAGES, PAGES_AT_A_TIME, Admission
from tests.eventually import eventually

LOGIN = "/admin/login/"


class Door:
    """The pages behind their guard."""

    def __init__(self) -> None:
        self.now = 0.0
        self.let_through = 0
        self.opened = asyncio.Event()
        self.opened.set()
        self.guard = Admission(self._page, login_path=LOGIN, monotonic=lambda: self.now)

    async def ask(self, address: str = "192.0.2.1", *, method: str = "POST", path: str = LOGIN) -> int:
        """The status of an answer."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "client": [address, 1]}
        await self.guard(scope, asyncio.Event().wait, send)
        return int(sent[0]["status"])

    async def _page(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.let_through += 1
        await self.opened.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    """Refusals are not held back here."""
    monkeypatch.setattr(admission, "HELD_SECONDS", 0)
    return Door()


async def test_one_address_logs_in_at_a_bounded_rate_whatever_the_names(door: Door) -> None:
    """The lockout of a name never applied to new names; another visitor still comes in."""
    first = [await door.ask() for _ in range(LOGINS.burst + 1)]
    another = await door.ask("192.0.2.2")
    door.now += 1 / LOGINS.per_second
    later = [await door.ask() for _ in range(2)]

    assert [200] * LOGINS.burst + [429] == first
    assert 200 == another
    assert [200, 429] == later


async def test_many_addresses_together_log_in_at_a_bounded_rate(door: Door) -> None:
    statuses = [await door.ask(f"192.0.2.{number}") for number in range(ALL_LOGINS.burst + 20)]

    assert ALL_LOGINS.burst == statuses.count(200)
    assert ALL_LOGINS.burst == door.let_through


async def test_many_addresses_of_one_network_are_one(door: Door) -> None:
    statuses = [await door.ask(f"2001:db8::{number:x}") for number in range(1, LOGINS.burst + 5)]

    assert LOGINS.burst == statuses.count(200)


async def test_pages_have_a_rate_of_their_own(door: Door) -> None:
    statuses = [await door.ask(method="GET") for _ in range(PAGES.burst + 5)]

    assert PAGES.burst == statuses.count(200)


async def test_few_are_made_at_a_time_and_few_wait(door: Door) -> None:
    """The others are refused at once, and those that wait are answered in the end."""
    door.opened.clear()
    asked = [
        asyncio.create_task(door.ask(method="GET", path="/admin/"))
        for _ in range(PAGES_AT_A_TIME + MAX_WAITING + 3)
    ]
    await eventually(lambda: sum(task.done() for task in asked) == 3 and door.let_through > 0)
    await asyncio.sleep(0)
    under_way = door.let_through
    door.opened.set()

    statuses = await asyncio.gather(*asked)

    assert PAGES_AT_A_TIME == under_way
    assert {200: PAGES_AT_A_TIME + MAX_WAITING, 503: 3} == {
        each: statuses.count(each) for each in set(statuses)
    }


async def test_who_waits_too_long_is_informed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that hangs keeps its turn; nobody waits for it without end."""
    monkeypatch.setattr(admission, "WAIT_SECONDS", 0.01)
    door.opened.clear()
    hanging = [asyncio.create_task(door.ask(method="GET")) for _ in range(PAGES_AT_A_TIME)]
    await eventually(lambda: door.let_through == PAGES_AT_A_TIME)

    assert 503 == await door.ask(method="GET")
    door.opened.set()
    assert [200] * PAGES_AT_A_TIME == await asyncio.gather(*hanging)


async def test_a_refusal_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again at once is slow thereby; of those who do not, few are held."""
    monkeypatch.setattr(admission, "HELD_SECONDS", 3600)
    monkeypatch.setattr(admission, "MAX_HELD", 1)
    door = Door()
    for _ in range(LOGINS.burst):
        await door.ask()

    held = asyncio.create_task(door.ask())
    await asyncio.sleep(0)

    assert 429 == await door.ask()
    assert not held.done()
    held.cancel()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_what_one_visitor_cannot_change_at_will(address: str, network: str) -> None:
    assert network == admission.network_of(address)


async def test_no_more_addresses_are_distinguished_than_there_is_room_for(door: Door) -> None:
    for number in range(admission.MAX_ADDRESSES + 50):
        door.now += 1
        await door.ask(f"10.0.{number // 256}.{number % 256}", method="GET")

    assert admission.MAX_ADDRESSES == len(door.guard._requests._by_address)


class NotedHasher(PBKDF2PasswordHasher):
    """Notes which threads hash."""

    algorithm = "noted"
    iterations = 1
    threads: ClassVar[list[int]] = []

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        self.threads.append(get_ident())
        return super().encode(password, salt, iterations)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["known", "unknown", "n" * 150])
async def test_a_password_is_hashed_beside_the_loop(settings: Any, name: str) -> None:
    """A third of a second of it there, and no call is answered meanwhile; whoever is named."""
    settings.PASSWORD_HASHERS = [f"{__name__}.NotedHasher"]
    await User.objects.acreate(username="known", password=make_password("right", hasher="noted"))
    NotedHasher.threads.clear()
    csrf = "a" * 64

    transport = httpx.ASGITransport(asgi._pages())
    async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
        answer = await client.post(
            LOGIN,
            data={"csrfmiddlewaretoken": csrf, "username": name, "password": "wrong"},
            headers={"Cookie": f"sidecar_csrf={csrf}"},
        )

    assert answer.status_code == HTTPStatus.OK
    assert NotedHasher.threads
    assert get_ident() not in NotedHasher.threads
