"""A command of `manage.py` as a process of its own, run to its end."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.harness import spawned

SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """How it ended, and what it printed."""

    code: int
    output: str

    @property
    def as_json(self) -> Any:  # noqa: ANN401, RUF100 - whatever it printed
        return json.loads(self.output)


async def run(environment: Mapping[str, str], command: str, *arguments: str) -> Run:
    """Runs `manage.py COMMAND ARGUMENTS` to its end."""
    async with spawned(environment, *arguments, command=command) as process:
        code = await asyncio.wait_for(process.process.wait(), SECONDS)
        await process.stop()
        return Run(code=code, output=process.output)
