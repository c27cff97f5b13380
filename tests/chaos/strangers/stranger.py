"""A client at its defaults: CALLERS tasks call until standard input ends; tells the number of each status."""

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
    async with _channel(address, authority) as channel:
        unary: Any = channel.unary_unary(path)

        async def caller() -> None:
            while not ended.is_set():
                try:
                    await unary(request, timeout=float(os.environ["CALL_SECONDS"]))
                    status = "OK"
                except grpc.aio.AioRpcError as error:
                    status = error.code().name
                    sys.stderr.write(f"{error.details()}\n")
                counts[status] += 1
                if status == "OK" and counts[status] == 1:
                    sys.stdout.write("calling\n")
                    sys.stdout.flush()

        callers = [asyncio.create_task(caller()) for _ in range(int(os.environ["CALLERS"]))]
        await asyncio.to_thread(sys.stdin.read)
        ended.set()
        await asyncio.gather(*callers)
    sys.stdout.write(f"{json.dumps(counts)}\n")


def _channel(address: str, authority: str | None) -> grpc.aio.Channel:
    if authority is None:
        return grpc.aio.insecure_channel(address)
    name = os.environ["SERVER_NAME"]
    credentials = grpc.ssl_channel_credentials(Path(authority).read_bytes())
    return grpc.aio.secure_channel(address, credentials, [("grpc.ssl_target_name_override", name)])


if __name__ == "__main__":
    asyncio.run(main())
