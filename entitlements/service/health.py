"""May this process serve, and how is each of its parts (contract/operations.md, Ports)?"""

from collections.abc import Callable, Mapping

PartState = Mapping[str, object]
"""What a part tells of itself: JSON values under words that people know."""


class Health:
    """Readiness is one switch; the parts are asked when somebody looks."""

    def __init__(self) -> None:
        self._serving = False
        self._parts: dict[str, Callable[[], PartState]] = {}

    @property
    def is_serving(self) -> bool:
        """True between `start_serving` and `stop_serving`; no outage of others changes it."""
        return self._serving

    def start_serving(self) -> None:
        """All listeners are up."""
        self._serving = True

    def stop_serving(self) -> None:
        """The process drains: balancers should look elsewhere."""
        self._serving = False

    def add_part(self, name: str, state: Callable[[], PartState]) -> None:
        """Has a part tell its state; `state` is called from any thread, and must not wait."""
        self._parts[name] = state

    def parts(self) -> Mapping[str, PartState]:
        """The state of every part, by its name."""
        return {name: state() for name, state in self._parts.items()}
