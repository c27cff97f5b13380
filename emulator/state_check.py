"""What a state must look like that a person hands in: a slip of the pen is a sentence, not a riddle later."""

from collections.abc import Mapping
from typing import Any

from emulator.usage import RefusedError

_ID_OF = {"FeatureEntitlement": ("feature", "refId"), "CreditEntitlement": ("currency", "currencyId")}
_FIELDS = frozenset({"accessDeniedReason", "entitlementsV2"})


def check_state(state: object) -> None:
    """Returns where it is `{accessDeniedReason?, entitlementsV2: [...]}`; else raises RefusedError."""
    if not isinstance(state, dict):
        raise _refusal("state", "an object with entitlementsV2")
    unknown = sorted(set(state) - _FIELDS)
    if unknown:
        place = f"state.{unknown[0]}"
        raise _refusal(place, "one of " + ", ".join(sorted(_FIELDS)))
    if not isinstance(state.get("accessDeniedReason"), str | None):
        raise _refusal("state.accessDeniedReason", "a string or null")
    entitlements = state.get("entitlementsV2", [])
    if not isinstance(entitlements, list):
        raise _refusal("state.entitlementsV2", "a list")
    for number, entitlement in enumerate(entitlements):
        _check_entitlement(entitlement, f"state.entitlementsV2[{number}]")


def _check_entitlement(entitlement: object, place: str) -> None:
    if not isinstance(entitlement, dict):
        raise _refusal(place, "an object")
    typename = entitlement.get("__typename")
    if typename not in _ID_OF:
        raise _refusal(place + ".__typename", " or ".join(_ID_OF))
    thing, id_ = _ID_OF[typename]
    named: Any = entitlement.get(thing)
    value = named.get(id_) if isinstance(named, Mapping) else None
    if not isinstance(value, str) or not value:
        raise _refusal(".".join((place, thing, id_)), "a string that is not empty")
    for number in ("usageLimit", "currentUsage"):
        held = entitlement.get(number)
        if isinstance(held, bool) or not isinstance(held, int | float | None):
            raise _refusal(".".join((place, number)), "a number or null")


def _refusal(place: str, expected: str) -> RefusedError:
    return RefusedError("BadUserInput", f"{place} must be {expected}")
