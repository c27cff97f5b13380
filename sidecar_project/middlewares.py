"""What stands around every gRPC method of a process, as far as the configuration asks for it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from entitlements.composition import Sidecar
from entitlements.config import SidecarConfig
from grpc_service.decision_log import DecisionLog
from grpc_service.ids import id_key
from grpc_service.methods import Middleware


@asynccontextmanager
async def middlewares(sidecar: Sidecar) -> AsyncIterator[Sequence[Middleware]]:
    """While entered, they can be used; the last one stands outermost."""
    async with _shadow(sidecar) as shadow:
        yield (*shadow, *_decision_log(sidecar))


def _decision_log(sidecar: Sidecar) -> Sequence[Middleware]:
    config = sidecar.config
    if not config.sidecar_decision_log:
        return ()
    log = DecisionLog(
        sample_rate=config.sidecar_decision_log_sample_rate,
        max_per_second=config.sidecar_decision_log_max_per_second,
        id_key=_id_key(config, is_clear=config.sidecar_decision_log_ids),
        monotonic=sidecar.clock.monotonic,
        random=sidecar.random,
    )
    return (log.middlewares,)


@asynccontextmanager
async def _shadow(sidecar: Sidecar) -> AsyncIterator[Sequence[Middleware]]:
    """A sample of reads is compared with another sidecar, if there is one."""
    ledger, config = sidecar.shadow, sidecar.config
    if ledger is None:
        yield ()
        return
    from grpc_service.shadow import Shadow  # noqa: PLC0415 - its client is memory that nobody else needs

    shadow = Shadow(
        ledger=ledger,
        background=sidecar.background,
        random=sidecar.random,
        sample=config.sidecar_shadow_sample,
        id_key=_id_key(config, is_clear=config.sidecar_shadow_ids),
    )
    async with sidecar.background.kept("shadow", shadow.run):
        yield (shadow.middleware,)


def _id_key(config: SidecarConfig, *, is_clear: bool) -> bytes | None:
    return None if is_clear else id_key(config.server_api_key.get_secret_value())
