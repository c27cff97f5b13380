"""A client at its defaults: CALLERS tasks call until standard input ends; reports the number of each status.

PER_CALL: each call by a connection of its own; PING_SECONDS: of keep-alive; PAUSE_SECONDS: between calls.
"""

import asyncio
import base64
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import grpc


async def main() -> None:
    """Calls ADDRESS PATH REQUEST."""
    address, path, encoded = sys.argv[1:]
    request, counts, ended = base64.b64decode(encoded), Counter[str](), asyncio.Event()
    authority = os.environ.get("CA_FILE")
    pause_seconds = float(os.environ.get("PAUSE_SECONDS", "0"))
    async with _channel(address, authority) as shared:

        async def caller() -> None:
            while not ended.is_set():
                try:
                    if "PER_CALL" in os.environ:
                        async with _channel(address, authority) as own:
                            await _call(own, path, request)
                    else:
                        await _call(shared, path, request)
                    status = "OK"
                except grpc.aio.AioRpcError as error:
                    status = error.code().name
                    sys.stderr.write(f"{error.details()}\n")
                counts[status] += 1
                if status == "OK" and counts[status] == 1:
                    sys.stdout.write("calling\n")
                    sys.stdout.flush()
                await asyncio.sleep(pause_seconds)

        callers = [asyncio.create_task(caller()) for _ in range(int(os.environ["CALLERS"]))]
        await asyncio.to_thread(sys.stdin.read)
        ended.set()
        await asyncio.gather(*callers)
    sys.stdout.write(f"{json.dumps(counts)}\n")


async def _call(channel: grpc.aio.Channel, path: str, request: bytes) -> None:
    unary: Any = channel.unary_unary(path)
    await unary(request, timeout=float(os.environ["CALL_SECONDS"]))


def _channel(address: str, authority: str | None) -> grpc.aio.Channel:
    options: list[tuple[str, Any]] = []
    if "PER_CALL" in os.environ:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if ping_seconds := float(os.environ.get("PING_SECONDS", "0")):
        options.append(("grpc.keepalive_time_ms", int(ping_seconds * 1000)))
        options.append(("grpc.keepalive_permit_without_calls", 1))
    if authority is None:
        return grpc.aio.insecure_channel(address, options)
    options.append(("grpc.ssl_target_name_override", os.environ["SERVER_NAME"]))
    credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes())
    return grpc.aio.secure_channel(address, credentials, options)


if __name__ == "__main__":
    asyncio.run(main())
