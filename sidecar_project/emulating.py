"""What a person may say of the emulator: its port, and who it knows at the start."""

import sys
from pathlib import Path
from typing import Any

from entitlements.upstream.offline_document import InvalidOfflineFile, read_states

DEFAULT_PORT = 4300
PORT_VARIABLE = "EMULATOR_PORT"
HIGHEST_PORT = 65535


def states_of(path: Path | None) -> dict[tuple[str, str | None], dict[str, Any]] | None:
    """The states by customer and resource, of a file in the offline file's form; None without a file.

    A file that cannot be used ends the program, with a sentence for each fault.
    """
    if path is None:
        return None
    try:
        return {
            (key.customer_id, key.resource_id): {
                name: value for name, value in state.items() if name != "resources"
            }
            for key, state in read_states(path).items()
        }
    except InvalidOfflineFile as error:
        sys.exit(str(error))


def port_of(text: str | None) -> int:
    """The port that a variable names, or the usual one; a wrong one ends the program."""
    if not text:
        return DEFAULT_PORT
    if text.isascii() and text.isdigit() and int(text) <= HIGHEST_PORT:
        return int(text)
    sys.exit(f"{PORT_VARIABLE} is {text!r}; it must be a port, or 0 for a free one")


def taken(port: int, reason: str | None) -> str:
    """Why the emulator cannot listen, and what to do about it."""
    return (
        f"the emulator cannot listen on 127.0.0.1 port {port} ({reason}): another demo may run there; "
        f"set {PORT_VARIABLE} to another port, or to 0 for a free one"
    )
