"""What keeps writes while the cloud is away, and who delivers them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from django.conf import settings

from entitlements.background import Background
from entitlements.composition.shared_redis import SharedRedis, this_process
from entitlements.config import SidecarConfig
from entitlements.domain.membership import LeaseStatus
from entitlements.domain.outbox import Outbox, OutboxLimits
from entitlements.domain.ports import Clock, ReportSink
from entitlements.domain.usage import UsageReceipt
from entitlements.outbox.local_file import LocalFileOutbox
from entitlements.outbox.redis_stream import RedisStreamOutbox
from entitlements.redis.lease import Lease
from entitlements.service.outbox_dispatcher import OutboxDispatcher

OUTBOX_FILE = "outbox.sqlite3"
"""In SIDECAR_DATA_DIR, where there is no Redis."""


def metrics_port() -> int:
    """Where this environment's sidecar answers over HTTP (METRICS_PORT)."""
    port: int = settings.SIDECAR.config.metrics_port
    return port


def data_dir() -> Path:
    """The folder of what outlives the process (SIDECAR_DATA_DIR)."""
    folder: Path = settings.DATA_DIR
    return folder


@dataclass(kw_only=True)
class OutboxParts:
    """What keeps writes while the cloud is away, and delivers them later."""

    dispatcher: OutboxDispatcher
    store: Outbox
    lease: Lease | None
    """Held by the process that delivers for all, where several share the outbox."""
    grace_seconds: float

    @asynccontextmanager
    async def running(self, background: Background) -> AsyncIterator[None]:
        """While entered, what waits is delivered; leaving delivers the rest within the grace period."""
        try:
            async with background.kept("outbox", self.dispatcher.run):
                yield
        finally:
            await self.dispatcher.drain(grace_seconds=self.grace_seconds)
            await self.close()

    async def close(self) -> None:
        """Lets another process deliver, and closes what is open."""
        if self.lease is not None:
            await self.lease.release()
        await self.store.stop()


def outbox_parts(
    config: SidecarConfig,
    sink: ReportSink,
    clock: Clock,
    redis: SharedRedis | None,
    show: Callable[[UsageReceipt], Awaitable[None]],
) -> OutboxParts | None:
    """The outbox: in Redis where there is one, else in a file; None where it is off, or offline."""
    if config.sidecar_outbox == "off" or config.offline:
        return None
    limits = OutboxLimits(
        max_entries=config.sidecar_outbox_max_entries, max_bytes=config.sidecar_outbox_max_bytes
    )
    store: Outbox
    lease = None
    if redis is None:
        store = LocalFileOutbox(data_dir() / OUTBOX_FILE, limits=limits, clock=clock)
    else:
        name = redis.keys.outbox
        store = RedisStreamOutbox(redis.connection, name=name, limits=limits, clock=clock)
        lease = Lease(redis.connection, name=f"{name}:lease", holder=this_process(), clock=clock)

    async def may_deliver() -> bool:
        return lease is None or await lease.try_hold() is LeaseStatus.OURS

    dispatcher = OutboxDispatcher(
        outbox=store,
        sink=sink,
        clock=clock,
        random=Random(),  # noqa: S311 - for jitter
        may_deliver=may_deliver,
        show=show,
    )
    return OutboxParts(
        dispatcher=dispatcher, store=store, lease=lease, grace_seconds=config.sidecar_shutdown_grace_seconds
    )
