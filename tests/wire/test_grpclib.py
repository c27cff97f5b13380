"""An independent client: grpclib, with its own HTTP/2 and stubs made from our proto."""

import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import grpclib
import grpclib.client
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_tools import protoc  # type: ignore[import-untyped]
from grpclib.const import Cardinality

from emulator.server import Emulator
from grpc_service.generated import sidecar_pb2 as pb
from tests.cloud_states import boolean_state, metered_state
from tests.harness import ROOT, SidecarProcess

SERVICE = "stigg.sidecar.v1.SidecarService"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Grpclib's own generated module; the messages are those of protobuf."""
    folder = tmp_path_factory.mktemp("stubs")
    source = ROOT / "grpc_service" / "proto"
    plugin = Path(sys.executable).parent / "protoc-gen-grpclib_python"
    well_known = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(
        [
            "protoc",
            f"--plugin=protoc-gen-grpclib_python={plugin}",
            f"-I{source}",
            f"-I{well_known}",
            f"--grpclib_python_out={folder}",
            str(next(source.rglob("sidecar.proto"))),
        ]
    )
    assert code == 0
    (made,) = folder.rglob("*_grpc.py")
    text = made.read_text()
    made.write_text(text.replace("sidecar_pb2", "grpc_service.generated.sidecar_pb2"))
    sys.path.insert(0, str(made.parent))
    yield import_module(made.stem)
    sys.path.remove(str(made.parent))


@pytest.fixture
async def channel(sidecar: SidecarProcess) -> AsyncIterator[grpclib.client.Channel]:
    channel = grpclib.client.Channel("127.0.0.1", sidecar.grpc_port)
    yield channel
    channel.close()


@pytest.fixture
def sdk(stubs: Any, channel: grpclib.client.Channel) -> Any:
    return stubs.SidecarServiceStub(channel)


async def test_every_method_is_answered(emulator: Emulator, sdk: Any) -> None:
    """All twelve, with right answers."""
    emulator.state.put("c", boolean_state(), push=False)
    emulator.state.put("m", metered_state(limit=10), push=False)

    boolean = await sdk.GetBooleanEntitlement(
        pb.GetBooleanEntitlementRequest(customer_id="c", feature_id="f")
    )
    numeric = await sdk.GetNumericEntitlement(
        pb.GetNumericEntitlementRequest(customer_id="c", feature_id="f")
    )
    metered = await sdk.GetMeteredEntitlement(
        pb.GetMeteredEntitlementRequest(customer_id="m", feature_id="m")
    )
    enum = await sdk.GetEnumEntitlement(pb.GetEnumEntitlementRequest(customer_id="c", feature_id="f"))
    generic = await sdk.GetEntitlement(pb.GetEntitlementRequest(customer_id="c", feature_id="f"))
    v2 = await sdk.GetEntitlementV2(pb.GetEntitlementV2Request(customer_id="c", feature_id="f"))
    listed = await sdk.GetEntitlements(pb.GetEntitlementsRequest(customer_id="m"))
    state = await sdk.GetEntitlementsStateV2(pb.GetEntitlementsStateV2Request(customer_id="m"))
    report = pb.ReportUsageRequest(customer_id="m", feature_id="m", value=4)
    reported = await sdk.ReportUsage(report)
    bulk = await sdk.ReportUsageBulk(pb.ReportUsageBulkRequest(usages=[report, report]))
    event = pb.Event(
        customer_id="m", event_name="call", idempotency_key="k", timestamp=Timestamp(seconds=1_750_000_000)
    )
    await sdk.ReportEvents(pb.ReportEventsRequest(events=[event]))
    reloaded = await sdk.ReloadEntitlements(pb.ReloadEntitlementsRequest(customer_id="m"))

    assert {
        "boolean": True,
        "numeric": False,
        "metered": True,
        "enum": False,
        "generic": True,
        "v2": True,
    } == {
        "boolean": boolean.has_access,
        "numeric": numeric.has_access,
        "metered": metered.has_access,
        "enum": enum.has_access,
        "generic": generic.has_access,
        "v2": v2.entitlement.has_access,
    }
    assert not boolean.is_fallback
    assert 10 == metered.entitlement.usage_limit
    assert ["m"] == [each.metered.feature.id for each in listed.entitlements]
    assert ["m"] == [each.metered.feature.id for each in state.entitlements]
    assert 4 == reported.current_usage
    assert [8, 12] == [usage.current_usage for usage in bulk.usages]
    assert ["call"] == [each.event["eventName"] for each in emulator.state.ledger.events]
    assert reloaded.entitled_entity_exists


async def test_a_refused_write_is_a_status(sdk: Any) -> None:
    with pytest.raises(grpclib.GRPCError) as caught:
        await sdk.ReportUsage(pb.ReportUsageRequest(customer_id="", feature_id="f", value=1))

    assert grpclib.const.Status.INVALID_ARGUMENT is caught.value.status
    assert "customer_id" in (caught.value.message or "")


async def test_provenance_is_in_the_trailing_metadata(emulator: Emulator, sdk: Any) -> None:
    emulator.state.put("c", boolean_state(), push=False)
    request = pb.GetBooleanEntitlementRequest(customer_id="c", feature_id="f")

    sources = []
    for _ in range(2):
        async with sdk.GetBooleanEntitlement.open() as stream:
            await stream.send_message(request, end=True)
            await stream.recv_message()
            await stream.recv_trailing_metadata()
        sources.append(stream.trailing_metadata["stigg-source"])

    assert ["edge", "memory"] == sources


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_health_is_answered(channel: grpclib.client.Channel, service: str) -> None:
    method: Any = grpclib.client.UnaryUnaryMethod(
        channel, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
    )

    answer = await method(health_pb2.HealthCheckRequest(service=service))

    assert health_pb2.HealthCheckResponse.SERVING == answer.status


async def test_health_of_an_unknown_service_is_not_found(channel: grpclib.client.Channel) -> None:
    method: Any = grpclib.client.UnaryUnaryMethod(
        channel, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
    )

    with pytest.raises(grpclib.GRPCError) as caught:
        await method(health_pb2.HealthCheckRequest(service="nobody"))

    assert grpclib.const.Status.NOT_FOUND is caught.value.status


SIDECAR_FILE = "stigg/sidecar/v1/sidecar.proto"
SYMBOLS = {
    SERVICE: SIDECAR_FILE,
    f"{SERVICE}.GetBooleanEntitlement": SIDECAR_FILE,
    "stigg.sidecar.v1.GetEntitlementRequest": SIDECAR_FILE,
    "grpc.health.v1.Health.Check": "grpc_health/v1/health.proto",
    "grpc.reflection.v1.ServerReflection.ServerReflectionInfo": "grpc_reflection/v1/reflection.proto",
    "grpc.reflection.v1alpha.ServerReflection": "grpc_reflection/v1alpha/reflection.proto",
    f"{SERVICE}.Nothing": None,
    "nobody.Nothing": None,
}


async def test_reflection_in_both_versions(channel: grpclib.client.Channel) -> None:
    """A developer points a generic client at the port; it names a method as `Service.Method`."""
    for version in ("v1", "v1alpha"):
        listed = await _reflected(channel, version, list_services="")
        found = {}
        for symbol in SYMBOLS:
            answer = await _reflected(channel, version, file_containing_symbol=symbol)
            files = answer.file_descriptor_response.file_descriptor_proto
            found[symbol] = FileDescriptorProto.FromString(files[0]).name if files else None

        assert SYMBOLS == found
        assert {
            *(SERVICE, "grpc.health.v1.Health"),
            *("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"),
        } == {service.name for service in listed.list_services_response.service}


async def _reflected(
    channel: grpclib.client.Channel, version: str, **asked: Any
) -> reflection_pb2.ServerReflectionResponse:
    stream = channel.request(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        Cardinality.STREAM_STREAM,
        reflection_pb2.ServerReflectionRequest,
        reflection_pb2.ServerReflectionResponse,
    )

    async with stream:
        await stream.send_message(reflection_pb2.ServerReflectionRequest(**asked), end=True)
        answer = await stream.recv_message()
    assert answer is not None
    return answer


async def test_health_lists_every_service(channel: grpclib.client.Channel) -> None:
    messages: Any = health_pb2  # its stubs do not know List yet
    method: Any = grpclib.client.UnaryUnaryMethod(
        channel, "/grpc.health.v1.Health/List", messages.HealthListRequest, messages.HealthListResponse
    )

    answer = await method(messages.HealthListRequest())

    serving = health_pb2.HealthCheckResponse.SERVING
    assert {"": serving, SERVICE: serving} == {name: each.status for name, each in answer.statuses.items()}


async def test_an_unknown_method_is_unimplemented(channel: grpclib.client.Channel) -> None:
    method: Any = grpclib.client.UnaryUnaryMethod(
        channel,
        f"/{SERVICE}/DoesNotExist",
        pb.GetBooleanEntitlementRequest,
        pb.GetBooleanEntitlementResponse,
    )

    with pytest.raises(grpclib.GRPCError) as caught:
        await method(pb.GetBooleanEntitlementRequest())

    assert grpclib.const.Status.UNIMPLEMENTED is caught.value.status
