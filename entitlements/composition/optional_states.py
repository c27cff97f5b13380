"""What the parts that not every process has report of themselves at `/readyz?verbose`."""

from typing import Any

from entitlements.cache.snapshot import Snapshot
from entitlements.composition.meanings import part_state
from entitlements.domain.ports import Clock
from entitlements.service.drift_audit import DriftAudit, Outcome
from entitlements.service.health import PartState
from entitlements.service.shadow_ledger import ShadowLedger
from entitlements.upstream.offline_file import OfflineFile

DRIFT_REPORTED_SECONDS = 3600.0
"""A difference that an audit found is reported as a problem for so long."""


def drift_audit_state(audit: DriftAudit, clock: Clock) -> PartState:
    """What audits found."""
    has_differed = clock.monotonic() - audit.differed_at < DRIFT_REPORTED_SECONDS
    return part_state(
        "drift_audit",
        "differs" if has_differed else None,
        right_share=audit.right_share,
        differences=dict(audit.differences),
        **dict[str, Any]({outcome.value: audit.counts[outcome.value] for outcome in Outcome}),
    )


def snapshot_state(snapshot: Snapshot) -> PartState:
    """What is kept of the last run."""
    return part_state(
        "snapshot",
        "write_failed" if snapshot.has_failed else None,
        file=str(snapshot.path),
        entities=snapshot.entities,
        written_ms=snapshot.written_ms,
    )


def offline_state(file: OfflineFile) -> PartState:
    """Who answers while nobody is asked."""
    return part_state(
        "offline_file",
        "broken_version" if file.problems else None,
        file=str(file.path),
        entities=file.entities,
        loaded_ms=file.loaded_ms,
        problems=len(file.problems),
    )


def shadow_state(ledger: ShadowLedger) -> PartState:
    """What the comparison with another sidecar found."""
    problem = "differs" if ledger.lasting else None
    return part_state(
        "shadow",
        "not_answering" if ledger.is_away else problem,
        address=ledger.address,
        last_failure=ledger.last_failure or None,
        **dict[str, Any](ledger.counts),
    )
