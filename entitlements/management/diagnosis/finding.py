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
    told: str
    """One sentence."""
    mend: str = ""
    """What to do; nothing where nothing is wrong."""


def ok(part: str, told: str) -> Finding:
    """All is well."""
    return Finding(part=part, verdict=Verdict.OK, told=told)


def fault(part: str, told: str, *, mend: str) -> Finding:
    """It does not work."""
    return Finding(part=part, verdict=Verdict.FAULT, told=told, mend=mend)


def warning(part: str, told: str, *, mend: str) -> Finding:
    """It works, but."""
    return Finding(part=part, verdict=Verdict.WARNING, told=told, mend=mend)


def skipped(part: str, told: str) -> Finding:
    """It was not examined."""
    return Finding(part=part, verdict=Verdict.SKIPPED, told=told)
