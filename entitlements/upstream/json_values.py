"""JSON of others: each value is taken if it is what it should be, else it counts as absent."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from entitlements import metrics
from entitlements.domain.moments import EARLIEST_MS, LATEST_MS, ms_from_iso
from entitlements.json_fields import finite_number, sendable

logger = logging.getLogger(__name__)

JsonObject: TypeAlias = Mapping[str, Any]

MAX_KINDS_LOGGED = 100
"""How many kinds of what is not understood are logged; all are counted."""
_logged: set[str] = set()
MAX_ISO_CHARACTERS = 40
"""A longer text of a moment is read anew each time, so that what is remembered stays small."""
_ms_from_iso = lru_cache(4096)(ms_from_iso)
"""Most moments of an answer stand in it many times, and in the next customer's as well."""


def skipped(what: str, detail: object = "") -> None:
    """Counts what was not understood, and logs each kind once; `what` is one of a bounded set of names.

    Of a detail that is no string only its type is logged: an integer can have too many digits to be written.
    """
    metrics.UPSTREAM_SKIPPED.labels(what).inc()
    if what not in _logged and len(_logged) < MAX_KINDS_LOGGED:
        _logged.add(what)
        logger.warning(
            "a part of the cloud's answer was not understood and is skipped: %s %.40s",
            what,
            detail if isinstance(detail, str) else type(detail).__name__,
        )


def text(value: object) -> str | None:
    """A string, or None; half a surrogate pair, which JSON can name and no wire carries, becomes `?`."""
    if not isinstance(value, str):
        return None
    return sendable(value)


def identifier(value: object) -> str | None:
    """An id: a string that is not empty and all of whose characters can be sent, or None.

    Nothing in it is fixed: what is almost an id is almost another's.
    """
    return value if isinstance(value, str) and value and text(value) == value else None


def flag(value: object) -> bool | None:
    """A boolean, or None."""
    return value if isinstance(value, bool) else None


number = finite_number


def child(value: object) -> JsonObject | None:
    """An object, or None."""
    return value if isinstance(value, dict) else None


def moment_ms(value: object) -> int | None:
    """Epoch milliseconds of an ISO 8601 string or of a number of milliseconds, or None."""
    if value is None:
        return None
    if isinstance(value, str):
        found = _ms_from_iso(value) if len(value) <= MAX_ISO_CHARACTERS else ms_from_iso(value)
    else:
        found = _from_number(number(value))
    if found is None or not EARLIEST_MS <= found <= LATEST_MS:
        skipped("date", value)
        return None
    return found


def _from_number(value: float | None) -> int | None:
    return None if value is None else int(value)
