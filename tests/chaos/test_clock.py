"""A sidecar's wall clock can be made to jump, and what it cannot reach does not."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.machine import CLOCK_FOLDER

DAY_SECONDS = 86_400
_PROGRAM = """
import json, time
seen = {"wall": time.time(), "ns": time.time_ns() / 1e9, "monotonic": time.monotonic()}
exec("import time; at = time.time()", core := {"__name__": "grpc_service.engines.completion_queue"})
print(json.dumps(seen | {"core": core["at"]}))
"""


def test_the_clock_jumps_and_that_of_grpcs_core_does_not(tmp_path: Path) -> None:
    """The engine waited in the core until a day ago, again and again: each time a second was over for it.

    Every call in it was soon ended as one that waits for its client (seeds 27 and 69).
    """
    file = tmp_path / "clock"
    file.write_bytes(struct.pack("=q", -DAY_SECONDS * 1_000_000_000))
    environment = {**os.environ, "PYTHONPATH": str(CLOCK_FOLDER), "WEATHER_CLOCK_FILE": str(file)}
    before = {"monotonic": time.monotonic(), "core": time.time()}
    before |= dict.fromkeys(("wall", "ns"), before["core"] - DAY_SECONDS)

    printed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _PROGRAM], env=environment, capture_output=True, check=True
    ).stdout

    behind = {name: seconds - before[name] for name, seconds in json.loads(printed).items()}
    assert {} == {name: seconds for name, seconds in behind.items() if not 0 <= seconds < DAY_SECONDS / 2}
