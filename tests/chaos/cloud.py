"""The emulator in a process of its own, and its control interface."""

import asyncio
import secrets
import signal
import sys
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

import httpx

from tests.chaos.records import Asked, Run, now
from tests.cloud_states import metered_state, versioned_state
from tests.harness import ROOT

CONTROL_SECONDS = 30.0
"""A paused emulator answers once it goes on."""


class CloudProcess:
    """`python -m emulator`, started and killed by `async with`."""

    def __init__(self) -> None:
        self.api_key = f"server-{secrets.token_hex(8)}"
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None
        self._control = httpx.AsyncClient(trust_env=False, timeout=CONTROL_SECONDS)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "emulator", "--port", "0", "--api-key", self.api_key),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it reports every connection that is cut under it
        )
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        self.port = int(line.split()[4].rstrip(",").rpartition(":")[2])
        self._control.base_url = httpx.URL(f"http://127.0.0.1:{self.port}/control/")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._control.aclose()
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    @property
    def pid(self) -> int:
        """While it runs."""
        assert self._process is not None
        return self._process.pid

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def ask(self, method: str, path: str, **body: Any) -> Any:
        """One request of the control interface."""
        answer = await self._control.request(method, path, json=body or None)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def put_version(self, customer_id: str, number: int, *, updated_at: str) -> None:
        """Make every feature of the customer show that number, and send it on the feed."""
        state = versioned_state(number, updated_at=updated_at)
        await self.ask("PUT", "state", customerId=customer_id, state=state, push=True)

    async def put_meter(self, customer_id: str, *, updated_at: str) -> None:
        """Give the customer a meter that stands at 0."""
        state = metered_state(limit=1_000_000_000, updated_at=updated_at)
        await self.ask("PUT", "state", customerId=customer_id, state=state, push=True)

    async def usage_of(self, customer_id: str) -> float:
        """What the customer's meter stands at."""
        answer = await self._control.get("state", params={"customerId": customer_id})
        return float(answer.json()["entitlementsV2"][0]["currentUsage"])

    async def asked(self) -> list[Asked]:
        """All that it was asked since it was reset, by our own clock."""
        wrong_by = time.time() - now()
        return [
            Asked(at=each["at_ms"] / 1000 - wrong_by, kind=each["kind"])
            for each in await self.ask("GET", "requests")
        ]

    async def counted(self, run: Run) -> dict[str, int]:
        """How often each of the run's writes was counted."""
        events = await self.ask("GET", "events")
        reports = await self.ask("GET", "reports")
        times = Counter(f"e:{each['event']['idempotencyKey']}" for each in events if each["counted"])
        times.update(f"u:{each['report']['value']!r}" for each in reports if each["counted"])
        return {identity: times[identity] for identity in run.writes if identity in times}
