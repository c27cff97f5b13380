"""Who may have the admin's pages made, and how often: before a name is looked up or a password hashed.

A page costs milliseconds of Python, a login a third of a second of processor, and checks want both. So few
are made at a time, and strangers have them at a bounded rate, by address and all together.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network, ip_address

from entitlements.domain.token_bucket import Rate, TokenBucket
from sidecar_project.http_bounds import refused
from sidecar_project.monitoring import Answer, Application, Receive, Scope, Send, reply

PAGES_AT_A_TIME = 2
"""How many requests are under way; all others wait for their turn."""
MAX_WAITING = 32
"""How many wait; one more is refused with a Retry-After."""
WAIT_SECONDS = 5.0
HELD_SECONDS = 1.0
"""A refusal is held back for so long: who asks again at once is thereby slow, and costs little."""
MAX_HELD = 100
"""How many are held at a time; those beyond are sent at once."""
MAX_ADDRESSES = 1000
"""How many are counted apart; the one not seen for longest is forgotten."""
IPV6_NETWORK_BITS = 64
"""Whoever has one address of such a network has all of them."""


PAGES = Rate(burst=150, per_second=20)
"""Of one address. A person's click asks for a page and a dozen files, which the browser then keeps."""
ALL_PAGES = Rate(burst=300, per_second=40)
LOGINS = Rate(burst=8, per_second=1 / 6)
"""Of one address, whatever the names; failures of one name are counted by axes besides."""
ALL_LOGINS = Rate(burst=16, per_second=1 / 2)
"""Of this process, since each costs a third of a second of a processor."""


class Throttle:
    """Holds each address to a rate, and all together to another."""

    def __init__(self, each: Rate, together: Rate, monotonic: Callable[[], float]) -> None:
        self._each = each
        self._monotonic = monotonic
        self._together = TokenBucket(together, monotonic)
        self._by_address: OrderedDict[str, TokenBucket] = OrderedDict()

    def try_take(self, address: str) -> bool:
        """Takes one for an address; who is over its own rate takes nothing from the others."""
        bucket = self._by_address.pop(address, None) or TokenBucket(self._each, self._monotonic)
        self._by_address[address] = bucket
        if len(self._by_address) > MAX_ADDRESSES:
            self._by_address.popitem(last=False)
        return bucket.try_take() and self._together.try_take()


class Admission:
    """Lets requests through to the pages, or refuses them at next to no cost."""

    def __init__(self, pages: Application, *, login_path: str, monotonic: Callable[[], float]) -> None:
        self._pages = pages
        self._login_path = login_path
        self._requests = Throttle(PAGES, ALL_PAGES, monotonic)
        self._logins = Throttle(LOGINS, ALL_LOGINS, monotonic)
        self._turns = asyncio.Semaphore(PAGES_AT_A_TIME)
        self._present = 0
        """Requests under way or waiting."""
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admits one request, or answers 429 or 503."""
        address = network_of((scope.get("client") or ("",))[0])
        if not self._requests.try_take(address):
            await self._refuse(send, "too_many_requests", HTTPStatus.TOO_MANY_REQUESTS)
        elif self._is_login(scope) and not self._logins.try_take(address):
            await self._refuse(send, "too_many_logins", HTTPStatus.TOO_MANY_REQUESTS)
        elif self._present >= PAGES_AT_A_TIME + MAX_WAITING or not await self._is_served(
            scope, receive, send
        ):
            await self._refuse(send, "pages_busy", HTTPStatus.SERVICE_UNAVAILABLE)

    def _is_login(self, scope: Scope) -> bool:
        return bool(scope["method"] == "POST" and scope["path"] == self._login_path)

    async def _is_served(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """False when its turn did not come in time."""
        self._present += 1
        try:
            try:
                await asyncio.wait_for(self._turns.acquire(), WAIT_SECONDS)
            except TimeoutError:
                return False
            try:
                await self._pages(scope, receive, send)
            finally:
                self._turns.release()
        finally:
            self._present -= 1
        return True

    async def _refuse(self, send: Send, cause: str, status: HTTPStatus) -> None:
        refused(cause, "a stranger asked for pages too often")
        if self._held < MAX_HELD:
            self._held += 1
            try:
                await asyncio.sleep(HELD_SECONDS)
            finally:
                self._held -= 1
        body = b"Too many requests for the admin's pages. Wait a moment, then try again.\n"
        await reply(send, Answer(body, status), (b"retry-after", b"10"))


def network_of(address: str) -> str:
    """What one visitor cannot change at will."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), IPV6_NETWORK_BITS), strict=False))
