"""The files in which the workers add up their metrics: one set for each place among them.

prometheus_client names the files after the process. Here a worker that takes the place of a dead one goes on
where that one stopped: counters never fall, and a crash loop makes no new files.

It maps the files into memory and leaves them sparse: on a full disk the kernel has no page to give and kills
the process that counts (SIGBUS), in the middle of its calls. So their room is taken before the first metric.
"""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PLACE_VARIABLE = "PROMETHEUS_MULTIPROC_PLACE"
"""Ours: the number of a worker's place; two living processes never have the same."""

KINDS = ("counter", "histogram", "gauge_livemax", "gauge_livemin", "gauge_livesum", "gauge_mostrecent")
"""The files of one place: a kind of metric each, and of gauges a way to add them up."""
ROOM_BYTES = 256 * 1024
"""For each of them; the largest holds 40 kB, and grows only with the features in fallback rules."""


def variables(folder: Path, place: int) -> Mapping[str, str]:
    """What the worker in this place needs in its environment."""
    return {FOLDER_VARIABLE: str(folder), PLACE_VARIABLE: str(place)}


def count_by_place(environment: MutableMapping[str, str]) -> None:
    """Has a worker count into the files of its place; called before the first metric is declared.

    Where the disk has no room for them it counts for itself, and the environment names no folder any more. So
    it is with a folder that is not of our making: the library would write into it, or end the process.
    """
    place = environment.get(PLACE_VARIABLE)
    if FOLDER_VARIABLE not in environment:
        return
    if place is not None and _take_room(Path(environment[FOLDER_VARIABLE]), place):
        values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]
    else:
        values.ValueClass = values.MutexValue
        del environment[FOLDER_VARIABLE]


def _take_room(folder: Path, place: str) -> bool:
    try:
        for kind in KINDS:
            with (folder / f"{kind}_{place}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, ROOM_BYTES)
    except OSError:
        return False
    return True


def forget_gauges(folder: Path, place: int) -> None:
    """Nobody is in this place: its gauges of the present are true no more."""
    mark_process_dead(place, folder)  # type: ignore[no-untyped-call]
