"""Found by a sidecar's interpreter by its PYTHONPATH: a wall clock that can be made to jump.

The file named by WEATHER_CLOCK_FILE holds by how many nanoseconds the clock is wrong; it is mapped, so that
asking costs nothing. Monotonic clocks stay as they are, as on a machine whose date is set. gRPC's core reads
the machine's clock without Python, and so it cannot jump: who tells the core until when to wait, by that
clock, is told of no jump either, or would have all calls ended that wait for their clients, at once.
"""

import mmap
import os
import struct
import sys
import time

FOR_THE_CORE = "grpc_service.engines.completion_queue"
_OFFSET = struct.Struct("=q")


def _wrong_by(file_name: str) -> None:
    with open(file_name, "r+b") as file:
        offset = mmap.mmap(file.fileno(), _OFFSET.size)
    real_ns = time.time_ns

    def time_ns() -> int:
        return real_ns() + int(_OFFSET.unpack_from(offset)[0])

    def seconds() -> float:
        is_for_core = sys._getframe(1).f_globals.get("__name__") == FOR_THE_CORE
        return (real_ns() if is_for_core else time_ns()) / 1e9

    time.time_ns = time_ns
    time.time = seconds


_wrong_by(os.environ["WEATHER_CLOCK_FILE"])
