"""`warm` has a running sidecar know customers before they are asked for."""

import time
from pathlib import Path

from emulator.server import Emulator
from entitlements.domain.entity import EntityKey
from grpc_service.management.pacing import paced
from tests.cloud_states import boolean_state
from tests.harness import Client, SidecarProcess, environment_for, is_granted
from tests.management.command_runs import run
from tests.redis_server import free_port


async def test_customers_are_known_before_they_are_asked_for(
    emulator: Emulator, sidecar: SidecarProcess, client: Client, tmp_path: Path
) -> None:
    """One fetch each, none afterwards; run again with its progress file, it leaves out who is done."""
    names = [f"customer {number}" for number in range(20)]
    for name in names:
        emulator.state.put(name, boolean_state(), push=False)
    emulator.state.put("customer 0", boolean_state(), resource_id="r", push=False)
    file, progress = tmp_path / "customers", tmp_path / "done"
    file.write_text("\n".join([*names, "customer 0\tr"]) + "\n")
    arguments = (
        str(file),
        "--address",
        sidecar.address,
        "--rate",
        "500",
        "--progress",
        str(progress),
        "--json",
    )
    environment = environment_for(emulator, tmp_path, LOG_LEVEL="error")

    first = await run(environment, "warm", *arguments)
    assert emulator.counters.fetches() == 21
    assert all([await is_granted(client, name) for name in names])
    file.write_text(file.read_text() + "customer 20\n")
    second = await run(environment, "warm", *arguments)

    assert emulator.counters.fetches() == 22
    assert 0 == first.code
    assert {"warmed": 21, "left_out": 0, "failed": 0}.items() <= first.as_json.items()
    assert 0 == second.code
    assert 1 == second.as_json["warmed"]
    assert 21 == second.as_json["left_out"]


async def test_who_cannot_be_known_is_named_and_tried_again(
    emulator: Emulator, sidecar: SidecarProcess, tmp_path: Path
) -> None:
    """The cloud is away: nobody is noted as done, the exit code is 1."""
    await emulator.stop_listening()
    file, progress = tmp_path / "customers", tmp_path / "done"
    file.write_text("a\nb\n")

    ended = await run(
        environment_for(emulator, tmp_path, LOG_LEVEL="error"),
        "warm", str(file), "--address", sidecar.address, "--progress", str(progress),
    )  # fmt: skip
    await emulator.resume_listening()

    assert ended.code == 1
    assert "failed: 2" in ended.output
    assert "not known: a" in ended.output
    assert progress.read_text() == ""


async def test_nobody_to_ask_is_reported(tmp_path: Path) -> None:
    """In one line, with 2."""
    file = tmp_path / "customers"
    file.write_text("a\n")
    environment = environment_for(None, tmp_path, OFFLINE="1", LOG_LEVEL="error")

    away = await run(environment, "warm", str(file), "--address", f"127.0.0.1:{free_port()}")
    missing = await run(environment, "warm", str(tmp_path / "missing"))
    slow = await run(environment, "warm", str(file), "--rate", "0")

    assert 2 == away.code
    assert 2 == missing.code
    assert 2 == slow.code
    assert "no sidecar answers at 127.0.0.1:" in away.output
    assert "missing cannot be used (No such file or directory)" in missing.output
    assert "Traceback" not in away.output + missing.output + slow.output


async def test_the_pace_is_the_rate() -> None:
    """The first at once, each other one a share of a second later."""
    keys = [EntityKey(str(number), None) for number in range(11)]
    started = time.perf_counter()

    on_stderr = [key async for key in paced(keys, rate=50)]

    assert keys == on_stderr
    assert 0.2 <= time.perf_counter() - started
