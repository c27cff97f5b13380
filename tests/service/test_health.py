"""Readiness is one switch; the parts tell their own state."""

from entitlements.service.health import Health


def test_serving_between_start_and_stop() -> None:
    """Not before all listeners are up, not while draining."""
    health = Health()
    states = [health.is_serving]
    health.start_serving()
    states.append(health.is_serving)
    health.stop_serving()
    states.append(health.is_serving)

    assert [False, True, False] == states


def test_parts_are_asked_when_somebody_looks() -> None:
    """A part's state is its state now."""
    health = Health()
    phase = ["connecting"]
    health.add_part("feed", lambda: {"phase": phase[0]})
    phase[0] = "following"

    assert {"feed": {"phase": "following"}} == health.parts()
