"""May this process serve, and how is each of its parts (contract/operations.md, Ports)?"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """The last problem of a part, which may be over."""

    problem: str
    meaning: str
    seen_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What was seen of a part until its last look."""

    problem: str | None
    since_ms: int
    well_ms: int | None = None
    trouble: _Trouble | None = None


class Health:
    """Readiness is one switch; the parts are looked at regularly, and when somebody asks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_at = clock.monotonic()
        self._serving = False
        self._parts: dict[str, Callable[[], PartState]] = {}
        self._seen: dict[str, _Seen] = {}
        self._looking = threading.Lock()
        """Pages look from threads of their own: two looks at once would tell the metric of an old state."""
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
        now_ms = self._clock.now_ms()
        with self._looking:
            before = self._seen.get(name)
            seen = self._seen[name] = _seen_now(before, state, now_ms)
            if before is None or before.problem != seen.problem:
                _tell(name, None if before is None else before.problem, is_so=False)
                _tell(name, seen.problem, is_so=True)
        last = seen.trouble
        return {
            "problem": state.problem,
            "since": _iso(seen.since_ms),
            "meaning": state.meaning,
            "last_well": None if seen.well_ms is None else _iso(seen.well_ms),
            "last_problem": last
            and {"problem": last.problem, "meaning": last.meaning, "seen": _iso(last.seen_ms)},
            **state.details,
        }


def _seen_now(before: _Seen | None, state: PartState, now_ms: int) -> _Seen:
    seen = before or _Seen(problem=state.problem, since_ms=now_ms)
    if seen.problem != state.problem:
        seen = replace(seen, problem=state.problem, since_ms=now_ms)
    if state.problem is None:
        return replace(seen, well_ms=now_ms)
    return replace(seen, trouble=_Trouble(problem=state.problem, meaning=state.meaning, seen_ms=now_ms))


def _tell(name: str, problem: str | None, *, is_so: bool) -> None:
    if problem is not None:
        metrics.PART_PROBLEM.labels(name, problem).set(is_so)


def _iso(epoch_ms: int) -> str:
    return moment_from_ms(epoch_ms).isoformat(timespec="seconds")
