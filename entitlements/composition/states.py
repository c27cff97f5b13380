"""What each part tells of itself at `/readyz?verbose`."""

from entitlements.cache.snapshot import Snapshot
from entitlements.composition.process import Sidecar
from entitlements.composition.shared_redis import SharedRedis
from entitlements.domain.freshness import Trust
from entitlements.service.health import PartState
from entitlements.service.sharing import Role
from entitlements.upstream.feed import FeedState
from entitlements.upstream.offline_file import OfflineFile

FOLLOWING_THROUGH_HOLDER = "following through holder"
"""The feed's phase in a process that hears of every change from the lease's holder."""


def add_parts(built: Sidecar) -> None:
    """Has every part of the process tell its state."""
    built.health.add_part("upstream", lambda: _upstream_state(built))
    built.health.add_part("feed", lambda: _feed_state(built))
    built.health.add_part(
        "memory", lambda: {"entries": built.memory.entries, "bytes": built.memory.size_bytes}
    )

    built.health.add_part("outbox", lambda: _outbox_state(built))
    if built.redis is not None:
        redis = built.redis
        built.health.add_part("redis", lambda: _redis_state(redis))

    if built.offline_file is not None:
        file = built.offline_file
        built.health.add_part("offline_file", lambda: _offline_state(file))

    if built.snapshot is not None:
        snapshot = built.snapshot
        built.health.add_part("snapshot", lambda: _snapshot_state(snapshot))


def _snapshot_state(snapshot: Snapshot) -> PartState:
    return {
        "file": str(snapshot.path),
        "entities": snapshot.entities,
        "written_ms": snapshot.written_ms,
    }


def _offline_state(file: OfflineFile) -> PartState:
    return {
        "file": str(file.path),
        "entities": file.entities,
        "loaded_ms": file.loaded_ms,
        "problems": len(file.problems),
    }


def _outbox_state(built: Sidecar) -> PartState:
    if built.outbox is None:
        return {"mode": "off"}
    state = built.outbox.delivering.state
    oldest_ms = state.oldest_accepted_at_ms
    return {
        "mode": built.config.sidecar_outbox,
        "waiting": state.waiting,
        "dead": state.dead,
        "bytes": state.size_bytes,
        "oldest_age_seconds": oldest_ms and max(0, built.clock.now_ms() - oldest_ms) / 1000,
        **built.outbox.delivering.counts,
    }


def _redis_state(redis: SharedRedis) -> PartState:
    lease = redis.lease_state
    return {
        "answering": redis.connection.is_answering,
        "dropped_writes": redis.tier.dropped_writes,
        "feed_lease_holder": lease and lease.holder,
        "feed_lease_age_seconds": lease and round(lease.age_seconds, 1),
    }


def _upstream_state(built: Sidecar) -> PartState:
    return {
        "api_key": built.key_check.verdict.value,
        "circuits": {source.value: state.value for source, state in built.fetching.breaker_states.items()},
    }


def _feed_state(built: Sidecar) -> PartState:
    state = built.feed.state if built.feed is not None else FeedState()
    trust: Trust = built.following.trust
    hears = built.redis is not None and built.sharing.role is Role.HEARING
    return {
        "enabled": built.config.follows_feed,
        "phase": FOLLOWING_THROUGH_HOLDER if hears and trust.following else state.phase.value,
        "since_ms": state.since_ms,
        "last_event_ms": state.last_event_ms,
        "problem": state.problem and state.problem.value,
        "failed_attempts": state.failed_attempts,
        "role": built.sharing.role.value if built.redis is not None else Role.ALONE.value,
        "following": trust.following,
        "suspects_waiting": built.rechecking.waiting,
    }
