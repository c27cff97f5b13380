"""What a visitor reads of an act."""

from entitlements.admin.acting import Outcome
from entitlements.domain.entity import EntityKey


def test_failures_are_counted_apart() -> None:
    messages = {EntityKey("a"): "Refreshed.", EntityKey("b"): "Refresh failed: the cloud did not answer."}

    assert [
        "1 entry refreshed.",
        "1 could not be fetched: the cloud did not answer. What was cached stays.",
    ] == Outcome(act="refreshed", messages=messages, failed=1).sentences(several_processes=False)


def test_with_several_processes_the_others_are_mentioned() -> None:
    outcome = Outcome(act="evicted", messages={EntityKey("a"): "Evicted."})

    (_, others) = outcome.sentences(several_processes=True)

    assert "others keep theirs until it changes" in others
