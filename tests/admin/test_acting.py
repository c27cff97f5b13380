"""What the visitor is told of an act."""

from entitlements.admin.acting import Outcome
from entitlements.domain.entity import EntityKey


def test_what_failed_is_told_apart() -> None:
    told = {EntityKey("a"): "Refreshed.", EntityKey("b"): "Refresh failed: the cloud did not answer."}

    assert [
        "1 entry refreshed.",
        "1 could not be fetched: the cloud did not answer. What was cached stays.",
    ] == Outcome(word="refreshed", told=told, failed=1).sentences(several_processes=False)


def test_several_processes_are_told_of() -> None:
    (_, others) = Outcome(word="evicted", told={EntityKey("a"): "Evicted."}).sentences(several_processes=True)

    assert "others keep theirs until it changes" in others
