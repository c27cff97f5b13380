"""The bounds of every number, each written here once more: a bound that moves is a change of the API."""

import math

import pytest

from entitlements.config import InvalidConfig, load
from entitlements.config.variables import SidecarConfig

DAY_SECONDS = 86_400
STEP = 0.001
"""The smallest step past a bound of seconds that is tried."""
NUMBERS = [
    # variable, smallest, largest (None: any), step past them
    ("REDIS_PORT", 0, 65_535, 1),
    ("REDIS_DB", 0, None, 1),
    ("GRPC_PORT", 0, 65_535, 1),
    ("PORT", 0, 65_535, 1),
    ("METRICS_PORT", 0, 65_535, 1),
    ("CACHE_MAX_SIZE_BYTES", 1, None, 1),
    ("SIDECAR_SNAPSHOT_INTERVAL_SECONDS", STEP, DAY_SECONDS, STEP),
    ("SIDECAR_WORKERS", 1, 64, 1),
    ("SIDECAR_FETCH_BUDGET_SECONDS", STEP, DAY_SECONDS, STEP),
    ("SIDECAR_FETCH_CONCURRENCY", 1, 10_000, 1),
    ("SIDECAR_FETCH_QUEUE_SIZE", 0, 1_000_000, 1),
    ("SIDECAR_MAX_UNVERIFIED_SECONDS", STEP, DAY_SECONDS, STEP),
    ("SIDECAR_REFRESHES_PER_SECOND", STEP, 1000, STEP),
    ("SIDECAR_EDGE_REQUESTS_PER_MINUTE", 60, 1_000_000, 1),
    ("SIDECAR_FLEET_SIZE", 1, 10_000, 1),
    ("SIDECAR_AUDITS_PER_MINUTE", 0, 600, 1),
    ("SIDECAR_FEED_PING_SECONDS", STEP, DAY_SECONDS, STEP),
    ("SIDECAR_FEED_IDLE_TIMEOUT_SECONDS", STEP, DAY_SECONDS, STEP),
    ("SIDECAR_SHUTDOWN_GRACE_SECONDS", 0, 3600, STEP),
    ("SIDECAR_DRAIN_SECONDS", 0, 3600, STEP),
    ("SIDECAR_MAX_CONNECTION_AGE_SECONDS", 0, DAY_SECONDS, STEP),
    ("SIDECAR_MAX_MESSAGE_BYTES", 1024, 1024**3, 1),
    ("SIDECAR_MAX_CONCURRENT_CALLS", 1, 1_000_000, 1),
    ("SIDECAR_DECISION_LOG_SAMPLE_RATE", 0, 1, STEP),
    ("SIDECAR_DECISION_LOG_MAX_PER_SECOND", 1, 100_000, 1),
    ("SIDECAR_SHADOW_SAMPLE", 0, 1, STEP),
    ("SIDECAR_AUDIT_DAYS", 1, 3650, 1),
    ("SIDECAR_OUTBOX_MAX_ENTRIES", 1, 1_000_000_000, 1),
    ("SIDECAR_OUTBOX_MAX_BYTES", 1024, None, 1),
]
ANY_NUMBER = {"REDIS_KEYS_TTL_IN_SECS"}
"""Zero is distinguished from the others in loading."""
WITHIN = [(name, value) for name, low, high, _ in NUMBERS for value in (low, high) if value is not None]
BEYOND = [(name, low - step) for name, low, _, step in NUMBERS] + [
    (name, high + step) for name, _, high, step in NUMBERS if high is not None
]
FRACTIONS = [name for name, _, _, step in NUMBERS if step == STEP]


def _read(name: str, text: str) -> float:
    config = load({"SERVER_API_KEY": "made-up", name: text}).config
    return float(getattr(config, name.lower()))


def test_every_number_is_listed() -> None:
    """A new number comes with its bounds."""
    numbers = {
        name.upper() for name, field in SidecarConfig.model_fields.items() if field.annotation in (int, float)
    }
    assert {name for name, *_ in NUMBERS} | ANY_NUMBER == numbers


@pytest.mark.parametrize(("name", "value"), WITHIN)
def test_a_bound_itself_is_taken(name: str, value: float) -> None:
    assert value == _read(name, str(value))


@pytest.mark.parametrize(("name", "value"), BEYOND)
def test_one_step_beyond_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidConfig) as refused:
        _read(name, str(value))

    (problem,) = refused.value.problems
    assert problem.startswith(f"{name} is '{value}'; it must be "), problem


@pytest.mark.parametrize("name", FRACTIONS)
@pytest.mark.parametrize("word", ["nan", "inf"])
def test_what_is_no_finite_number_is_refused(name: str, word: str) -> None:
    assert not math.isfinite(float(word))
    with pytest.raises(InvalidConfig):
        _read(name, word)


@pytest.mark.parametrize("name", ["LOG_MESSAGE_KEY", "LOG_ERROR_KEY"])
def test_a_key_of_one_character_is_a_key(name: str) -> None:
    config = load({"SERVER_API_KEY": "made-up", name: "m"}).config

    assert "m" == getattr(config, name.lower())
