"""What became of what was replayed, by an outbox of this process."""

from pathlib import Path

import pytest

from entitlements.admin import outbox_outcome
from entitlements.admin.outbox_outcome import Outcome, keys_of_letters, outcome_of
from entitlements.domain.outbox import OutboxLimits
from entitlements.outbox.local_file import LocalFileOutbox
from tests.fakes import FakeClock
from tests.outbox.outbox_contract import events


async def test_each_letter_is_reported_by_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is delivered, one refused again with its reason, and one waits."""
    monkeypatch.setattr(outbox_outcome, "WATCH_SECONDS", 0.1)
    store = LocalFileOutbox(
        tmp_path / "outbox.sqlite3", clock=FakeClock(), limits=OutboxLimits(max_entries=10, max_bytes=100_000)
    )
    await store.accept(events("a", "b", "c", "other"))
    for entry in (await store.waiting(10))[:3]:
        await store.bury(entry, reason="no such customer")
    keys = await keys_of_letters(store, None)
    await store.replay()
    waiting = {each.write.idempotency_key: each for each in await store.waiting(10)}
    await store.settle([waiting["a"]])
    await store.bury(waiting["b"], reason="no such feature")

    outcome = await outcome_of(store, keys)
    await store.stop()

    assert {"a", "b", "c"} == keys
    assert Outcome(delivered=1, refused={"b": "no such feature"}, waiting=1) == outcome
    assert [
        "Delivered: 1.",
        "Refused again: 1 (no such feature).",
        "Still waiting: 1. The cloud is away.",
    ] == outcome.sentences("The cloud is away.")
