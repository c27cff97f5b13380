"""The rules that a decision passed, in order; kept for a person who asks why, and for nobody else."""

import enum
from dataclasses import dataclass
from typing import TypeAlias

from entitlements.domain.entitlement import Entitlement
from entitlements.domain.override import Override
from entitlements.domain.reason import AccessDeniedReason


class Rule(enum.Enum):
    """A rule of contract/evaluation.md; the value is its name in documents."""

    QUESTION = "question"
    """The question can be answered; the subject is the field that is not usable."""
    OVERRIDE = "override"
    """A person has it answered instead of the cloud; the subject is the override."""
    DATA = "data"
    """Something is known of the customer; the subject is why not."""
    ENTITLEMENT = "entitlement"
    """The feature or currency is among what is known; the subject is the entitlement as it is held."""
    KIND = "kind"
    """It is of the kind that the typed method asks for."""
    PERIOD = "period"
    """A usage period that is over starts again at zero; the subject is the meter as it was."""
    CLOUD = "cloud"
    """The cloud itself does not deny it."""
    CREDITS = "credits"
    """The balance that the feature draws on is not exhausted; the subject is that balance."""
    INCLUDED = "included"
    """A feature without a meter is granted by being there."""
    VALUES = "values"
    """Every requested value is permitted."""
    UNLIMITED = "unlimited"
    """A meter without a limit grants."""
    SOFT_LIMIT = "soft_limit"
    """A limit that may be exceeded grants."""
    LIMIT = "limit"
    """Usage and request are within the limit."""
    BALANCE = "balance"
    """The balance covers the request."""
    FALLBACK = "fallback"
    """There was nothing to decide from: a configured value answers."""


Subject: TypeAlias = Entitlement | Override | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule that was passed, or that ended the matter."""

    rule: Rule
    reason: AccessDeniedReason | None = None
    """Why the rule denies; None where it lets pass or does not decide."""
    subject: Subject = None
    """What the rule looked at."""


class Trail:
    """Told every rule as it is applied; this one keeps nothing, so that a check costs no more."""

    __slots__ = ()

    def note(
        self, rule: Rule, reason: AccessDeniedReason | None = None, subject: Subject = None
    ) -> AccessDeniedReason | None:
        """Returns the rule's reason, so that deciding and noting are one act."""
        del rule, subject
        return reason


NO_TRAIL = Trail()


class KeptTrail(Trail):
    """Keeps the steps in their order."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def note(
        self, rule: Rule, reason: AccessDeniedReason | None = None, subject: Subject = None
    ) -> AccessDeniedReason | None:
        """Keeps the step and returns its reason."""
        self.steps.append(Step(rule=rule, reason=reason, subject=subject))
        return reason
