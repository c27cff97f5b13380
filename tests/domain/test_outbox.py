"""What an outbox says of itself."""

from entitlements.domain.outbox import OutboxState


def test_nothing_waits_at_first() -> None:
    """And nothing has an age."""
    assert OutboxState(waiting=0, dead=0, size_bytes=0, oldest_accepted_at_ms=None) == OutboxState()
