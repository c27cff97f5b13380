"""Whether what was measured was right: a fast wrong answer is worth nothing."""

import asyncio
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.load import Load, framed
from bench.scenarios import Question, Scenario
from bench.servers import Server, channel_to

CALL_SECONDS = 30.0


class WrongAnswer(Exception):
    """A reply was not what it should be; the text says which and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the sidecar counted since its start."""

    hits: float
    misses: float
    refused: float
    """Calls that ended otherwise than OK."""
    fallbacks: float


async def asked(server: Server, question: Question) -> bytes:
    """The reply that a real client gets, after a look at what is in it.

    Raises:
        WrongAnswer: it is not right.
    """
    async with channel_to(server) as channel:
        call: Any = channel.unary_unary(question.path)
        reply: bytes = await call(question.request.SerializeToString(), timeout=CALL_SECONDS)
    if not question.is_right(question.reply_type.FromString(reply)):
        message = f"{server.name} answered {question.method} wrongly: {question.reply_type.FromString(reply)}"
        raise WrongAnswer(message)
    return reply


async def counts(server: Server) -> Counts | None:
    """What the sidecar counted; None of a bare server, which counts nothing."""
    if server.sidecar is None:
        return None
    await asyncio.sleep(server.settle_seconds)
    return counts_in((await server.sidecar.get("/metrics")).text)


def counts_in(page: str) -> Counts:
    """The counts on a page of metrics."""
    totals = dict.fromkeys(("hits", "misses", "refused", "fallbacks"), 0.0)
    names = {
        "sidecar_cache_hits_total": "hits",
        "sidecar_cache_misses_total": "misses",
        "sidecar_grpc_requests_total": "refused",
        "sidecar_fallbacks_total": "fallbacks",
    }
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in names and sample.labels.get("code") != "OK":
                totals[names[sample.name]] += sample.value
    return Counts(**totals)


def compare(
    scenario: Scenario, load: Load, before: Counts | None, after: Counts | None, reply: bytes
) -> None:
    """Raises where a reply was not right.

    Args:
        scenario: what was measured.
        load: what it got.
        before: what the sidecar had counted before.
        after: what it has counted now.
        reply: the right reply to the scenario's question.

    Raises:
        WrongAnswer: a reply was not of the right length, or the sidecar refused, or fell back, or missed.
    """
    expected_bytes = load.requests * len(framed(reply))
    if load.reply_bytes < expected_bytes and not scenario.is_varied:
        message = f"{scenario.name}: {load.reply_bytes} bytes are too few for {load.requests} right replies"
        raise WrongAnswer(message)
    if before is None or after is None:
        return
    problems = {
        "calls refused": after.refused - before.refused,
        "fallbacks": after.fallbacks - before.fallbacks,
        "requests that were counted neither as hit nor as miss": load.requests
        - (after.hits + after.misses - before.hits - before.misses),
        "misses": 0 if scenario.makes_misses else after.misses - before.misses,
    }
    reported = [f"{number:.0f} {what}" for what, number in problems.items() if number > 0]
    if reported:
        message = f"{scenario.name}: {', '.join(reported)}"
        raise WrongAnswer(message)
