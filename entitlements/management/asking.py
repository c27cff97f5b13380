"""How commands ask the sidecar that runs with this SIDECAR_DATA_DIR."""

import json
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from entitlements.composition import data_dir, metrics_port
from entitlements.control_socket import address_of, name_of, paths
from entitlements.management.printing import EXIT_NOT_ASKED

ANSWER_SECONDS = 60.0
"""No line of an answer is waited for longer."""

Line = dict[str, Any]


def answers(asked: Line, more: Iterable[Line] = (), *, seconds: float = ANSWER_SECONDS) -> Iterator[Line]:
    """The lines that it answers.

    Args:
        asked: the question, see `entitlements/control.py`.
        more: lines that follow it.
        seconds: no line is waited for longer.

    Raises:
        CommandError: nobody answers.
    """
    folder = data_dir()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        try:
            _connect(connection, paths(folder, name_of(metrics_port())))
            for line in (asked, *more):
                connection.sendall(json.dumps(line).encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as file:
                yield from (json.loads(line) for line in file)
        except (OSError, ValueError) as error:
            message = f"no sidecar answers at {folder}; run this as its user, with its SIDECAR_DATA_DIR"
            raise CommandError(message, returncode=EXIT_NOT_ASKED) from error


def _connect(connection: socket.socket, candidates: Sequence[Path]) -> None:
    """To the sidecar of this METRICS_PORT where it has a socket of its own, else to the folder's first."""
    *others, last = candidates
    for path in others:
        with suppress(OSError), address_of(path) as address:
            return connection.connect(address)
    with address_of(last) as address:
        return connection.connect(address)
