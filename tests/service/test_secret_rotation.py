"""Secrets that are taken anew when their files change, and only once they are accepted."""

from pathlib import Path

import pytest

from entitlements.secret_file import KNOWN_SECRETS, MAX_KNOWN, MAX_SECRET_FILE_BYTES, KnownSecrets
from entitlements.service.key_check import KeyVerdict
from entitlements.service.secret_rotation import RETRY_SECONDS, SecretRotation
from tests.fakes import FakeClock

VARIABLE = "SERVER_API_KEY"


class OtherSide:
    """Whoever is shown the secret."""

    def __init__(self) -> None:
        self.verdict = KeyVerdict.VALID
        self.shown: list[str] = []
        self.taken: list[str] = []

    async def trial(self, secret: str) -> KeyVerdict:
        self.shown.append(secret)
        return self.verdict

    async def take(self, secret: str) -> None:
        self.taken.append(secret)


def holds(file: Path, content: str | bytes | None) -> None:
    """Has the file hold this, or not be there."""
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def other_side() -> OtherSide:
    return OtherSide()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("first-key\n")
    return file


@pytest.fixture
def rotation(file: Path, clock: FakeClock, other_side: OtherSide) -> SecretRotation:
    rotation = SecretRotation({VARIABLE: file}, clock=clock)
    rotation.follow(VARIABLE, "first-key", take=other_side.take, trial=other_side.trial)
    return rotation


def problem(rotation: SecretRotation) -> str | None:
    return rotation.followed[VARIABLE].problem


async def test_a_file_that_did_not_change_is_shown_to_nobody(
    rotation: SecretRotation, other_side: OtherSide
) -> None:
    await rotation.look()
    await rotation.look()

    assert [] == other_side.shown
    assert problem(rotation) is None


async def test_a_changed_file_is_tried_and_taken(
    rotation: SecretRotation, other_side: OtherSide, file: Path, clock: FakeClock
) -> None:
    holds(file, "second-key\n")
    await rotation.look()
    await rotation.look()

    assert ["second-key"] == other_side.shown
    assert ["second-key"] == other_side.taken
    assert clock.now_ms() == rotation.followed[VARIABLE].taken_ms


async def test_the_first_secret_may_come_back(
    rotation: SecretRotation, other_side: OtherSide, file: Path
) -> None:
    for secret in ("second-key", "first-key", "third-key"):
        holds(file, secret)
        await rotation.look()

    assert ["second-key", "first-key", "third-key"] == other_side.taken


async def test_a_swapped_link_is_a_changed_file(
    rotation: SecretRotation, other_side: OtherSide, file: Path, tmp_path: Path
) -> None:
    """So Kubernetes renews what it mounts."""
    await rotation.look()
    new = tmp_path / "new"
    new.write_text("second-key\n")
    link = tmp_path / "link"
    link.symlink_to(new)
    link.rename(file)

    await rotation.look()

    assert ["second-key"] == other_side.taken


@pytest.mark.parametrize(
    ("verdict", "reported"), [(KeyVerdict.REFUSED, "refused"), (KeyVerdict.UNKNOWN, "untried")]
)
async def test_what_is_not_accepted_is_not_taken_and_tried_again(
    rotation: SecretRotation,
    other_side: OtherSide,
    file: Path,
    clock: FakeClock,
    verdict: KeyVerdict,
    reported: str,
) -> None:
    holds(file, "second-key")
    other_side.verdict = verdict
    await rotation.look()
    problem_before = problem(rotation)
    await rotation.look()
    shown_at_once = len(other_side.shown)
    other_side.verdict = KeyVerdict.VALID
    clock.advance(RETRY_SECONDS)
    await rotation.look()

    assert reported == problem_before
    assert 1 == shown_at_once
    assert ["second-key"] == other_side.taken
    assert problem(rotation) is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * (MAX_SECRET_FILE_BYTES + 1), None])
async def test_a_file_that_holds_no_secret_is_reported_and_changes_nothing(
    rotation: SecretRotation,
    other_side: OtherSide,
    file: Path,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await rotation.look()
    holds(file, content)
    await rotation.look()

    assert "unreadable" == problem(rotation)
    assert [] == other_side.shown
    assert f"{VARIABLE}_FILE" in caplog.text


async def test_the_old_secret_back_in_its_file_is_no_problem(
    rotation: SecretRotation, other_side: OtherSide, file: Path
) -> None:
    holds(file, "second-key")
    other_side.verdict = KeyVerdict.REFUSED
    await rotation.look()
    holds(file, "first-key")
    await rotation.look()

    assert problem(rotation) is None
    assert [] == other_side.taken


async def test_a_secret_is_struck_out_of_the_log_before_it_is_shown_to_anybody(
    rotation: SecretRotation, file: Path
) -> None:
    holds(file, "a-key-nobody-knows")
    await rotation.look()

    assert "a-key-nobody-knows" in KNOWN_SECRETS.longest_first


@pytest.mark.parametrize("variable", ["DATABASE_URL", "SIDECAR_ADMIN_PASSWORD", "SIDECAR_SECRET_KEY"])
def test_what_a_running_process_cannot_change_is_not_said_to_be_followed(file: Path, variable: str) -> None:
    """Otherwise the page of health would vouch for a file that nobody looks at."""
    assert {} == SecretRotation({variable: file}, clock=FakeClock()).files


async def test_a_secret_that_stands_in_no_file_is_not_followed(other_side: OtherSide) -> None:
    rotation = SecretRotation({}, clock=FakeClock())
    rotation.follow(VARIABLE, "first-key", take=other_side.take)
    await rotation.look()

    assert {} == rotation.followed


def test_known_secrets_are_bounded_and_the_longest_comes_first() -> None:
    known = KnownSecrets()
    for number in range(MAX_KNOWN + 1):
        known.add(f"secret-{number}")

    assert MAX_KNOWN == len(known.longest_first)
    assert "secret-0" not in known.longest_first
    assert known.longest_first == tuple(sorted(known.longest_first, key=len, reverse=True))
