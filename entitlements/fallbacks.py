"""The configured fallbacks in force."""

from collections.abc import Mapping

from entitlements.domain.fallback import FallbackValue


class ConfiguredRules:
    """The rules of ENTITLEMENTS_FALLBACK."""

    def __init__(self, rules: Mapping[str, FallbackValue]) -> None:
        self._rules = rules

    def current(self) -> Mapping[str, FallbackValue]:
        """By feature id; a snapshot that is never changed in place."""
        return self._rules
