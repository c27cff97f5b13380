"""One connection by which a primary of Redis names what changes (CLIENT TRACKING), read as it comes."""

from collections.abc import Callable, Sequence
from ssl import SSLWantReadError
from typing import Any

import hiredis
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError

from entitlements.domain.membership import SILENCE_SECONDS

PING_SECONDS = 1.0
"""So often it is seen whether a connection still lives, which is closed when it is silent for long."""
RECEIVED_BYTES = 65_536
"""So much is received at a time."""
MAX_RECEIVED_IN_A_ROW = 16
"""So often in a row, before what was named is handed on: where names come faster than they are read."""

Names = list[bytes]
"""What changed in one turn of Redis' loop, in the order of bytes: a key stands right before its timestamp."""

_NOTHING = object()
"""No whole frame was received: None is one."""


class TrackingLine:
    """Connects as redis-py does, and reads by itself.

    redis-py looks at the socket, its time-out and its handlers once for each frame. Of a thousand a second,
    nearly all of customers that nobody here holds, that was half of what a frame costs.
    """

    def __init__(self, client: Redis, *, prefixes: Sequence[bytes], monotonic: Callable[[], float]) -> None:
        """Connects; raises RedisError or OSError where that is refused, or not answered in time."""
        self.is_behind = False
        """True where more may have arrived than was read."""
        self._monotonic = monotonic
        self._named: list[Names | None] = []
        self._buffer = bytearray(RECEIVED_BYTES)
        self._answered_at: float | None = None
        self._pinged_at = monotonic()
        pool: Any = client.connection_pool
        options = {**pool.connection_kwargs, "protocol": 3, "maint_notifications_config": None}
        self._connection = pool.connection_class(**options)
        try:
            self._connection.connect()
            self.socket = self._connection._get_socket()
            """To wait for."""
            parse_error = self._connection._get_parser().parse_error
            self._reader: Any = hiredis.Reader(
                protocolError=InvalidResponse, replyError=parse_error, notEnoughData=_NOTHING
            )
            self._begin(prefixes)
        except BaseException:
            self.close()
            raise

    def read(self) -> Sequence[Names | None]:
        """The names that arrived, as Redis sent them together; None: all keys are gone.

        Raises RedisError or OSError where the connection is lost, or Redis answers that something is wrong.
        """
        for _ in range(MAX_RECEIVED_IN_A_ROW):
            self.is_behind = self._receive()
            if not self.is_behind:
                break
        self._take_frames()
        named, self._named = self._named, []
        return named

    def ping(self) -> None:
        """Asks for a sign of life now and then; raises TimeoutError where there is none."""
        now = self._monotonic()
        if now - self._pinged_at < PING_SECONDS:
            return
        if self._answered_at is None or now - self._answered_at > SILENCE_SECONDS:
            raise TimeoutError
        self._pinged_at = now
        self._connection.send_command("PING", check_health=False)

    def close(self) -> None:
        """Ends it."""
        self._connection.disconnect()

    def _begin(self, prefixes: Sequence[bytes]) -> None:
        """Has Redis name what changes; names that come along with its answer wait for the first `read`."""
        words = [word for prefix in prefixes for word in ("PREFIX", prefix)]
        self._connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *words, check_health=False)
        while self._answered_at is None:
            self._receive()
            self._take_frames()
        self.socket.setblocking(False)

    def _receive(self) -> bool:
        """Takes some of what has arrived; False where that is nothing."""
        try:
            received = self.socket.recv_into(self._buffer)
        except (BlockingIOError, SSLWantReadError):
            return False
        if not received:
            raise RedisConnectionError("closed by redis")
        self._reader.feed(self._buffer, 0, received)
        return True

    def _take_frames(self) -> None:
        while (frame := self._reader.gets()) is not _NOTHING:
            if isinstance(frame, hiredis.PushNotification):
                if frame[0] == b"invalidate":
                    self._named.append(frame[1])
            elif isinstance(frame, RedisError):
                raise frame
            else:
                self._answered_at = self._monotonic()
