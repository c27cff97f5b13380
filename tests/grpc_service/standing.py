"""Sidecars that stand in this process, each on a socket, each with the customers of a file of its own."""

import copy
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from entitlements.composition import Sidecar, build
from entitlements.config import load
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.interface import EngineSettings, MakeEngine
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Middleware, Reply, UnaryMethod, on_loop
from grpc_service.reads import READS, path_of
from grpc_service.server import GrpcServer, ServerLimits
from grpc_service.servicer import SidecarServicer
from tests.cloud_states import _entitlement

LIMITS = ServerLimits(max_message_bytes=4_000_000, max_concurrent_calls=100)
STATE = {
    "entitlementsV2": [
        _entitlement("flag", "BOOLEAN"),
        _entitlement("number", "NUMBER", usageLimit=5),
        _entitlement("meter", "NUMBER", meter_type="Incremental", usageLimit=10, currentUsage=3),
        _entitlement("word", "ENUM", enumValues=["eu", "us"]),
        {
            "__typename": "CreditEntitlement",
            "accessDeniedReason": None,
            "currency": {"currencyId": "tokens", "displayName": "Tokens", "additionalMetaData": {"a": "b"}},
            "usageLimit": 100,
            "currentUsage": 40,
            "hasSoftLimit": False,
            "entitlementUpdatedAt": "2026-06-01T00:00:00.000Z",
            "usageUpdatedAt": "2026-06-01T00:00:00.000Z",
            "usagePeriodEnd": None,
            "validUntil": None,
        },
    ]
}
"""One of each kind."""
CUSTOMER = "customer-1"
REQUESTS: Mapping[str, Any] = {
    "GetBooleanEntitlement": pb.GetBooleanEntitlementRequest(customer_id=CUSTOMER, feature_id="flag"),
    "GetNumericEntitlement": pb.GetNumericEntitlementRequest(customer_id=CUSTOMER, feature_id="number"),
    "GetMeteredEntitlement": pb.GetMeteredEntitlementRequest(customer_id=CUSTOMER, feature_id="meter"),
    "GetEnumEntitlement": pb.GetEnumEntitlementRequest(customer_id=CUSTOMER, feature_id="word"),
    "GetEntitlement": pb.GetEntitlementRequest(customer_id=CUSTOMER, feature_id="meter"),
    "GetEntitlementV2": pb.GetEntitlementV2Request(customer_id=CUSTOMER, currency_id="tokens"),
    "GetEntitlements": pb.GetEntitlementsRequest(customer_id=CUSTOMER),
    "GetEntitlementsStateV2": pb.GetEntitlementsStateV2Request(customer_id=CUSTOMER),
}
PLANTED: Mapping[str, tuple[str, dict[str, Any], set[str]]] = {
    "GetBooleanEntitlement": (
        "flag",
        {"accessDeniedReason": "Revoked"},
        {"has_access", "access_denied_reason"},
    ),
    "GetNumericEntitlement": ("number", {"usageLimit": 6}, {"entitlement.value"}),
    "GetMeteredEntitlement": ("meter", {"usageLimit": 11}, {"entitlement.usage_limit"}),
    "GetEnumEntitlement": ("word", {"enumValues": ["eu"]}, {"entitlement.enum_values"}),
    "GetEntitlement": ("meter", {"hasSoftLimit": True}, {"metered.has_soft_limit"}),
    "GetEntitlementV2": (
        "tokens",
        {"currentUsage": 41},
        {"entitlement.credit.current_usage", "entitlement.credit.remaining"},
    ),
    "GetEntitlements": ("number", {"usageLimit": 7}, {"entitlements.numeric.value"}),
    "GetEntitlementsStateV2": ("meter", {"currentUsage": 4}, {"entitlements.metered.current_usage"}),
}
"""By method: which entitlement the other sidecar answers otherwise, how, and the fields that show it."""


def with_planted(id_: str, **changed: Any) -> dict[str, Any]:
    """The state, with one entitlement answered otherwise."""
    state = copy.deepcopy(STATE)
    for each in state["entitlementsV2"]:
        about: Any = each.get("feature") or each["currency"]
        if id_ in (about.get("refId"), about.get("currencyId")):
            each.update(changed)
    return state


def built(folder: Path, customers: Mapping[str, Any]) -> Sidecar:
    """The parts of a sidecar that answers from a file."""
    folder.mkdir(exist_ok=True)
    file = folder / "customers.json"
    file.write_text(json.dumps({"customers": customers}))
    return build(load({"OFFLINE": "1", "SIDECAR_OFFLINE_FILE": str(file)}).config)


@asynccontextmanager
async def standing(
    sidecar: Sidecar, *, make_engine: MakeEngine = AioEngine, middlewares: Sequence[Middleware] = ()
) -> AsyncIterator[tuple[str, GrpcServer]]:
    """Its address, and its server."""
    servicer = SidecarServicer(
        reader=sidecar.reader,
        response_cache=sidecar.response_cache,
        usage_reporter=sidecar.usage_reporter,
        maintenance=sidecar.maintenance,
        new_idempotency_key=lambda: "key",
        sends_provenance=True,
    )
    server = GrpcServer(servicer, limits=LIMITS, make_engine=make_engine, middlewares=middlewares)
    port = server.listen("127.0.0.1", 0)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        await server.stop(grace_seconds=1)
        await sidecar.background.stop()
        await sidecar.http_client.aclose()


@asynccontextmanager
async def answering(answer: Any) -> AsyncIterator[str]:
    """The address of something that answers every read by `answer(path, request)`."""

    def method(path: str) -> UnaryMethod:
        async def answer_it(request: bytes, _: Call) -> Reply:
            return await answer(path, request), ()

        return UnaryMethod(path=path, begin=on_loop(answer_it))

    methods = [method(path_of(name)) for name in READS]
    engine = AioEngine(EngineSettings(methods=methods, options=(), max_concurrent_calls=1000))
    port = engine.listen("127.0.0.1:0", None)
    await engine.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await engine.stop(grace_seconds=0)


async def ask(address: str, method: str, request: Any = None) -> bytes:
    """One read, as bytes."""
    request = REQUESTS[method] if request is None else request
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(path_of(method))
        reply: bytes = await call(request.SerializeToString(), timeout=10)
        return reply
