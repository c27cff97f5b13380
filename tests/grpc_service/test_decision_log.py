"""The decision log: denials and fallbacks first, a sample of the rest, bounded, ids hashed."""

import json
import logging
from random import Random
from typing import Any

import pytest

from entitlements import metrics
from entitlements.config import load
from grpc_service.decision_log import DECISIONS_LOGGER, DENIED, GRANTED, DecisionLog
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.ids import id_key
from grpc_service.methods import Call, Later, Reply, UnaryMethod, answered, on_loop
from sidecar_project import log_format
from sidecar_project.log_format import logging_config
from tests.fakes import FakeClock
from tests.grpc_service.ways import either

PATH = "/stigg.sidecar.v1.SidecarService/"
REQUEST = pb.GetMeteredEntitlementRequest(customer_id="c", feature_id="f", resource_id="r")
REQUEST.options.requested_usage = 3
GRANT = pb.GetMeteredEntitlementResponse(has_access=True)
DENIAL = pb.GetMeteredEntitlementResponse(access_denied_reason=pb.ACCESS_DENIED_REASON_REVOKED)


class Decisions(logging.Handler):
    """What was logged, as fields."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append({k: v for k, v in vars(record).items() if k not in log_format._OWN_FIELDS})


@pytest.fixture
def decisions() -> Any:
    logger, handler = logging.getLogger(DECISIONS_LOGGER), Decisions()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def a_log(clock: FakeClock | None = None, **values: Any) -> DecisionLog:
    settings: dict[str, Any] = {"sample_rate": 1.0, "max_per_second": 100, "id_key": None} | values
    clock = clock or FakeClock()
    return DecisionLog(monotonic=clock.monotonic, random=Random(1), **settings)


async def decide(
    log: DecisionLog, response: Any, request: Any = REQUEST, *, at_once: bool = False, metadata: Any = ()
) -> UnaryMethod:
    """Has a method answer so, by one of its two ways."""
    reply = response.SerializeToString(), metadata

    async def answer(_request: bytes, _call: Call) -> Reply:
        return reply

    name = request.DESCRIPTOR.name.removesuffix("Request")
    method = UnaryMethod(path=PATH + name, begin=either(lambda _: reply if at_once else None, answer))
    wrapped = log.middlewares(method)
    assert reply == await answered(wrapped, request.SerializeToString(), Call())
    return wrapped


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_decision_is_logged_with_what_it_rests_on(decisions: Decisions, at_once: bool) -> None:
    """Also one that was answered at once, as remembered replies are."""
    metadata = (("stigg-source", b"memory"), ("stigg-state", b"fresh"), ("stigg-age-ms", b"12"))

    wrapped = await decide(a_log(), DENIAL, at_once=at_once, metadata=metadata)

    assert [
        {
            "method": "GetMeteredEntitlement",
            "outcome": "denied",
            "has_access": False,
            "reason": "REVOKED",
            "customer": "c",
            "resource": "r",
            "feature": "f",
            "requested_usage": 3,
            "source": "memory",
            "state": "fresh",
            "age_ms": "12",
            "sample_rate": 1,
        }
    ] == decisions.lines
    assert isinstance(wrapped.begin(REQUEST.SerializeToString()), Later)


async def test_v2_and_fallbacks(decisions: Decisions) -> None:
    request = pb.GetEntitlementV2Request(customer_id="c", currency_id="eur")
    response = pb.GetEntitlementV2Response(entitlement=pb.EntitlementV2(has_access=True, is_fallback=True))

    await decide(a_log(sample_rate=0), response, request)

    (line,) = decisions.lines
    assert "fallback" == line["outcome"]
    assert line["has_access"] is True
    assert "eur" == line["currency"]
    assert "feature" not in line


async def test_ids_are_hashed_by_a_key(decisions: Decisions) -> None:
    """The same everywhere in one environment, another in the next."""
    for key in ("one", "one", "other"):
        await decide(a_log(id_key=id_key(key)), DENIAL)

    first, second, other = [(line["customer"], line["resource"]) for line in decisions.lines]
    assert first == second
    assert first != other
    assert 4 == len({*first, *other} - {"c", "r"})


async def test_a_sample_of_what_is_granted_and_all_denials(decisions: Decisions) -> None:
    log = a_log(sample_rate=0.2, max_per_second=10_000)

    for _ in range(500):
        await decide(log, GRANT)
        await decide(log, DENIAL)

    outcomes = [line["outcome"] for line in decisions.lines]
    assert 500 == outcomes.count("denied")
    assert 60 < outcomes.count("granted") < 140
    assert {0.2} == {line["sample_rate"] for line in decisions.lines if line["outcome"] == "granted"}


async def test_the_lines_of_a_second_are_bounded_and_denials_have_their_share(decisions: Decisions) -> None:
    """What is dropped is counted; the next second has room again."""
    clock = FakeClock()
    log = a_log(clock, max_per_second=10)
    before = [metrics.DECISIONS_DROPPED.labels(each)._value.get() for each in (GRANTED, DENIED)]

    for response in (GRANT, DENIAL):
        for _ in range(20):
            await decide(log, response)
    first_second = [line["outcome"] for line in decisions.lines]
    clock.advance(1)
    await decide(log, GRANT)

    assert ["granted"] * 5 + ["denied"] * 5 == first_second
    assert 11 == len(decisions.lines)
    after = [metrics.DECISIONS_DROPPED.labels(each)._value.get() for each in (GRANTED, DENIED)]
    assert [15, 15] == [now - then for now, then in zip(after, before, strict=True)]


async def test_what_decides_nothing_is_left_alone(decisions: Decisions) -> None:
    async def answer(_request: bytes, _call: Call) -> Reply:
        return b"", ()

    method = UnaryMethod(path=f"{PATH}ReportUsage", begin=on_loop(answer))

    assert method is a_log().middlewares(method)


@pytest.mark.parametrize("log_format_name", ["json", "console"])
def test_it_is_json_whatever_the_others_are(log_format_name: str) -> None:
    config = load({"OFFLINE": "1", "LOG_LEVEL": "error", "SIDECAR_LOG_FORMAT": log_format_name}).config
    logging_ = logging_config(config)

    own = logging_["loggers"][DECISIONS_LOGGER]
    assert "INFO" == own["level"]
    assert ["decisions"] == own["handlers"]
    assert own["propagate"] is False
    assert logging_["formatters"]["decisions"]["()"] is log_format.JsonLines
    assert json.dumps(list(logging_["handlers"])) == '["stdout", "decisions"]'
