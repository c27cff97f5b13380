"""How commands ask the sidecar that runs with this SIDECAR_DATA_DIR."""

import json
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import CommandError

from entitlements.composition import data_dir
from entitlements.control import SOCKET_NAME
from entitlements.management.printing import EXIT_NOT_ASKED

ANSWER_SECONDS = 60.0
"""No line of an answer is waited for longer."""

Line = dict[str, Any]


def answers(asked: Line, more: Iterable[Line] = ()) -> Iterator[Line]:
    """The lines that it answers.

    Args:
        asked: the question, see `entitlements/control.py`.
        more: lines that follow it.

    Raises:
        CommandError: nobody answers.
    """
    path = data_dir() / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(path))
            for line in (asked, *more):
                connection.sendall(json.dumps(line).encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as file:
                yield from (json.loads(line) for line in file)
        except (OSError, ValueError) as error:
            message = f"no sidecar answers at {path}; run this as its user, with its SIDECAR_DATA_DIR"
            raise CommandError(message, returncode=EXIT_NOT_ASKED) from error
