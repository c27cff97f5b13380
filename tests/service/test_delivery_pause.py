"""Why the outbox waits, and until when."""

from random import Random

from entitlements.domain.errors import Throttled, Unreachable
from entitlements.service.delivery_pause import LONGEST_PAUSE_SECONDS, Delay, DeliveryPause
from tests.fakes import FakeClock


def test_a_failure_reports_its_cause_and_when_it_is_tried_again() -> None:
    """Until something is delivered: then the pauses begin anew."""
    clock = FakeClock()
    pause = DeliveryPause(clock=clock, random=Random(1))
    first = pause.after(Unreachable("api"))
    for _ in range(10):
        pause.after(Unreachable("api"))
    longest = pause.after(Throttled("api", 7.0))
    delay = pause.delay
    pause.over()

    assert Delay(cause="throttled", next_try_ms=clock.now_ms() + 7000) == delay
    assert 7.0 == longest
    assert 0 < first <= 0.4 < LONGEST_PAUSE_SECONDS
    assert pause.delay is None
    assert pause.after(Unreachable("api")) <= 0.4
