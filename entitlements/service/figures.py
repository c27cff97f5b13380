"""Figures and ids as people read them: the same on every page, in every command and sentence."""

import json
from collections.abc import Sequence

from entitlements.domain.moments import moment_from_ms

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_DAY_MS = 24 * _HOUR_MS


def duration_from_ms(ms: float) -> str:
    """A span of time in at most two units."""
    days, hours = int(ms // _DAY_MS), int(ms % _DAY_MS // _HOUR_MS)
    minutes, seconds = int(ms % _HOUR_MS // _MINUTE_MS), int(ms % _MINUTE_MS // 1000)
    units = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s"))
    first = next((place for place, (count, _) in enumerate(units) if count), None)
    if first is None:
        return "less than 1 s"
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)


def date_from_ms(epoch_ms: int, *, timespec: str = "minutes") -> str:
    """A moment in UTC; one that no calendar holds stays a number."""
    try:
        moment = moment_from_ms(epoch_ms).replace(tzinfo=None)
    except OverflowError:
        return f"{epoch_ms} ms"
    return f"{moment.isoformat(sep=' ', timespec=timespec)} UTC"


def size_from_bytes(size_bytes: float) -> str:
    """Bytes in the largest unit that leaves a whole number of them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":  # noqa: PLR2004 - SI
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def amount(number: float) -> str:
    """A number with thousands apart, and a fraction only where there is one."""
    return f"{int(number):,}" if number == int(number) else f"{number:,.15g}"


def quoted(text: str) -> str:
    """An id or a value in quotes; control characters, which a terminal would obey, are spelled out."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def listed(values: Sequence[str]) -> str:
    """Values in quotes."""
    return ", ".join(map(quoted, values)) or "none"
