"""Which of the cached customers are fresh, suspect, stale or too stale: counted, filtered, put into order."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.http import HttpRequest

from entitlements.admin.holdings import COUNTED, ROWS, Accepts, anything, counted_in_memory
from entitlements.composition import Sidecar
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from entitlements.domain.freshness import state_of
from entitlements.domain.ports import Source

TOO_STALE = "too stale"
STATES: Mapping[str, str] = {
    "fresh": "confirmed, and every change since would have arrived",
    "suspect": "a change may have been missed: answered, and checked again when it is next asked about",
    "stale": "asked about again, and the cloud did not answer: the last that is known is answered",
    TOO_STALE: "past the bound of a rule or SIDECAR_MAX_STALE_SECONDS: a fallback answers",
}
"""What each of them means to who asks."""
Rank = Callable[[EntityKey, CachedEntity], Any]


class View(NamedTuple):
    """What a visitor has chosen to see."""

    state: str
    """One of STATES; empty: all."""
    sort: str
    """One of the orders; empty: the newest first, page by page."""

    @property
    def chosen(self) -> dict[str, str]:
        """For an address that leads to the same view."""
        return {name: text for name, text in self._asdict().items() if text}


def view_of(request: HttpRequest) -> View:
    """What the address says; what it says wrongly is as good as nothing."""
    state, sort = request.GET.get("state", ""), request.GET.get("sort", "")
    return View(state if state in STATES else "", sort if sort in _ORDERS else "")


def state_name(built: Sidecar, cached: CachedEntity, *, now: float) -> str:
    """One of STATES."""
    if cached.failed_at is not None:
        bounds = built.stale_bounds
        if bounds.is_too_stale("", cached, now=now) or bounds.are_any_passed(cached, now=now):
            return TOO_STALE
    return state_of(cached, trust=built.feed_applier.trust, now=now).value


def accepted(built: Sidecar, view: View) -> Accepts:
    """Those in the chosen state."""
    if not view.state:
        return anything
    now = built.clock.monotonic()
    return lambda cached: state_name(built, cached, now=now) == view.state


def rank_of(built: Sidecar, view: View) -> Rank | None:
    """What puts them into the chosen order; None: as they came."""
    return _ORDERS[view.sort](built) if view.sort else None


def choices(built: Sidecar, view: View, tier: Source, *, search: str) -> dict[str, Any]:
    """What the page offers: each state with its count, and the orders."""
    kept = {"q": search, "tier": tier.value}
    now = built.clock.monotonic()
    counts = (
        counted_in_memory(built.memory, lambda cached: state_name(built, cached, now=now))
        if tier is Source.MEMORY
        else None
    )
    return {
        "states": [
            {
                "name": name,
                "meaning": meaning,
                "count": None if counts is None else f"{counts[name]:,}",
                "is_chosen": name == view.state,
                "url": _address(kept | view.chosen | {"state": "" if name == view.state else name}),
            }
            for name, meaning in STATES.items()
        ],
        "orders": [
            {
                "name": name or "newest",
                "is_chosen": name == view.sort,
                "url": _address(kept | view.chosen | {"sort": name}),
            }
            for name in ("", *_ORDERS)
        ]
        if tier is Source.MEMORY
        else [],
        "view": view,
        "counted": f"{COUNTED:,}" if built.memory.entries > COUNTED else None,
        "rows_shown": ROWS if view.sort else None,
    }


def _address(asked: Mapping[str, str]) -> str:
    return f"?{urlencode({name: text for name, text in asked.items() if text})}"


_ORDERS: Mapping[str, Callable[[Sidecar], Rank]] = {
    "confirmed longest ago": lambda _: lambda __, cached: cached.confirmed_at,
    "largest": lambda built: lambda key, _: -(built.memory.size_of(key) or 0),
    "by id": lambda _: lambda key, __: (key.customer_id.casefold(), key.resource_id or ""),
}
