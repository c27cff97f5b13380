"""A load whose requests differ, which h2load cannot make: `python -m bench.varied PORT`.

HTTP/2 by hand, frames written out beforehand, so that one core can drive the sidecar to its limit. It speaks
to a gRPC server on this machine and to nothing else: no padding, no continuation, no flow control of what it
sends (a request is a few dozen bytes, and the windows are refilled long before they are used up).
"""

import argparse
import asyncio
import json
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import accumulate, count

from hpack import Encoder
from hpack.struct import NeverIndexedHeaderTuple

from bench.customers import NEW_CUSTOMERS, new_customer, varied_customer
from bench.load import Load, framed, percentiles
from bench.scenarios import CUSTOMERS, boolean
from grpc_service.generated import sidecar_pb2 as pb

ZIPF_EXPONENT = 1.0
CHOICES = 50_000
"""The order of customers repeats after so many requests."""
_SEED = 8
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WIDE_OPEN = 2**31 - 1
_FIRST_WINDOW = 65_535
_REFILL_BYTES = 2**30

Now = Callable[[], float]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def request_headers(path: str) -> bytes:
    """The header block of a gRPC request; it holds nothing that a connection must remember."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return Encoder().encode([NeverIndexedHeaderTuple(*each) for each in headers.items()], huffman=False)


def boolean_body(customer_id: str) -> bytes:
    """A Boolean check of one customer, as HTTP/2 data."""
    request = pb.GetBooleanEntitlementRequest(customer_id=customer_id, feature_id="feature-boolean")
    return framed(request.SerializeToString())


def zipf_order(customers: int, length: int, *, seed: int = _SEED) -> list[int]:
    """How many numbers below `customers`, the n-th as often as 1/n says."""
    weights = list(accumulate(1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(customers)))
    return random.Random(seed).choices(range(customers), cum_weights=weights, k=length)  # noqa: S311 - a load


def bodies(*, one_miss_in: int | None, first_new: int) -> Iterator[bytes]:
    """Zipf-distributed checks without end, and every so often one of a customer that is new."""
    known = [boolean_body(varied_customer(number)) for number in range(CUSTOMERS)]
    order = zipf_order(CUSTOMERS, CHOICES)
    for turn in count(1):
        if one_miss_in is not None and turn % one_miss_in == 0:
            yield boolean_body(new_customer((first_new + turn // one_miss_in - 1) % NEW_CUSTOMERS))
        else:
            yield known[order[turn % CHOICES]]


class Connection(asyncio.Protocol):
    """One connection with so many requests under way, until it is told to stop or no body is left."""

    def __init__(self, requests: Iterator[bytes], *, headers: bytes, in_flight: int, now: Now) -> None:
        self._requests = requests
        self._headers = headers
        self._in_flight = in_flight
        self._now = now
        self._stream = 1
        self._rest = b""
        self._started: dict[int, float] = {}
        self._answered: set[int] = set()
        self._received_bytes = 0
        self._is_stopping = False
        self.seconds: list[float] = []
        self.reply_bytes = 0
        self.problem: str | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens the windows wide and asks."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - asyncio's promise
        self._transport = transport
        settings = struct.pack(">HI", 4, _WIDE_OPEN)
        window = struct.pack(">I", _WIDE_OPEN - _FIRST_WINDOW)
        transport.write(_PREFACE + frame(_SETTINGS, 0, 0, settings) + frame(_WINDOW, 0, 0, window))
        transport.write(b"".join(self._ask() for _ in range(self._in_flight)))

    def data_received(self, data: bytes) -> None:
        """Takes the replies, and asks anew for each."""
        data = self._rest + data
        position, output = 0, []
        while len(data) - position >= 9:  # noqa: PLR2004 - a frame's head
            length = int.from_bytes(data[position : position + 3], "big")
            end = position + 9 + length
            if end > len(data):
                break
            kind, flags, stream = struct.unpack_from(">BBI", data, position + 3)
            output.append(self._obey(kind, flags, stream, data[position + 9 : end]))
            position = end
        self._rest = data[position:]
        self._transport.write(b"".join(output))
        if not self._started:
            self.ended.set()

    def connection_lost(self, _: Exception | None) -> None:
        """An end that comes while something is under way is one too many."""
        if self._started and self.problem is None:
            self.problem = "the connection was cut"
        self.ended.set()

    def stop(self) -> None:
        """Asks nothing more."""
        self._is_stopping = True

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def _ask(self) -> bytes:
        body = None if self._is_stopping else next(self._requests, None)
        if body is None:
            return b""
        stream, self._stream = self._stream, self._stream + 2
        self._started[stream] = self._now()
        return frame(_HEADERS, _END_HEADERS, stream, self._headers) + frame(_DATA, _END_STREAM, stream, body)

    def _obey(self, kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        """What to send for a frame."""
        if kind == _DATA:
            return self._take(stream, len(payload))
        if kind == _HEADERS:
            return self._finish(stream) if flags & _END_STREAM else b""
        if kind in {_SETTINGS, _PING} and not flags & _ACK:
            return frame(kind, _ACK, 0, payload if kind == _PING else b"")
        if kind in {_RESET, _GOAWAY}:
            self.problem = "a stream was reset" if kind == _RESET else "the server went away"
            self.ended.set()
        return b""

    def _take(self, stream: int, length: int) -> bytes:
        self._answered.add(stream)
        self.reply_bytes += length
        self._received_bytes += length
        if self._received_bytes < _REFILL_BYTES:
            return b""
        refill, self._received_bytes = self._received_bytes, 0
        return frame(_WINDOW, 0, 0, struct.pack(">I", refill))

    def _finish(self, stream: int) -> bytes:
        self.seconds.append(self._now() - self._started.pop(stream))
        if stream not in self._answered:
            self.problem = "a call ended without a reply"
        self._answered.discard(stream)
        return self._ask()


async def drive(
    port: int, requests: Iterator[bytes], *, connections: int, in_flight: int, seconds: float
) -> tuple[list[Connection], float]:
    """Asks for so many seconds, or until no request is left; returns the connections and how long it took."""
    loop = asyncio.get_running_loop()
    headers = request_headers(boolean().path)
    began = time.perf_counter()
    opened = [
        (
            await loop.create_connection(
                lambda: Connection(requests, headers=headers, in_flight=in_flight, now=time.perf_counter),
                "127.0.0.1",
                port,
            )
        )[1]
        for _ in range(connections)
    ]
    ends = [asyncio.create_task(connection.ended.wait()) for connection in opened]
    await asyncio.wait(ends, timeout=seconds)
    for connection in opened:
        connection.stop()
    await asyncio.wait(ends, timeout=seconds)
    took = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return opened, took


def load_of(connections: list[Connection], took: float, *, new_customers: int) -> Load:
    """What the connections got together."""
    micros = [seconds * 1e6 for connection in connections for seconds in connection.seconds]
    p50, p99 = percentiles(micros)
    return Load(
        requests=len(micros),
        seconds=took,
        p50_us=p50,
        p99_us=p99,
        reply_bytes=sum(connection.reply_bytes for connection in connections),
        new_customers=new_customers,
    )


def main() -> None:
    """Prints one line of JSON, the fields of a `Load`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--one-miss-in", type=int)
    parser.add_argument("--first-new", type=int, default=0)
    parser.add_argument("--each-once", action="store_true")
    asked = parser.parse_args()
    requests: Iterator[bytes]
    if asked.each_once:
        requests = map(boolean_body, map(varied_customer, range(CUSTOMERS)))
    else:
        requests = bodies(one_miss_in=asked.one_miss_in, first_new=asked.first_new)
    connections, took = asyncio.run(
        drive(
            asked.port,
            requests,
            connections=asked.connections,
            in_flight=asked.in_flight,
            seconds=asked.seconds,
        )
    )
    problems = {connection.problem for connection in connections if connection.problem}
    if problems:
        sys.exit("; ".join(sorted(problems)))
    answered = sum(len(connection.seconds) for connection in connections)
    new = answered // asked.one_miss_in if asked.one_miss_in else 0
    sys.stdout.write(json.dumps(asdict(load_of(connections, took, new_customers=new))) + "\n")


if __name__ == "__main__":
    main()
