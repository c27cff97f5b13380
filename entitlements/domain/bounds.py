"""The ends of the whole numbers that the wire can take."""

import math

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
"""The wire's whole numbers."""


def int32(number: float) -> int:
    """Rounded toward zero and clamped."""
    return max(INT32_MIN, min(INT32_MAX, math.trunc(number)))
