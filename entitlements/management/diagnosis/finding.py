"""What an examination found."""

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    """How a part is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but hardly as meant."""
    FAULT = "fault"
    """It keeps the sidecar from working as configured."""
    SKIPPED = "skipped"
    """It is not in use, or cannot be examined before something else is fixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One part, how it is, and what fixes it."""

    part: str
    verdict: Verdict
    message: str
    """One sentence."""
    fix: str = ""
    """What to do; nothing where nothing is wrong."""


def ok(part: str, message: str) -> Finding:
    """All is well."""
    return Finding(part=part, verdict=Verdict.OK, message=message)


def fault(part: str, message: str, *, fix: str) -> Finding:
    """It does not work."""
    return Finding(part=part, verdict=Verdict.FAULT, message=message, fix=fix)


def warning(part: str, message: str, *, fix: str) -> Finding:
    """It works, but."""
    return Finding(part=part, verdict=Verdict.WARNING, message=message, fix=fix)


def skipped(part: str, message: str) -> Finding:
    """It was not examined."""
    return Finding(part=part, verdict=Verdict.SKIPPED, message=message)
