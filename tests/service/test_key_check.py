"""The API key is checked at start; nothing waits for it."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from entitlements.domain.errors import Forbidden, KeyRefused, Offline, Unreachable, UpstreamError
from entitlements.service import key_check as module
from entitlements.service.key_check import KeyCheck, KeyVerdict
from tests.fakes import FakeClock


@dataclass
class ScriptedChecker:
    """Answers one outcome after the other."""

    outcomes: list[UpstreamError | None]
    verdicts: list[KeyVerdict] = field(default_factory=list)
    check: KeyCheck | None = None

    async def check_key(self, *, budget_seconds: float) -> None:
        assert budget_seconds > 0
        assert self.check is not None
        self.verdicts.append(self.check.verdict)
        outcome = self.outcomes.pop(0)
        if outcome is not None:
            raise outcome


@pytest.mark.parametrize(
    ("outcomes", "verdicts"),
    [
        ([None], [KeyVerdict.UNKNOWN, KeyVerdict.VALID]),
        ([Offline("api")], [KeyVerdict.UNKNOWN, KeyVerdict.NOT_NEEDED]),
        (
            [Unreachable("api"), KeyRefused("api"), None],
            [KeyVerdict.UNKNOWN, KeyVerdict.UNKNOWN, KeyVerdict.REFUSED, KeyVerdict.VALID],
        ),
    ],
)
async def test_key_is_checked_until_the_verdict_is_final(
    outcomes: list[UpstreamError | None],
    verdicts: list[KeyVerdict],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A refused key heals without a restart, and both outcomes are reported."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)
    checker = ScriptedChecker(outcomes=list(outcomes))
    check = checker.check = KeyCheck(clock=FakeClock())

    with caplog.at_level(logging.INFO):
        running = asyncio.create_task(check.run(checker))
        await asyncio.wait({running}, timeout=0.05)
        running.cancel()

    assert verdicts == [*checker.verdicts, check.verdict]
    assert len(outcomes) - 1 == sum(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("refusal", [Forbidden("api"), KeyRefused("api")])
async def test_a_valid_key_is_checked_again_when_it_is_doubted(
    refusal: UpstreamError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 403 says nothing of the key; where the check gets one as well, it is refused."""
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)
    checker = ScriptedChecker(outcomes=[None, refusal, None])
    check = checker.check = KeyCheck(clock=FakeClock())
    running = asyncio.create_task(check.run(checker))
    await asyncio.wait({running}, timeout=0.02)
    valid = list(checker.verdicts)

    check.doubt()
    await asyncio.wait({running}, timeout=0.02)
    running.cancel()

    assert [KeyVerdict.UNKNOWN] == valid
    assert [KeyVerdict.UNKNOWN, KeyVerdict.VALID, KeyVerdict.REFUSED] == checker.verdicts
