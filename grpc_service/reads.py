"""The methods that only read, and the messages of each."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from grpc_service.generated import sidecar_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["SidecarService"].full_name


class ReadTypes(NamedTuple):
    """What a method takes and gives; Any, since which fields a message has depends on the method."""

    request: Any
    response: Any


READS: Mapping[str, ReadTypes] = {
    "GetBooleanEntitlement": ReadTypes(pb.GetBooleanEntitlementRequest, pb.GetBooleanEntitlementResponse),
    "GetNumericEntitlement": ReadTypes(pb.GetNumericEntitlementRequest, pb.GetNumericEntitlementResponse),
    "GetMeteredEntitlement": ReadTypes(pb.GetMeteredEntitlementRequest, pb.GetMeteredEntitlementResponse),
    "GetEnumEntitlement": ReadTypes(pb.GetEnumEntitlementRequest, pb.GetEnumEntitlementResponse),
    "GetEntitlement": ReadTypes(pb.GetEntitlementRequest, pb.GetEntitlementResponse),
    "GetEntitlementV2": ReadTypes(pb.GetEntitlementV2Request, pb.GetEntitlementV2Response),
    "GetEntitlements": ReadTypes(pb.GetEntitlementsRequest, pb.GetEntitlementsResponse),
    "GetEntitlementsStateV2": ReadTypes(pb.GetEntitlementsStateV2Request, pb.GetEntitlementsStateV2Response),
}
"""By name. ReloadEntitlements is none: it has the cloud asked."""


def path_of(name: str) -> str:
    """A method's, as on the wire."""
    return f"/{SERVICE}/{name}"
