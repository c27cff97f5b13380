"""The way to the Stigg cloud: names, TLS, the clock, the key, the Edge, the API and the live feed."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from random import Random
from urllib.parse import SplitResult, urlsplit

import aiohttp

from entitlements.background import awaited, ended
from entitlements.composition import cloud_transport
from entitlements.config import SidecarConfig
from entitlements.domain.errors import Forbidden, KeyRefused, Untrusted, UpstreamError
from entitlements.domain.ports import Clock
from entitlements.management.diagnosis.finding import Finding, fault, ok, skipped, warning
from entitlements.upstream.edge import EdgeSource
from entitlements.upstream.feed import Feed, FeedPhase
from entitlements.upstream.feed_connection import FeedTimings
from entitlements.upstream.feed_protocol import Problem
from entitlements.upstream.graphql import GraphqlApi
from entitlements.upstream.transport import CloudTransport

STEP_SECONDS = 5.0
"""One step takes no longer."""
POLL_SECONDS = 0.05
MAX_SKEW_SECONDS = 30.0
"""A clock further off decides usage periods and expiry wrongly for longer than anybody would notice."""
_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_FIX_KEY = "take the full access key of this environment from Stigg, and put it into SERVER_API_KEY"
_FIX_TRUST = "set SSL_CERT_FILE to the certificate of its authority, or ask who intercepts TLS here"


async def examine_cloud(config: SidecarConfig, *, clock: Clock) -> AsyncIterator[Finding]:
    """Each part of the way, those it leads over first; a part behind a broken one is left out."""
    if config.offline:
        yield skipped("cloud", "OFFLINE: nobody is asked")
        return
    reached: set[str] = set()
    async with cloud_transport(config, clock) as http:
        for variable, url in config.cloud_urls.items():
            findings = [finding async for finding in _examine_way(http, variable, url)]
            for finding in findings:
                yield finding
            if all(not finding.fix for finding in findings):
                reached.add(variable)
        if "API_URL" in reached:
            yield await _clock(http, config.api_url, clock)
            api = GraphqlApi(http, base_url=config.api_url, clock=clock)
            yield await _service("API", "API_URL", api)
        if "EDGE_API_URL" in reached:
            edge = EdgeSource(http, base_url=config.edge_api_url, clock=clock)
            yield await _service("Edge", "EDGE_API_URL", edge)
        if "WS_URL" in reached:
            yield await _feed(http, config.ws_url, clock)


async def _examine_way(http: CloudTransport, variable: str, url: str) -> AsyncIterator[Finding]:
    """As far as this machine goes itself: where there is a proxy, the proxy finds the name of the cloud."""
    proxy = http.network.proxies.proxy_of(url)
    if proxy is not None:
        variable, url = f"the proxy for {variable}", proxy
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        async with asyncio.timeout(STEP_SECONDS):
            await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        message = f"the name {host} of {variable} is not found ({type(error).__name__})"
        yield fault("DNS", message, fix=f"correct {variable}, or the name servers of this machine")
        return
    yield ok("DNS", f"{host} of {variable} is found")
    yield await _connection(http, variable, parts, port)


async def _connection(http: CloudTransport, variable: str, parts: SplitResult, port: int) -> Finding:
    host = parts.hostname or ""
    secure = parts.scheme in {"https", "wss"}
    part = "TLS" if secure else "connection"
    try:
        async with asyncio.timeout(STEP_SECONDS):
            context = http.network.trust.context() if secure else None
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.close()
    except ssl.SSLCertVerificationError as error:
        message = f"the certificate of {host} ({variable}) is not trusted: {error.verify_message}"
        return fault(part, message, fix=_FIX_TRUST)
    except ssl.SSLError:
        return fault(part, f"{host} port {port} speaks no TLS", fix=f"correct the scheme of {variable}")
    except OSError as error:  # TimeoutError is one
        message = f"{host} port {port} ({variable}) does not take connections ({type(error).__name__})"
        return fault(
            "connection", message, fix=f"open the way there (firewall, proxy), or correct {variable}"
        )
    return ok(part, f"{host} port {port} of {variable} takes connections")


async def _clock(http: CloudTransport, url: str, clock: Clock) -> Finding:
    try:
        async with asyncio.timeout(STEP_SECONDS):
            answer = await http.ask("GET", url)
        await answer.close()
        moment = parsedate_to_datetime(answer.headers["Date"])
    except (aiohttp.ClientError, OSError, KeyError, ValueError):
        return skipped("clock", "the API sends no date")
    skew_seconds = clock.now_ms() / 1000 - moment.timestamp()
    if abs(skew_seconds) > MAX_SKEW_SECONDS:
        side = "ahead of" if skew_seconds > 0 else "behind"
        message = f"the clock here is {abs(skew_seconds):.0f} s {side} the API's"
        return fault("clock", message, fix="synchronise it (NTP): usage periods and expiry are decided by it")
    return ok("clock", f"it agrees with the API's within {MAX_SKEW_SECONDS:g} s")


async def _service(part: str, variable: str, service: GraphqlApi | EdgeSource) -> Finding:
    try:
        await service.check_key(budget_seconds=STEP_SECONDS)
    except (KeyRefused, Forbidden):
        return fault("key", f"the {part} refuses SERVER_API_KEY", fix=_FIX_KEY)
    except Untrusted as error:
        return fault("TLS", f"the {part} is not asked: {error}", fix=_FIX_TRUST)
    except UpstreamError as error:
        fix = f"see whether Stigg is well, or correct {variable}"
        return fault(part, f"the {part} does not answer as it should: {error}", fix=fix)
    return ok(part, f"the {part} answers, and takes the key")


class _Listener:
    """Nobody: what the feed sends is not kept."""

    async def followed(self) -> None:
        """Shows in the feed's state."""

    async def lost(self, cause: str) -> None:
        """Shows in the feed's state."""

    async def delivered(self, subscription: str, frame: str) -> None:
        """Is nobody's."""


async def _feed(http: CloudTransport, url: str, clock: Clock) -> Finding:
    feed = Feed(
        url=url,
        identity=http.identity,
        listener=_Listener(),
        clock=clock,
        random=Random(),  # noqa: S311 - for jitter
        timings=FeedTimings(handshake_seconds=STEP_SECONDS),
        network=http.network,
    )
    running = awaited(feed.run(), name="feed")
    with suppress(TimeoutError):
        async with asyncio.timeout(2 * STEP_SECONDS):
            while feed.state.phase in {FeedPhase.CONNECTING, FeedPhase.STOPPED}:  # noqa: ASYNC110 - a state
                await asyncio.sleep(POLL_SECONDS)
    state = feed.state
    await ended(running)
    if state.phase is FeedPhase.FOLLOWING:
        return ok("feed", "changes arrive as they happen")
    return _feed_problem(state.problem)


def _feed_problem(problem: Problem | None) -> Finding:
    message = f"the live feed cannot be followed ({'no answer' if problem is None else problem.value})"
    if problem is Problem.KEY_REFUSED:
        return fault("key", message, fix=_FIX_KEY)
    if problem is Problem.UNTRUSTED:
        return fault("TLS", message, fix=_FIX_TRUST)
    if problem is Problem.LAGGING:
        return warning("feed", "changes arrive late", fix="give it more of a processor, or wait")
    if problem is Problem.THROTTLED:
        return warning("feed", message, fix="wait: the cloud asks to slow down")
    fix = "let WebSockets through (proxies often do not), or set WS_ENABLED=false to do without"
    return fault("feed", message, fix=fix)
