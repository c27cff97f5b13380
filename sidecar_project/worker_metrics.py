"""The files in which the workers add up their metrics: one set for each place among them.

prometheus_client names the files after the process. Here a worker that takes the place of a dead one goes on
where that one stopped: counters never fall, and a crash loop makes no new files.
"""

from collections.abc import Mapping
from pathlib import Path

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PLACE_VARIABLE = "PROMETHEUS_MULTIPROC_PLACE"
"""Ours: the number of a worker's place; two living processes never have the same."""


def variables(folder: Path, place: int) -> Mapping[str, str]:
    """What the worker in this place needs in its environment."""
    return {FOLDER_VARIABLE: str(folder), PLACE_VARIABLE: str(place)}


def count_by_place(environment: Mapping[str, str]) -> None:
    """Has a worker count into the files of its place; called before the first metric is declared."""
    place = environment.get(PLACE_VARIABLE)
    if place is not None and FOLDER_VARIABLE in environment:
        values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]


def forget_gauges(folder: Path, place: int) -> None:
    """Nobody is in this place: what it told of the present is true no more."""
    mark_process_dead(place, folder)  # type: ignore[no-untyped-call]
