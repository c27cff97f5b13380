"""How long an override lasts, as people write it: `30m`, `1h`, `2d`."""

import re

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FORM = re.compile(r"([0-9]{1,9})([smhd])")


def duration_ms(text: str) -> int:
    """The milliseconds of a duration.

    Raises:
        ValueError: the text is none.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None:
        message = "duration must be a whole number and its unit, such as 30m, 1h or 2d"
        raise ValueError(message)
    return int(found[1]) * _UNITS_MS[found[2]]
