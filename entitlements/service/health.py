"""May this process serve, and how is each of its parts (contract/operations.md, Ports)?"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from entitlements import metrics
from entitlements.domain.moments import moment_from_ms
from entitlements.domain.ports import Clock
from entitlements.rate_limited_log import RateLimitedLog

logger = logging.getLogger(__name__)

UNREPORTED = (
    "A defect of ours keeps this part from reporting its state: the log has its traceback. It may be well."
)
LOOK_SECONDS = 1.0
"""The precision of `since`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartState:
    """What a part reports of itself."""

    problem: str | None = None
    """One of a bounded set; None while all is well."""
    meaning: str
    """One sentence: what it means for callers, and what a person can do."""
    details: Mapping[str, object] = field(default_factory=dict)
    """JSON values under names that people know."""


@dataclass(frozen=True, slots=True)
class _Seen:
    problem: str | None
    since_ms: int


class Health:
    """Readiness is one switch; the parts are looked at regularly, and when somebody asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_at = clock.monotonic()
        self._serving = False
        self._parts: dict[str, Callable[[], PartState]] = {}
        self._seen: dict[str, _Seen] = {}
        self._log = RateLimitedLog(logger, clock.monotonic)

    @property
    def is_serving(self) -> bool:
        """True between `start_serving` and `stop_serving`; no outage of others changes it."""
        return self._serving

    @property
    def uptime_seconds(self) -> float:
        """Since the process built its parts."""
        return self._clock.monotonic() - self._started_at

    def start_serving(self) -> None:
        """All listeners are up."""
        self._serving = True
        metrics.READY.set(1)

    def stop_serving(self) -> None:
        """The process drains: balancers should look elsewhere."""
        self._serving = False
        metrics.READY.set(0)

    def add_part(self, name: str, state: Callable[[], PartState]) -> None:
        """Has a part report its state; `state` is called from any thread, and must not wait."""
        self._parts[name] = state

    def parts(self) -> Mapping[str, Mapping[str, object]]:
        """How every part is, by its name: problem, since when, what it means, and its details."""
        return {name: self._look_at(name, self._reported(name, state)) for name, state in self._parts.items()}

    async def watch(self) -> None:
        """Looks at every part again and again, so that `since` is right when somebody asks; never ends."""
        while True:
            self.parts()
            await asyncio.sleep(LOOK_SECONDS)

    def _reported(self, name: str, state: Callable[[], PartState]) -> PartState:
        try:
            return state()
        except Exception as error:  # noqa: BLE001 - logged and counted; one broken part must not hide the others
            self._log.error(name, "a part could not report its state part=%s", name, exc_info=error)
            metrics.BACKGROUND_SKIPPED.labels("health").inc()
            return PartState(problem="untold", meaning=UNREPORTED)

    def _look_at(self, name: str, state: PartState) -> Mapping[str, object]:
        seen = self._seen.get(name)
        if seen is None or seen.problem != state.problem:
            seen = self._seen[name] = _Seen(state.problem, self._clock.now_ms())
        return {
            "problem": state.problem,
            "since": moment_from_ms(seen.since_ms).isoformat(timespec="seconds"),
            "meaning": state.meaning,
            **state.details,
        }
