"""Listeners, bounds, reflection and the graceful stop of the gRPC server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from grpc_health.v1 import health

from entitlements.addresses import addresses_of
from entitlements.clock import SystemClock
from entitlements.service.health import PartState
from grpc_service.call_limiter import CallLimiter
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.farewell import Farewell
from grpc_service.engines.interface import EngineSettings, MakeEngine
from grpc_service.health import GrpcHealth
from grpc_service.interceptors import intercepted, intercepted_unary
from grpc_service.methods import Middleware, UnaryMethod
from grpc_service.reads import SERVICE
from grpc_service.reflection import reflection_methods
from grpc_service.servicer import SidecarServicer
from grpc_service.tls import TlsFiles, reloading_credentials

ROOM_FOR_STREAMS = 1000
"""A connection may have so many more streams than calls may wait: what need not wait passes by what does, and
the core refuses no stream of a client that counts its closed ones a moment later than we do."""
MAX_METADATA_BYTES = 64 * 1024
"""A call with more metadata is refused, each entry counted as 32 bytes more than it has (RFC 9113, 6.5.2)."""
_MONOTONIC = SystemClock().monotonic
SHORTEST_PING_INTERVAL_MS = 500
"""A client that pings more often is cut; one that pings every second, a little early at times, is not."""
ENGINE_MARGIN = 2
"""An engine has places for this many times the calls that one connection may have."""
LEAVE_SECONDS = 3.0
"""When the server stops, clients that were asked to go have so long; they do so within a round trip."""
AGE_JITTER = 1.1
"""The core takes up to so many times the age that it is given."""
LONGEST_CALL_SECONDS = 60
"""A connection that is too old is cut after so long; calls under way end before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one server takes."""

    max_message_bytes: int
    """A larger message is RESOURCE_EXHAUSTED (SIDECAR_MAX_MESSAGE_BYTES)."""
    max_concurrent_calls: int
    """So many reads wait, and so many writes (SIDECAR_MAX_CONCURRENT_CALLS)."""
    max_connection_age_seconds: float = 0.0
    """An older connection is asked to come anew; 0: never (SIDECAR_MAX_CONNECTION_AGE_SECONDS)."""


class PortUnavailable(Exception):
    """A listener could not be opened."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host = host
        self.port = port
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot listen on {self.host} port {self.port}: {self.reason}"


class GrpcServer:
    """One gRPC server; `start` and `stop` belong to one loop."""

    def __init__(
        self,
        servicer: SidecarServicer,
        *,
        limits: ServerLimits,
        shares_port: bool = False,
        make_engine: MakeEngine = AioEngine,
        middlewares: Sequence[Middleware] = (),
        monotonic: Callable[[], float] = _MONOTONIC,
    ) -> None:
        """Serves nothing yet.

        Args:
            servicer: answers.
            limits: what is taken.
            shares_port: other processes listen on the same port; else that is an error.
            make_engine: what carries the calls.
            middlewares: done around what is asked of the servicer, the last one outermost.
            monotonic: seconds, for the pauses in the log.
        """
        self._health = GrpcHealth(SERVICE)
        self._farewell = Farewell(monotonic)
        self._monotonic = monotonic
        self._is_started = False
        self._max_age_seconds = limits.max_connection_age_seconds
        self.call_limiter = CallLimiter(max_calls=limits.max_concurrent_calls, monotonic=monotonic)
        own = (*self._health.methods(), *reflection_methods((SERVICE, health.SERVICE_NAME)))
        asked = [_intercepted_within(method, self.call_limiter, middlewares) for method in servicer.methods()]
        self.methods: Sequence[UnaryMethod] = asked
        """What the servicer answers, with all that is done around a call: other doors call the same."""
        self._engine = make_engine(
            EngineSettings(
                methods=[*asked, *(intercepted(method, self.call_limiter) for method in own)],
                options=_options(limits, shares_port=shares_port),
                max_concurrent_calls=_max_streams(limits) * ENGINE_MARGIN,
                on_ended=self.call_limiter.ended,
            )
        )

    @property
    def hits_thread(self) -> int | None:
        """The thread that answers what memory can, once it is started; None: the event loop's."""
        return self._engine.hits_thread

    def state(self) -> PartState:
        """For people."""
        state, places = self.call_limiter.state(), self._engine.places
        held = {"waiting_for_clients": places.stalled, "open_streams": places.streams}
        return replace(state, details={**state.details, **held})

    def listen(self, host: str, port: int, *, tls: TlsFiles | None = None) -> int:
        """Listens at each address of the host and returns the port; port 0 finds a free one.

        Raises:
            PortUnavailable: the port is taken, or may not be used.
            UnusableTlsFiles: the TLS files cannot be served with.
        """
        bound = port
        try:
            for each in addresses_of(host):
                address = f"[{each}]:{bound}" if ":" in each else f"{each}:{bound}"
                bound = self._engine.listen(address, None if tls is None else reloading_credentials(tls))
        except (RuntimeError, OSError) as error:
            raise PortUnavailable(host, port, "it is taken, or this user may not open it") from error
        self._farewell.add(bound, is_tls=tls is not None)
        return bound

    async def start(self) -> None:
        """Answers from now on."""
        await self._engine.start()
        self._is_started = True
        await self._health.set_serving(is_serving=True)

    async def drain(self) -> None:
        """Tells balancers to look elsewhere; goes on answering."""
        await self._health.set_serving(is_serving=False)

    async def stop(self, *, grace_seconds: float) -> None:
        """Has clients leave, lets calls under way end within the grace period; may be called twice."""
        deadline = self._monotonic() + grace_seconds
        await self.drain()
        await self._health.close()
        if self._is_started:
            tls_seconds = _seconds_until_too_old(self._max_age_seconds)
            await self._farewell.bid(
                seconds=min(grace_seconds, LEAVE_SECONDS),
                tls_seconds=tls_seconds if tls_seconds <= grace_seconds else 0.0,
            )
            self._is_started = False
        await self._engine.stop(grace_seconds=max(deadline - self._monotonic(), 0))


def _seconds_until_too_old(max_age_seconds: float) -> float:
    return max_age_seconds * AGE_JITTER + LEAVE_SECONDS if max_age_seconds else 0.0


def _intercepted_within(
    method: UnaryMethod, call_limiter: CallLimiter, middlewares: Sequence[Middleware]
) -> UnaryMethod:
    return reduce(lambda inner, outer: outer(inner), middlewares, intercepted_unary(method, call_limiter))


def _max_streams(limits: ServerLimits) -> int:
    return 2 * limits.max_concurrent_calls + ROOM_FOR_STREAMS  # reads, and writes


def _options(limits: ServerLimits, *, shares_port: bool) -> list[tuple[str, int]]:
    age = []
    if limits.max_connection_age_seconds:
        age = [
            ("grpc.max_connection_age_ms", max(1, round(limits.max_connection_age_seconds * 1000))),
            ("grpc.max_connection_age_grace_ms", LONGEST_CALL_SECONDS * 1000),
        ]
    return [
        *age,
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),  # lists have no bound here: clients have one of their own
        ("grpc.max_concurrent_streams", _max_streams(limits)),
        # Calls that arrive faster than they are taken over wait in the core, which by default cancels one or
        # the other past 1,000, and each past 3,000.
        ("grpc.server.max_pending_requests", _max_streams(limits)),
        ("grpc.server.max_pending_requests_hard_limit", _max_streams(limits) * ENGINE_MARGIN),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        (
            "grpc.absolute_max_metadata_size",
            MAX_METADATA_BYTES,
        ),  # else what lies between is refused at random
        ("grpc.http2.min_ping_interval_without_data_ms", SHORTEST_PING_INTERVAL_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.enable_channelz", 0),  # nothing serves what the core would write down of every call
        ("grpc.so_reuseport", int(shares_port)),  # else a taken port would be shared in silence
    ]
