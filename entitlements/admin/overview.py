"""The overview: is it healthy, how fresh, how busy; in sentences first, in numbers below."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync
from django.http import HttpRequest

from entitlements.admin.history import HISTORY, RECENT_SECONDS, Point
from entitlements.admin.parts import NOTHING, State, ago, part, said_here
from entitlements.composition import VERSION, Sidecar, sidecar
from entitlements.domain.moments import moment_from_ms
from entitlements.service.figures import duration_from_ms, size_from_bytes

RELOAD_SECONDS = 30
"""The page is loaded again so often, while nobody types into it."""
_CHART_OPTIONS = json.dumps(
    {
        "animation": False,
        "maintainAspectRatio": False,
        "plugins": {"legend": {"display": False}},
        "scales": {
            "x": {"grid": {"display": False}, "ticks": {"maxTicksLimit": 5, "maxRotation": 0}},
            "y": {"beginAtZero": True, "suggestedMax": 1, "grid": {}, "ticks": {"maxTicksLimit": 5}},
        },
    }
)
_Parts = Mapping[str, State]


class Figure(NamedTuple):
    """One number at the top of the page."""

    title: str
    value: str
    detail: str


class Process(NamedTuple):
    """One of those that share a Redis."""

    name: str
    is_this: bool
    role: str
    version: str
    uptime: str
    entries: str
    problems: str
    seen: str


def context(request: HttpRequest) -> dict[str, Any]:
    """What the page shows."""
    built = sidecar()
    parts = built.health.parts()
    return {
        "title": "Overview",
        "problems": list(problems(parts, is_serving=built.health.is_serving)),
        "figures": _figures(built, parts),
        "requests_chart": _chart(HISTORY.points(), "requests", "Requests a second", "--color-primary-600"),
        "fallbacks_chart": _chart(HISTORY.points(), "fallbacks", "Fallbacks a second", "--color-orange-500"),
        "chart_options": _CHART_OPTIONS,
        "parts": [
            part(name, state, now_ms=built.clock.now_ms(), may=request.user.has_perm)
            for name, state in parts.items()
        ],
        "shares_redis": built.redis is not None,
        "processes": _processes(built, built.clock.now_ms()),
        "reload_seconds": RELOAD_SECONDS,
        "counts_all_workers": HISTORY.counts_all_workers,
        "version": VERSION,
        "uptime": duration_from_ms(built.health.uptime_seconds * 1000),
    }


def problems(parts: _Parts, *, is_serving: bool) -> Iterator[str]:
    """What a person should know first, one sentence each; nothing when all is well."""
    if not is_serving:
        yield "This process drains: balancers turn elsewhere."
    for state in parts.values():
        if state["problem"]:
            yield said_here(str(state["meaning"]))


def _figures(built: Sidecar, parts: _Parts) -> list[Figure]:
    span = HISTORY.since(RECENT_SECONDS)
    requests = hit_rate = fallbacks = NOTHING
    about = "nothing was asked yet"
    if span is not None:
        earlier, now = span
        seconds = max((now.at_ms - earlier.at_ms) / 1000, 1)
        about = f"in the last {duration_from_ms(seconds * 1000)}"
        requests = f"{(now.requests - earlier.requests) / seconds:,.1f} /s"
        reads = now.hits - earlier.hits + now.misses - earlier.misses
        hit_rate = f"{(now.hits - earlier.hits) / reads:.1%}" if reads else NOTHING
        fallbacks = f"{now.fallbacks - earlier.fallbacks:,.0f}"
    memory = parts["memory"]
    size = size_from_bytes(_number(memory["bytes"]))
    return [
        Figure("Requests", requests, about),
        Figure("Answered from the cache", hit_rate, about),
        Figure("Fallbacks", fallbacks, about),
        Figure("Freshness", *_freshness(built, parts["feed"])),
        Figure("Right when audited", *_audited(built)),
        Figure(
            "In memory",
            f"{memory['entries']:,}",
            f"{size} of this process",
        ),
    ]


def _freshness(built: Sidecar, feed: State) -> tuple[str, str]:
    if built.config.offline:
        return "Offline", "nobody is asked"
    if not feed["enabled"]:
        return (
            "By age",
            f"checked again after {duration_from_ms(built.config.sidecar_max_unverified_seconds * 1000)}",
        )
    if not feed["following"]:
        return "Suspect", (
            "a change may have been missed: what is cached is answered, and each is checked again when it is "
            f"next asked about; {feed['suspects_waiting']} wait for their turn"
        )
    last_ms = feed["last_event_ms"]
    if not last_ms:
        return "Live", "every change arrives; none came yet"
    return "Live", f"last change {duration_from_ms(built.clock.now_ms() - _number(last_ms))} ago"


def _audited(built: Sidecar) -> tuple[str, str]:
    audit = built.drift_audit
    if audit is None:
        return NOTHING, "nothing is audited"
    share = audit.right_share
    if share is None:
        return NOTHING, "nothing was audited yet"
    found = sum(audit.differences.values())
    return (
        f"{share:.0%}",
        f"differences from the cloud: {found:,}" if found else "no difference from the cloud",
    )


def _processes(built: Sidecar, now_ms: int) -> list[Process] | None:
    """All that share this one's Redis; None where that does not answer, or there is none."""
    if built.redis is None:
        return None
    heartbeats = async_to_sync(built.redis.heartbeats.read)()
    if heartbeats is None:
        return None
    own = built.redis.heartbeats.process
    return [
        Process(
            name=process,
            is_this=process == own,
            role=condition.role,
            version=condition.version,
            uptime=duration_from_ms(condition.up_seconds * 1000),
            entries=f"{condition.entries:,}",
            problems=", ".join(name.replace("_", " ") for name in condition.problems) or "none",
            seen=ago(now_ms - round(age_seconds * 1000), now_ms=now_ms),
        )
        for process, age_seconds, condition in heartbeats
    ]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _chart(points: list[Point], field: str, label: str, colour: str) -> str | None:
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    return json.dumps(
        {
            "labels": [f"{moment_from_ms(each.at_ms):%H:%M:%S}" for each in points],
            "datasets": [
                {
                    "label": label,
                    "data": [round(getattr(each, field), 2) for each in points],
                    "borderColor": f"var({colour})",
                    "backgroundColor": f"var({colour})",
                    "borderWidth": 2,
                    "pointRadius": 0,
                    "tension": 0.2,
                }
            ],
        }
    )
