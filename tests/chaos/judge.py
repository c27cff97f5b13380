"""Judges a run: what a client must never see, whatever the weather."""

from collections import defaultdict
from collections.abc import Iterator
from math import inf

from tests.chaos.client import METHODS, TRIES, TRY_SECONDS
from tests.chaos.faults import AFTERMATH_SECONDS
from tests.chaos.judged_bounds import bounds
from tests.chaos.left_open import left_open
from tests.chaos.machine import FETCH_BUDGET_SECONDS
from tests.chaos.records import KILLS, Answer, Death, FailedTry, Run, Version
from tests.chaos.verdict import STARVED_TIMES, Kind, Verdict, Violation, late, starved, violation_of
from tests.chaos.waiting import BUSY_SHARE

FINE_SECONDS = 2.0
"""While nothing touches the feed, an answer marked fresh lags the cloud no more; mostly it is 20 ms."""
ROUGH_SECONDS = 8.0
"""Else an answer marked fresh lags no more than this. A half-open feed is noticed after the idle time-out
(2 s) and a ping, a holder that died by its silence (3.5 s); unfollowed, an answer is trusted for
SIDECAR_MAX_UNVERIFIED_SECONDS (5 s)."""
OLDEST_SECONDS = 6.0
"""No answer, however marked, lags more than this of undisturbed time."""
SLOW_SECONDS = 2.0
"""A call takes no longer: Redis (0.3 s for the look-up and for the turn), then a fetch budget (1 s)."""
BREATH_SECONDS = 0.5
"""An instance that goes on after a pause has to catch up for so long."""
SHARED_AFTER_SECONDS = 1.0
"""What one worker fetched is in Redis for the others after this."""
TASK_SLACK = 32
"""A worker's: one that found the disk full when it started is not counted until it starts again."""


TOO_LATE = "DEADLINE_EXCEEDED"
STATES = frozenset({"fresh", "suspect", "stale", "estimate"})


def judge(run: Run) -> Verdict:
    """Find every violation of a run."""
    found = [
        *_failed(run),
        *(violation for answer in run.answers for violation in _judged(run, answer)),
        *_went_back(run),
        *_needless_fallbacks(run),
        *_writes(run),
        *bounds(run),
        *_end(run),
    ]
    return Verdict(run=run, violations=sorted(found, key=lambda each: each.at))


def _failed(run: Run) -> Iterator[Violation]:
    for read in run.failed_reads:
        tries = [each for each in read.tries if _was_given_up_late(run, each)]
        if tries or _was_kept_waiting(run, read.started, read.ended, tries=TRIES):
            continue
        words = f"{read.method} of {read.customer_id} was answered by nobody"
        yield violation_of(run, Kind.FAILED, read.started, words)
    for tried in run.failed_tries:
        if not _was_given_up_late(run, tried) and not _is_excused(
            run, tried.instance, tried.started, tried.ended
        ):
            words = f"{tried.method} by {tried.line} ended with {tried.status}, and nothing was done to it"
            yield violation_of(run, Kind.FAILED, tried.started, words)


def _was_given_up_late(run: Run, tried: FailedTry) -> bool:
    return tried.status.startswith(TOO_LATE) and _was_kept_waiting(run, tried.started, tried.ended)


def _was_kept_waiting(run: Run, began: float, ended: float, *, tries: int = 1) -> bool:
    """True when it was given up for its time, and had less of that than it may need."""
    given_seconds = tries * TRY_SECONDS
    own_seconds = given_seconds - late(run, began, ended)
    return ended - began >= given_seconds and own_seconds <= tries * SLOW_SECONDS


def _is_excused(run: Run, instance: str, began: float, ended: float) -> bool:
    """True when the instance was dead or paused meanwhile."""
    return any(
        fault.fault in KILLS
        and instance in fault.targets
        and fault.began <= ended
        and began <= fault.ended + BREATH_SECONDS
        for fault in run.happened
    )


def _judged(run: Run, answer: Answer) -> Iterator[Violation]:
    who = f"{answer.method} of {answer.customer_id} by {answer.line}"
    if _is_slow(run, answer) and not _is_excused(run, answer.instance, answer.started, answer.ended):
        yield violation_of(
            run, Kind.SLOW, answer.started, f"{who} took {answer.ended - answer.started:.1f} s"
        )
    if answer.is_fallback:
        return
    if not answer.source or answer.state not in STATES:
        words = f"{who} does not say where it comes from: {answer.source!r}, {answer.state!r}"
        yield violation_of(run, Kind.WRONG, answer.started, words)
    versions = run.truth.versions(answer.customer_id)
    shown = [index for index, version in enumerate(versions) if _shows(answer, version)]
    if answer.is_mixed or not shown:
        yield violation_of(run, Kind.WRONG, answer.started, f"{who} said what never was true: {answer}")
        return
    outdated_at = min((version.announced_at for version in versions[shown[-1] + 1 :]), default=answer.started)
    lag_seconds = answer.started - outdated_at
    if lag_seconds <= 0:
        return
    clear_seconds = _clear_seconds(run, outdated_at, answer.started)
    words = (
        f"{who}, {answer.source}, {answer.state}: outdated for {lag_seconds:.1f} s, {clear_seconds:.1f} clear"
    )
    late_seconds = late(run, outdated_at, answer.started)
    bound_seconds = ROUGH_SECONDS if _is_announced_late(run, outdated_at, answer.started) else FINE_SECONDS
    if answer.state in {"fresh", "estimate"} and lag_seconds > bound_seconds + late_seconds:
        yield violation_of(run, Kind.WRONG, answer.started, words)
    if clear_seconds > OLDEST_SECONDS + late_seconds:
        yield violation_of(run, Kind.OLD, answer.started, words)


def _is_slow(run: Run, answer: Answer) -> bool:
    """What was answered past its deadline was there in time: by so much the client was late to look."""
    took_seconds = answer.ended - answer.started
    late_seconds = late(run, answer.started, answer.ended)
    if answer.method in METHODS and took_seconds > TRY_SECONDS:
        late_seconds += STARVED_TIMES * (took_seconds - TRY_SECONDS)
        took_seconds = TRY_SECONDS
    return took_seconds > SLOW_SECONDS + late_seconds


def _shows(answer: Answer, version: Version) -> bool:
    if version.sent_at > answer.ended:
        return False
    if answer.number is not None:
        return version.number == answer.number
    return answer.is_granted == (version.number % 2 == 0)


def _is_announced_late(run: Run, began: float, ended: float) -> bool:
    """True when a fault, or its aftermath, stood between the cloud and those who follow it."""
    return any(
        fault.breaks_feed and fault.began <= ended and began <= fault.ended + fault.aftermath_seconds
        for fault in run.happened
    )


def _clear_seconds(run: Run, began: float, ended: float) -> float:
    """How much of that time no fault touched, nor its aftermath."""
    spans = sorted((fault.began, fault.ended + fault.aftermath_seconds) for fault in run.happened)
    clear_seconds, reached = 0.0, began
    for span_began, span_ended in spans:
        clear_seconds += max(0.0, min(span_began, ended) - reached)
        reached = max(reached, min(span_ended, ended))
    return clear_seconds + max(0.0, ended - reached)


def _went_back(run: Run) -> Iterator[Violation]:
    """One connection is one worker, and a worker does not forget."""
    newest: defaultdict[tuple[str, int, str], list[tuple[float, int]]] = defaultdict(list)
    for answer in sorted(run.answers, key=lambda each: each.ended):
        if answer.number is None or answer.is_fallback or answer.epoch < 0:
            continue
        said = newest[answer.line, answer.epoch, answer.customer_id]
        before = max((number for ended, number in said if ended < answer.started), default=answer.number)
        if before > answer.number:
            words = f"{answer.line} answered version {answer.number} of {answer.customer_id} after {before}"
            yield violation_of(run, Kind.WRONG, answer.started, words)
        said.append((answer.ended, answer.number))


def _needless_fallbacks(run: Run) -> Iterator[Violation]:
    known_by_line: dict[tuple[str, int, str], float] = {}
    known_by_anyone: dict[str, float] = {}
    redis_faults = [fault.began for fault in run.happened if fault.family in {"redis", "clock"}]
    first_redis_fault = min(redis_faults, default=inf)
    for answer in sorted(run.answers, key=lambda each: each.ended):
        place = (answer.line, answer.epoch, answer.customer_id)
        if not answer.is_fallback:
            known_by_line.setdefault(place, answer.ended)
            known_by_anyone.setdefault(answer.customer_id, answer.ended)
            continue
        who = f"{answer.method} of {answer.customer_id} by {answer.line}"
        if answer.epoch >= 0 and known_by_line.get(place, inf) < answer.started:
            yield violation_of(run, Kind.FALLBACK, answer.started, f"{who}: its memory held it")
        elif run.waits.was_busy(answer.started - AFTERMATH_SECONDS, answer.ended):
            continue
        elif (
            known_by_anyone.get(answer.customer_id, inf) + SHARED_AFTER_SECONDS + starved(run)
            < answer.started
            and answer.ended < first_redis_fault
        ):
            yield violation_of(run, Kind.FALLBACK, answer.started, f"{who}: Redis held it")
        elif starved(run) < FETCH_BUDGET_SECONDS and _is_calm(run, answer.started):
            yield violation_of(run, Kind.FALLBACK, answer.started, f"{who}: in fine weather")


def _is_calm(run: Run, until: float) -> bool:
    """True while nothing has happened yet."""
    return _clear_seconds(run, run.began, until) == until - run.began


def _writes(run: Run) -> Iterator[Violation]:
    for identity, write in run.writes.items():
        times = run.counted.get(identity, 0)
        if write.status == "OK" and times == 0 and not write.is_given_up:
            yield violation_of(run, Kind.LOST, write.started, f"{identity} was promised and never arrived")
        if times > 1:
            yield violation_of(run, Kind.TWICE, write.started, f"{identity} was counted {times} times")
    for customer_id, (answered, in_cloud) in run.usage.items():
        if abs(answered - in_cloud) > 1e-6 * max(1.0, in_cloud):
            words = f"the usage of {customer_id} is answered as {answered}, the cloud says {in_cloud}"
            yield violation_of(run, Kind.WRONG, run.ended, words)


def _had_no_time_to_drain(run: Run, death: Death) -> bool:
    """True when it ran out of time, of which more than half had been waited for a processor."""
    waited_seconds = run.waits.within(death.began, death.ended)
    return death.ran_out_of_time and waited_seconds > BUSY_SHARE * (death.ended - death.began)


def _end(run: Run) -> Iterator[Violation]:
    if run.heal_seconds is None:
        yield violation_of(run, Kind.UNHEALED, run.ended, run.unhealed)
    for death in run.deaths:
        if not _had_no_time_to_drain(run, death):
            yield violation_of(run, Kind.DIED, run.ended, death.words)
    if len(run.resources) < 2 or run.heal_seconds is None:
        return
    if run.tasks[1] > run.tasks[0] + TASK_SLACK:
        words = f"tasks: {run.tasks[0]:.0f} at the start, {run.tasks[1]:.0f} at the end"
        yield violation_of(run, Kind.LEAKED, run.ended, words)
    for words in left_open(run.resources[0], run.resources[-1]):
        yield violation_of(run, Kind.LEAKED, run.ended, words)
