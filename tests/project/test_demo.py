"""The demo as a newcomer runs it: two processes, an invitation, and nothing left behind."""

import signal
from pathlib import Path

import pytest

from tests.harness import environment_for, spawned
from tests.redis_server import free_port

pytestmark = pytest.mark.timeout(90)


async def test_the_demo_answers_what_it_invites_to_ask(tmp_path: Path) -> None:
    """No account, no key, no Redis; Ctrl-C ends all of it."""
    ports = {"GRPC_PORT": str(free_port()), "METRICS_PORT": str(free_port())}
    environment = environment_for(None, tmp_path) | ports
    async with spawned(environment, "--demo") as demo:
        await demo.printed("manage.py ask customer-demo feature-api-calls")

        asking = environment_for(None, tmp_path, OFFLINE="1") | ports
        async with spawned(asking, "customer-demo", "feature-api-calls", command="ask") as ask:
            code = await ask.process.wait()
            await ask.stop()
        assert code == 0
        assert "used: 420 of 1000 calls" in ask.output

        assert await demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in demo.output
