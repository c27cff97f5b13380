"""`python -m emulator`: an emulator for a person at a terminal."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from emulator.server import serve

DEFAULT_PORT = 4300


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m emulator", description="A Stigg cloud on the laptop.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port to listen on; 0 chooses one")
    parser.add_argument(
        "--api-key", default=None, help="the key to accept; left out: a new one is made and shown"
    )
    asked = parser.parse_args(arguments)
    try:
        asyncio.run(serve(asked.host, asked.port, asked.api_key, announce=_say))
    except KeyboardInterrupt:
        return


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
