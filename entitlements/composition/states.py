"""What each part reports of itself at `/readyz?verbose`."""

from typing import Any

from entitlements.background import Background
from entitlements.composition.meanings import WELL, part_state
from entitlements.composition.optional_states import (
    drift_audit_state,
    offline_state,
    shadow_state,
    snapshot_state,
)
from entitlements.composition.process import Sidecar
from entitlements.composition.shared_redis import SharedRedis
from entitlements.composition.shared_tables import shared_by
from entitlements.domain.breaker import BreakerState
from entitlements.domain.errors import Untrusted
from entitlements.domain.freshness import Trust
from entitlements.domain.membership import Role
from entitlements.domain.ports import Clock
from entitlements.overrides.following import StoredOverrides
from entitlements.redis.causes import Trouble
from entitlements.redis.examination import Examination
from entitlements.redis.tracking import TrackingState
from entitlements.service.health import PartState
from entitlements.service.key_check import KeyVerdict
from entitlements.service.outbox_dispatcher import OutboxDispatcher
from entitlements.service.secret_rotation import SecretRotation
from entitlements.upstream.feed import FeedState

FOLLOWING_THROUGH_HOLDER = "following through holder"
"""The feed's phase in a process that receives every change from the leader."""
WAITING_SECONDS = 10.0
"""A write that waits for longer is reported as a problem."""
_TRANSIENT = Trouble.NOT_ANSWERING
"""A single call that got no answer is no trouble yet; a refused password or certificate is."""
JUNK_SECONDS = 60.0
"""Junk that was found is reported as a problem for so long."""


def add_parts(built: Sidecar) -> None:
    """Has every part of the process report its state."""
    built.health.add_part("upstream", lambda: _upstream_state(built))
    built.health.add_part("feed", lambda: _feed_state(built))
    built.health.add_part("background", lambda: _background_state(built.background))
    built.health.add_part("memory", lambda: _memory_state(built))
    built.health.add_part("outbox", lambda: _outbox_state(built))
    built.health.add_part("database", lambda: _database_state(built))
    if built.redis is not None:
        redis = built.redis
        built.health.add_part("redis", lambda: _redis_state(redis, built.clock))

    if built.secret_rotation.files:
        built.health.add_part("secrets", lambda: _secrets_state(built.secret_rotation))
    if built.drift_audit is not None:
        audit = built.drift_audit
        built.health.add_part("drift_audit", lambda: drift_audit_state(audit, built.clock))
    if built.overrides is not None:
        overrides = built.overrides
        built.health.add_part("overrides", lambda: _overrides_state(overrides, built))

    if built.offline_file is not None:
        file = built.offline_file
        built.health.add_part("offline_file", lambda: offline_state(file))

    if built.snapshot is not None:
        snapshot = built.snapshot
        built.health.add_part("snapshot", lambda: snapshot_state(snapshot))

    if built.shadow is not None:
        ledger = built.shadow
        built.health.add_part("shadow", lambda: shadow_state(ledger))


def _background_state(background: Background) -> PartState:
    lately = [background.states[name] for name in background.troubled]
    problem = "skipping" if lately else None
    if any(state.failures for state in lately):
        problem = "restarting"
    return part_state(
        "background",
        problem,
        troubled=background.troubled,
        tasks={
            name: {
                "running": state.is_running,
                "failures": state.failures,
                "last_failure": state.last_failure,
                "skipped": state.skipped,
            }
            for name, state in background.states.items()
        },
    )


def _secrets_state(rotation: SecretRotation) -> PartState:
    problems = {secret.problem for secret in rotation.followed.values()}
    return part_state(
        "secrets",
        next((problem for problem in ("unreadable", "refused", "untried") if problem in problems), None),
        files={
            variable: {"file": str(secret.file), "problem": secret.problem, "taken_ms": secret.taken_ms}
            for variable, secret in rotation.followed.items()
        },
    )


def _memory_state(built: Sidecar) -> PartState:
    memory = built.memory
    return part_state(
        "memory",
        None,
        entries=memory.entries,
        bytes=memory.size_bytes,
        max_bytes=built.config.cache_max_size_bytes,
        history_bytes=built.history.size_bytes,
    )


def _database_state(built: Sidecar) -> PartState:
    problem = None if built.rules.is_readable else "unreadable"
    return part_state("database", problem, shared_by=shared_by(built.redis).value)


def _overrides_state(overrides: StoredOverrides, built: Sidecar) -> PartState:
    in_force = overrides.in_force()
    oldest_ms = in_force[0].begins_ms if in_force else None
    age_seconds = None if oldest_ms is None else max(0, built.clock.now_ms() - oldest_ms) / 1000
    return part_state(
        "overrides",
        "in_force" if in_force else None,
        in_force=len(in_force),
        oldest_age_seconds=age_seconds,
        next_end_ms=min((each.ends_ms for each in in_force), default=None),
        shared_by=shared_by(built.redis).value,
    )


def _outbox_state(built: Sidecar) -> PartState:
    if built.outbox is None:
        return part_state("outbox", None, wanted="off", mode="off")
    dispatcher = built.outbox.dispatcher
    state = dispatcher.state
    oldest_ms = state.oldest_accepted_at_ms
    oldest_age_seconds = None if oldest_ms is None else max(0, built.clock.now_ms() - oldest_ms) / 1000
    found = None if built.redis is None else built.redis.examination
    durability = None if found is None else found.durability
    risks = [] if durability is None else durability.sentences
    return part_state(
        "outbox",
        _outbox_problem(dispatcher, oldest_age_seconds) or ("at_risk" if risks else None),
        mode=built.config.sidecar_outbox,
        waiting=state.waiting,
        dead=state.dead,
        bytes=state.size_bytes,
        oldest_age_seconds=oldest_age_seconds,
        resting=dispatcher.resting,
        damaged_files=state.damaged_files,
        risks=risks,
        **dict[str, Any](dispatcher.counts),
    )


def _outbox_problem(dispatcher: OutboxDispatcher, oldest_age_seconds: float | None) -> str | None:
    """The worst first."""
    if not dispatcher.is_available:
        return "unavailable"
    if not dispatcher.state.has_room:
        return "disk_full"
    if dispatcher.counts["lost"]:
        return "lost"
    if dispatcher.state.damaged_files:
        return "damaged"
    if (oldest_age_seconds or 0) > WAITING_SECONDS:
        return "waiting"
    return "dead_letters" if dispatcher.state.dead else None


def _redis_state(redis: SharedRedis, clock: Clock) -> PartState:
    lease, tier, found = redis.lease_state, redis.tier, redis.examination or Examination()
    return part_state(
        "redis",
        _redis_problem(redis, clock, found),
        topology=redis.topology.value,
        answering=redis.connection.is_answering,
        silent_nodes=redis.connection.silent_nodes,
        sentences=redis.sentences,
        server=found.server,
        refused_commands=list(found.refused),
        tracking=redis.tracking.state.value,
        certificate_verified=redis.is_verified,
        resets=redis.connection.resets,
        last_refusal=redis.connection.last_refusal,
        waited_for_seconds=round(redis.connection.patience.seconds, 3),
        dropped_writes=tier.dropped_writes,
        junk_values=tier.junk_values,
        feed_lease_holder=lease and lease.holder,
        feed_lease_age_seconds=lease and round(lease.age_seconds, 1),
    )


def _redis_problem(redis: SharedRedis, clock: Clock, found: Examination) -> str | None:
    """The worst first: what is behind it cannot be known."""
    cause = redis.connection.cause
    if cause is not None and (not redis.connection.is_answering or cause.trouble is not _TRANSIENT):
        return cause.trouble.value
    problems = {
        "not_answering": not redis.connection.is_answering,
        "partly_answering": bool(redis.connection.silent_nodes),
        "cluster": found.is_cluster,
        "lacking_rights": bool(found.lacking),
        "tracking_refused": redis.tracking.state is TrackingState.REFUSED,
        "tracking_lost": redis.tracking.state is TrackingState.LOST,
        "refusing_writes": not redis.tier.takes_writes,
        "holds_junk": clock.monotonic() - redis.tier.junk_found_at < JUNK_SECONDS,
        "unverified": not redis.is_verified,
    }
    return next((problem for problem, is_so in problems.items() if is_so), None)


def _upstream_state(built: Sidecar) -> PartState:
    fetcher, budget = built.fetcher, built.edge_budget
    return part_state(
        "upstream",
        _upstream_problem(built),
        wanted="offline" if built.config.offline else WELL,
        api_key=built.key_check.verdict.value,
        circuits={source.value: state.value for source, state in built.circuits.states.items()},
        failures={source.value: cause for source, cause in built.circuits.failures.items()},
        entities_resting=fetcher.resting,
        fetches_under_way=fetcher.under_way,
        fetches_joined=fetcher.joined,
        fetches_paced=built.fetch_throttle.paced,
        edge_budget_remaining=budget and budget.remaining,
        edge_budget_closed=budget and budget.is_closed,
    )


def _upstream_problem(built: Sidecar) -> str | None:
    refused = built.key_check.verdict is KeyVerdict.REFUSED
    if refused or "key_refused" in built.circuits.failures.values():
        return "key_refused"
    if Untrusted.outcome in built.circuits.failures.values():
        return Untrusted.outcome
    failing = [state is not BreakerState.CLOSED for state in built.circuits.states.values()]
    if all(failing):
        return "not_answering"
    if any(failing):
        return "partly_answering"
    return "key_unverified" if built.key_check.has_failed else None


def _feed_state(built: Sidecar) -> PartState:
    state = built.feed.state if built.feed is not None else FeedState()
    trust: Trust = built.feed_applier.trust
    role = built.feed_trust.membership.role
    receives = role is Role.FOLLOWER
    return part_state(
        "feed",
        _feed_problem(state, follows=built.config.follows_feed, trust=trust, receives=receives),
        wanted=WELL if built.config.follows_feed else "disabled",
        enabled=built.config.follows_feed,
        phase=FOLLOWING_THROUGH_HOLDER if receives and trust.following else state.phase.value,
        since_ms=state.since_ms,
        last_event_ms=state.last_event_ms,
        failed_attempts=state.failed_attempts,
        role=role.value,
        following=trust.following,
        suspects_waiting=built.revalidator.waiting,
        rechecks_spread_seconds=round(built.revalidator.spread_seconds, 1),
    )


def _feed_problem(state: FeedState, *, follows: bool, trust: Trust, receives: bool) -> str | None:
    if not follows or trust.following:
        return None
    if receives:
        return "holder_not_following"
    return state.problem.value if state.problem is not None else "connecting"
