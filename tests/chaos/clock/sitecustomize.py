"""Found by a sidecar's interpreter by its PYTHONPATH: a wall clock that can be made to jump.

The file named by WEATHER_CLOCK_FILE holds by how many nanoseconds the clock is wrong; it is mapped, so that
asking costs nothing. Monotonic clocks stay as they are, as on a machine whose date is set.
"""

import mmap
import os
import struct
import time

_OFFSET = struct.Struct("=q")


def _wrong_by(file_name: str) -> None:
    with open(file_name, "r+b") as file:
        offset = mmap.mmap(file.fileno(), _OFFSET.size)
    real_ns = time.time_ns

    def time_ns() -> int:
        return real_ns() + int(_OFFSET.unpack_from(offset)[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


_wrong_by(os.environ["WEATHER_CLOCK_FILE"])
