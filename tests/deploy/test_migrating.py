"""From the vendor's compose file or chart to our image: what docs/migrating.md shows and says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from emulator.server import Emulator
from entitlements.config import load
from tests.cloud_states import boolean_state
from tests.deploy.dockerfile import stages
from tests.documentation.pages import fenced
from tests.eventually import eventually
from tests.harness import ROOT, client_of, environment_for, is_granted, spawned
from tests.redis_server import RedisServer

(DIFF,) = (text for word, text in fenced(ROOT / "docs" / "migrating.md") if word == "diff")
BEFORE = "".join(line[1:] for line in DIFF.splitlines(keepends=True) if not line.startswith("+"))
AFTER = "".join(line[1:] for line in DIFF.splitlines(keepends=True) if not line.startswith("-"))
CHART = {
    # What stigg-chart 1.0.1 sets, all of it text.
    "REDIS_ENVIRONMENT_PREFIX": "production",
    "REDIS_DB": "0",
    "REDIS_TLS": "false",
    "REDIS_USERNAME": "default",
    "REDIS_PASSWORD": "made-up",
    # Its older form, and an application's own.
    "CLIENT_API_KEY": "made-up",
    "STIGG_SIDECAR_SERVICE_HOST": "10.0.0.1",
    "STIGG_SIDECAR_PORT": "tcp://10.0.0.1:80",
}


def _sidecar(compose: str) -> dict[str, Any]:
    return dict(yaml.safe_load(compose)["services"]["sidecar"])


def test_one_line_changes() -> None:
    """The image, to the one that our own files build."""
    ours = _sidecar((ROOT / "deploy" / "compose.yaml").read_text())["image"]

    assert {"image": "public.ecr.aws/stigg/sidecar:latest"}.items() <= _sidecar(BEFORE).items()
    assert _sidecar(BEFORE) | {"image": ours} == _sidecar(AFTER)
    assert 2 == sum(line[0] in "+-" for line in DIFF.splitlines())


def test_every_variable_and_port_is_known_to_the_image() -> None:
    """Nothing of the file is ignored in silence."""
    sidecar = _sidecar(AFTER)
    exposed = next(text for word, text in stages(ROOT / "Dockerfile")[-1] if word == "EXPOSE").split()

    assert () == load(sidecar["environment"]).warnings
    assert {port.split(":")[1] for port in sidecar["ports"]} <= set(exposed)


@pytest.mark.parametrize("environment", [_sidecar(AFTER)["environment"], CHART], ids=["compose", "chart"])
async def test_a_sidecar_answers_with_such_an_environment(
    environment: dict[str, str], emulator: Emulator, tmp_path: Path
) -> None:
    """But for the addresses, which are this machine's."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    with RedisServer(password=environment.get("REDIS_PASSWORD")) as redis:
        here = environment_for(emulator, tmp_path, REDIS_HOST="127.0.0.1", REDIS_PORT=str(redis.port))
        async with spawned(environment | here) as sidecar:
            await sidecar.started()
            async with client_of(sidecar) as client:
                assert await is_granted(client, "customer-1")
            await eventually(lambda: redis.command("KEYS", "production:c_customer-1*"))
            assert 0 == await sidecar.stop()

    assert "is not a variable" not in sidecar.output
