"""A person's question, against a running sidecar."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.management.commands.ask import describe
from tests.cloud_states import boolean_state
from tests.harness import SidecarProcess, environment_for, running_sidecar, spawned


async def asked(sidecar_address: str, folder: Path, *arguments: str) -> tuple[int, str]:
    environment = environment_for(None, folder, OFFLINE="1")
    async with spawned(environment, f"--address={sidecar_address}", *arguments, command="ask") as command:
        code = await command.process.wait()
        await command.stop()
        return code, command.output


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud() -> AsyncIterator[Emulator]:
    async with Emulator() as emulator:
        yield emulator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(cloud: Emulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SidecarProcess]:
    """One for all of these tests, which only ask it."""
    async with running_sidecar(cloud, tmp_path_factory.mktemp("sidecar")) as sidecar:
        yield sidecar


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("customer-demo", "feature-sso"), 0, ("granted", "from: ")),
        (("customer-demo", "feature-api-calls"), 0, ("granted", "used: 420 of 1,000 calls", "resets: ")),
        (("customer-demo", "feature-api-calls", "--usage=1000"), 1, ("denied: the usage would exceed",)),
        (
            ("customer-demo", "feature-regions", "--value=mars"),
            1,
            ("denied: a requested value", "values: eu, us"),
        ),
        (("customer-demo", "cred-ai", "--currency"), 0, ("balance: 375 of 500",)),
        (("customer-demo", "feature-templates"), 0, ("value: 25",)),
        (("customer-archived", "feature-sso"), 1, ("denied: the customer is archived",)),
        (("customer-demo", "feature-sso", "--resource=resource-eu"), 0, ("granted",)),
        (("nobody", "feature-sso"), 1, ("denied: the cloud knows no such customer",)),
    ],
)
async def test_an_answer_reads_as_a_person_would_like(
    demo: SidecarProcess, tmp_path: Path, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    exit_code, output = await asked(demo.address, tmp_path, *arguments)

    assert code == exit_code
    assert all(word in output for word in words), output


@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_says_where_it_came_from(
    cloud: Emulator, demo: SidecarProcess, tmp_path: Path
) -> None:
    cloud.state.put("asked-twice", boolean_state(), push=False)

    answers = [await asked(demo.address, tmp_path, "asked-twice", "f") for _ in range(2)]

    assert "from: edge, " in answers[0][1]
    assert "from: memory, " in answers[1][1]


@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_for_scripts(demo: SidecarProcess, tmp_path: Path) -> None:
    code, output = await asked(demo.address, tmp_path, "customer-demo", "feature-sso", "--json")

    answer = json.loads(output)
    assert 0 == code
    assert answer["hasAccess"] is True
    assert {"stigg-source", "stigg-state", "stigg-age-ms"} >= set(answer["provenance"])


async def test_nobody_there_is_reported_with_the_fix(tmp_path: Path) -> None:
    code, output = await asked("127.0.0.1:1", tmp_path, "c", "f")

    assert code == 2
    assert "no sidecar answers at 127.0.0.1:1; start one with `make demo`" in output


@pytest.mark.parametrize("usage", ["lots", "nan", "inf"])
async def test_a_wrong_number_is_reported(tmp_path: Path, usage: str) -> None:
    code, output = await asked("127.0.0.1:1", tmp_path, "c", "f", f"--usage={usage}")

    assert code == 2
    assert "--usage" in output


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("fallback", "this is a fallback: the sidecar knows nothing better"),
        ("offline", "this is a fallback: the sidecar knows nothing better"),
        ("edge", "this is a fallback: the cloud's state holds no such entitlement"),
        ("memory", "this is a fallback: the cloud's state holds no such entitlement"),
    ],
)
def test_a_fallback_is_said_to_be_one(source: str, words: str) -> None:
    entitlement = pb.EntitlementV2(has_access=True, is_fallback=True)

    assert ["granted", words, f"from: {source}"] == describe(entitlement, {"stigg-source": source})


def test_a_fallback_of_a_sidecar_that_does_not_send_its_source() -> None:
    entitlement = pb.EntitlementV2(has_access=True, is_fallback=True)

    assert "this is a fallback" in describe(entitlement, {})


def test_an_unlimited_number_and_a_soft_limit() -> None:
    numeric = pb.EntitlementV2(has_access=True, numeric=pb.NumericEntitlement(is_unlimited=True))
    metered = pb.EntitlementV2(
        has_access=True,
        metered=pb.MeteredEntitlement(usage_limit=5, current_usage=7, has_soft_limit=True),
    )

    assert "value: unlimited" in describe(numeric, {})
    assert "used: 7 of 5 (soft limit)" in describe(metered, {})


@pytest.mark.parametrize(
    ("used", "words"),
    [(1_234_567, "used: 1,234,567 of 2,000,000"), (1_999_999.5, "used: 1,999,999.5 of 2,000,000")],
)
def test_large_usage_keeps_its_digits(used: float, words: str) -> None:
    metered = pb.EntitlementV2(
        has_access=True, metered=pb.MeteredEntitlement(usage_limit=2_000_000, current_usage=used)
    )

    assert words in describe(metered, {})
