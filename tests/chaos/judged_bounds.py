"""Judges what is bounded: overrides by their time, requests by the budget, a recovery by its rush."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from entitlements.domain.request_budget import BURST_SECONDS, MINUTE_SECONDS
from tests.chaos.records import Grant, Happened, OverrideSeen, Run
from tests.chaos.verdict import Kind, Violation, late, violation_of

OVERRIDE_SECONDS = 1.0
"""An override has ended on every process after this."""
SMOOTH_SECONDS = 5.0
"""Over so long the requests after an outage are counted."""
OUTAGES = frozenset({"cloud", "slow feed", "line", "network"})
"""Families of faults after which the cloud is back."""
CROWD = "crowd of 10,000"
WRITES_PER_SECOND = 7.0
"""The load alone makes so many requests."""

GO_STATUSES = {"Unavailable": "UNAVAILABLE", "DeadlineExceeded": "DEADLINE_EXCEEDED"}


def bounds(run: Run) -> Iterator[Violation]:
    """What went beyond a bound."""
    yield from _overrides(run)
    yield from _budget(run)
    yield from _recoveries(run)
    yield from _clients(run)
    if run.redirected:
        words = f"{run.redirected} requests followed a redirection to where the cloud is not"
        yield violation_of(run, Kind.LURED, run.ended, words)


def _overrides(run: Run) -> Iterator[Violation]:
    for seen in run.overrides_seen:
        begun = [grant for grant in run.grants if grant.began <= seen.ended]
        if seen.is_granted and all(_outlived(run, grant, seen) for grant in begun):
            late = seen.started - max((grant.ends_by for grant in begun), default=run.began)
            words = f"{seen.instance} granted by an override that had ended {late:.1f} s before"
            yield violation_of(run, Kind.OVERRIDDEN, seen.started, words)


def _outlived(run: Run, grant: Grant, seen: OverrideSeen) -> bool:
    late_seconds = late(run, grant.ends_by, seen.started)
    return seen.started > grant.ends_by + OVERRIDE_SECONDS + late_seconds


def _budget(run: Run) -> Iterator[Violation]:
    """The fullest minute says."""
    at = sorted(asked.at for asked in run.asked if asked.kind.startswith("edge"))
    counts = [(bisect_left(at, began + MINUTE_SECONDS) - number, began) for number, began in enumerate(at)]
    most, began = max(counts, default=(0, 0.0))
    if most > run.edge_per_minute:
        words = f"{most} requests to the Edge within a minute; {run.edge_per_minute:g} are allowed"
        yield violation_of(run, Kind.SPENT, began, words)


def _recoveries(run: Run) -> Iterator[Violation]:
    at = sorted(asked.at for asked in run.asked if not asked.kind.startswith("ws"))
    calm_until = min((fault.began for fault in run.happened), default=run.ended)
    calm_seconds = max(1.0, calm_until - run.began)
    steady = max(WRITES_PER_SECOND, _count(at, run.began, run.began + calm_seconds) / calm_seconds)
    most = 2 * steady * SMOOTH_SECONDS + run.edge_per_minute / MINUTE_SECONDS * BURST_SECONDS
    for fault in run.happened:
        if fault.family in OUTAGES and not _has_a_crowd(run, fault.ended, fault.ended + SMOOTH_SECONDS):
            count = _count(at, fault.ended, fault.ended + SMOOTH_SECONDS)
            if count > most:
                words = (
                    f"{count} requests within {SMOOTH_SECONDS:g} s after {fault.fault}, at most {most:.0f}"
                )
                yield violation_of(run, Kind.ROUGH, fault.ended, words)


def _has_a_crowd(run: Run, began: float, ended: float) -> bool:
    """True when customers were asked for whom nobody knew: the cloud is asked for each of them."""
    return any(
        fault.fault == CROWD and fault.began <= ended and began <= fault.ended for fault in run.happened
    )


def _clients(run: Run) -> Iterator[Violation]:
    """Who follows no health sees a dead instance; and nothing else."""
    is_fair = {name: not any(_strikes(fault, name) for fault in run.happened) for name in ("a", "b")}
    for who, (instance, counts) in run.beside.items():
        excused = {"OK"} if is_fair[instance] else {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
        if "0.05 s" in who or "0.5 s" in who:
            excused.add("DEADLINE_EXCEEDED")
        if failed := {status: count for status, count in counts.items() if _plain(status) not in excused}:
            words = f"{who}, calling {instance}: {failed}"
            yield violation_of(run, Kind.FAILED, run.ended, words)


def _strikes(fault: Happened, instance: str) -> bool:
    return fault.family in {"process", "network"} and instance in fault.targets


def _plain(status: str) -> str:
    """Go writes them in its own way."""
    return GO_STATUSES.get(status, status)


def _count(at: Sequence[float], began: float, ended: float) -> int:
    return bisect_left(at, ended) - bisect_left(at, began)
