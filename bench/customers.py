"""What the emulated cloud knows while it is measured."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from bench.scenarios import CUSTOMERS, FEED_CUSTOMERS, customer_with
from emulator.catalogue import feature_entitlement, periodic
from emulator.usage import Json, Scope

NEW_CUSTOMERS = 20_000
"""How many misses can be made in one run: each needs a customer that was not asked about before."""


def varied_customer(number: int) -> str:
    """One of the customers among whom the varied load chooses."""
    return f"varied-{number}"


def new_customer(number: int) -> str:
    """One that nobody asked about before."""
    return f"new-{number}"


def feed_customer(number: int) -> str:
    """One whose changes the feed sends; the first is the one that is asked about."""
    return customer_with(10) if number == 0 else f"feed-{number}"


def state_with(entitlements: int, *, now_ms: int) -> Json:
    """A customer's state: features of every type in turn, each type's first by a plain name."""
    return {
        "accessDeniedReason": None,
        "entitlementsV2": list(islice(_features(now_ms), entitlements)),
    }


def states(now_ms: int) -> dict[Scope, Json]:
    """Everybody that any scenario asks about; those with equal entitlements share one object."""
    by_size: dict[Scope, Json] = {
        (customer_with(size), None): state_with(size, now_ms=now_ms) for size in (10, 100, 1000)
    }
    usual = state_with(10, now_ms=now_ms)
    names = [
        *map(varied_customer, range(CUSTOMERS)),
        *map(new_customer, range(NEW_CUSTOMERS)),
        *map(feed_customer, range(1, FEED_CUSTOMERS)),
    ]
    return by_size | {(name, None): usual for name in names}


def _features(now_ms: int) -> Iterator[Json]:
    kinds: dict[str, dict[str, Any]] = {
        "boolean": {},
        "numeric": {"feature_type": "NUMBER", "unit": "seat", "usageLimit": 25},
        "metered": {
            "feature_type": "NUMBER",
            "meter_type": "Incremental",
            "unit": "call",
            "usageLimit": 1_000_000,
            "currentUsage": 420,
            **periodic(now_ms, "MONTH"),
        },
        "enum": {"feature_type": "ENUM", "enumValues": ["eu", "us"]},
    }
    for name, fields in kinds.items():
        yield feature_entitlement(f"feature-{name}", now_ms=now_ms, **fields)
    number = 2
    while True:
        for name, fields in kinds.items():
            yield feature_entitlement(f"feature-{name}-{number}", now_ms=now_ms, **fields)
        number += 1
