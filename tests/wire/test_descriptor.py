"""The descriptor against the tables of contract/grpc.md: name by name, number by number.

The published SDKs are generated from the same descriptor, so one wrong number breaks every client. The
tables are a copy of the contract's, not read from sidecar.proto.
"""

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.proto.generate import GENERATED, differences

METHODS = """
GetEntitlements: GetEntitlementsRequest -> GetEntitlementsResponse
GetEntitlement: GetEntitlementRequest -> GetEntitlementResponse
GetBooleanEntitlement: GetBooleanEntitlementRequest -> GetBooleanEntitlementResponse
GetNumericEntitlement: GetNumericEntitlementRequest -> GetNumericEntitlementResponse
GetMeteredEntitlement: GetMeteredEntitlementRequest -> GetMeteredEntitlementResponse
GetEnumEntitlement: GetEnumEntitlementRequest -> GetEnumEntitlementResponse
ReportUsage: ReportUsageRequest -> ReportUsageResponse
ReportEvents: ReportEventsRequest -> google.protobuf.Empty
ReloadEntitlements: ReloadEntitlementsRequest -> ReloadEntitlementsResponse
ReportUsageBulk: ReportUsageBulkRequest -> ReportUsageBulkResponse
GetEntitlementV2: GetEntitlementV2Request -> GetEntitlementV2Response
GetEntitlementsStateV2: GetEntitlementsStateV2Request -> GetEntitlementsStateV2Response
"""

ENUMS = {
    "AccessDeniedReason": (
        "ACCESS_DENIED_REASON_",
        "UNSPECIFIED UNKNOWN CUSTOMER_IS_ARCHIVED CUSTOMER_NOT_FOUND CUSTOMER_RESOURCE_NOT_FOUND"
        " FEATURE_NOT_FOUND NO_ACTIVE_SUBSCRIPTION NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION"
        " REQUESTED_USAGE_EXCEEDING_LIMIT BUDGET_EXCEEDED REQUESTED_VALUES_MISMATCH"
        " FEATURE_TYPE_MISMATCH INSUFFICIENT_CREDITS REVOKED ENTITLEMENT_NOT_FOUND",
    ),
    "FeatureType": ("FEATURE_TYPE_", "UNSPECIFIED BOOLEAN NUMBER ENUM"),
    "MeterType": ("METER_TYPE_", "UNSPECIFIED NONE FLUCTUATING INCREMENTAL"),
    "EntitlementResetPeriod": ("ENTITLEMENT_RESET_PERIOD_", "UNSPECIFIED DAY HOUR MONTH WEEK YEAR"),
    "UsageUpdateBehavior": ("USAGE_UPDATE_BEHAVIOR_", "UNSPECIFIED DELTA SET"),
}
"""The prefix of the value names, and the names in the order of their numbers, from 0 on."""

MESSAGES = """
EntitlementFeature
    1 string id
    2 FeatureType feature_type
    3 opt string units
    4 opt string units_plural
    5 MeterType meter_type
    6 bool is_metered
BooleanEntitlement
    4 opt EntitlementFeature feature
NumericEntitlement
    4 opt EntitlementFeature feature
    5 opt int32 value
    6 bool is_unlimited
MeteredEntitlement
    4 opt EntitlementFeature feature
    5 opt double usage_limit
    6 bool is_unlimited
    7 double current_usage
    9 opt EntitlementResetPeriod reset_period
    10 opt google.protobuf.Timestamp next_reset_date (deprecated)
    11 opt google.protobuf.Timestamp usage_period_anchor
    12 opt google.protobuf.Timestamp usage_period_start
    13 opt google.protobuf.Timestamp usage_period_end
    14 opt bool has_soft_limit
EnumEntitlement
    4 opt EntitlementFeature feature
    5 rep string enum_values
Entitlement
    1 BooleanEntitlement boolean in entitlement
    2 NumericEntitlement numeric in entitlement
    3 MeteredEntitlement metered in entitlement
    4 EnumEntitlement enum in entitlement
EntitlementCurrency
    1 string currency_id
    2 string display_name
    3 opt string description
    4 opt string unit_singular
    5 opt string unit_plural
    6 opt google.protobuf.Struct additional_meta_data
CreditEntitlement
    1 EntitlementCurrency currency
    2 double usage_limit
    3 double current_usage
    4 double remaining
    5 opt google.protobuf.Timestamp usage_period_end
    6 bool has_soft_limit
EntitlementV2
    1 bool has_access
    2 bool is_fallback
    3 opt AccessDeniedReason access_denied_reason
    4 BooleanEntitlement boolean in entitlement
    5 NumericEntitlement numeric in entitlement
    6 MeteredEntitlement metered in entitlement
    7 EnumEntitlement enum in entitlement
    8 CreditEntitlement credit in entitlement
GetEntitlementV2Request
    1 string customer_id
    2 opt string resource_id
    3 opt string feature_id
    4 opt string currency_id
    5 opt GetEntitlementOptions options
GetEntitlementV2Response
    1 EntitlementV2 entitlement
GetEntitlementsStateV2Request
    1 string customer_id
    2 opt string resource_id
GetEntitlementsStateV2Response
    1 rep EntitlementV2 entitlements
    2 opt AccessDeniedReason access_denied_reason
GetEntitlementsRequest
    1 string customer_id
    2 opt string resource_id
GetEntitlementsResponse
    1 rep Entitlement entitlements
    2 opt AccessDeniedReason access_denied_reason
GetEntitlementFallback
    1 bool has_access
    2 opt int32 value
    3 opt bool is_unlimited
    4 opt double usage_limit
    5 rep string enum_values
GetEntitlementOptions
    1 opt GetEntitlementFallback fallback
    2 opt double requested_usage
    3 rep string requested_values
GetEntitlementRequest
    1 string customer_id
    2 string feature_id
    3 opt string resource_id
    4 opt GetEntitlementOptions options
GetEntitlementResponse
    1 bool has_access
    2 bool is_fallback
    3 opt AccessDeniedReason access_denied_reason
    4 BooleanEntitlement boolean in entitlement
    5 NumericEntitlement numeric in entitlement
    6 MeteredEntitlement metered in entitlement
    7 EnumEntitlement enum in entitlement
BooleanEntitlementFallback
    1 bool has_access
BooleanEntitlementOptions
    1 opt BooleanEntitlementFallback fallback
GetBooleanEntitlementRequest
    1 string customer_id
    2 string feature_id
    3 opt string resource_id
    4 opt BooleanEntitlementOptions options
GetBooleanEntitlementResponse
    1 bool has_access
    2 bool is_fallback
    3 opt AccessDeniedReason access_denied_reason
    4 BooleanEntitlement entitlement
NumericEntitlementFallback
    1 bool has_access
    2 opt int32 value
    3 opt bool is_unlimited
NumericEntitlementOptions
    1 opt NumericEntitlementFallback fallback
GetNumericEntitlementRequest
    1 string customer_id
    2 string feature_id
    3 opt string resource_id
    4 opt NumericEntitlementOptions options
GetNumericEntitlementResponse
    1 bool has_access
    2 bool is_fallback
    3 opt AccessDeniedReason access_denied_reason
    4 NumericEntitlement entitlement
MeteredEntitlementFallback
    1 bool has_access
    2 opt double usage_limit
    3 opt bool is_unlimited
MeteredEntitlementOptions
    1 opt double requested_usage
    2 opt MeteredEntitlementFallback fallback
GetMeteredEntitlementRequest
    1 string customer_id
    2 string feature_id
    3 opt string resource_id
    4 opt MeteredEntitlementOptions options
GetMeteredEntitlementResponse
    1 bool has_access
    2 bool is_fallback
    3 opt AccessDeniedReason access_denied_reason
    4 double requested_usage
    5 MeteredEntitlement entitlement
EnumEntitlementFallback
    1 bool has_access
    2 rep string enum_values
EnumEntitlementOptions
    1 rep string requested_values
    2 opt EnumEntitlementFallback fallback
GetEnumEntitlementRequest
    1 string customer_id
    2 string feature_id
    3 opt string resource_id
    4 opt EnumEntitlementOptions options
GetEnumEntitlementResponse
    1 bool has_access
    2 bool is_fallback
    3 opt AccessDeniedReason access_denied_reason
    4 rep string requested_values
    5 EnumEntitlement entitlement
RedisOptions
    1 string environment_prefix
    2 opt string host
    3 opt int32 port
    4 opt int32 db
    5 opt string username
    6 opt string password
    7 opt int32 ttl
EntitlementFallback
    1 BooleanEntitlementFallback boolean in fallback
    2 NumericEntitlementFallback numeric in fallback
    3 MeteredEntitlementFallback metered in fallback
    4 EnumEntitlementFallback enum in fallback
ApiConfig
    1 string api_key
    2 opt string api_url
    3 opt bool edge_enabled
    4 opt string edge_api_url
LocalSidecarConfig
    5 opt bool ws_enabled
    6 opt string ws_url
    7 opt RedisOptions redis
    8 map<string, EntitlementFallback> entitlements_fallback
    9 opt int64 cache_max_size_bytes
ReportUsageRequest
    1 string customer_id
    2 opt string resource_id
    3 string feature_id
    4 double value
    5 opt UsageUpdateBehavior update_behavior
    6 map<string, EventDimensionValue> dimensions
    7 opt google.protobuf.Timestamp timestamp
EventDimensionValue
    1 string string_value in value
    2 double number_value in value
    3 bool boolean_value in value
Event
    1 string event_name
    2 string customer_id
    3 string idempotency_key
    4 opt string resource_id
    5 map<string, EventDimensionValue> dimensions
    6 opt google.protobuf.Timestamp timestamp
ReportUsageResponse
    1 string measurement_id
    2 string customer_id
    3 opt string resource_id
    4 string feature_id
    5 opt double current_usage
    6 opt google.protobuf.Timestamp usage_period_start
    7 opt google.protobuf.Timestamp usage_period_end
ReportEventsRequest
    1 rep Event events
ReloadEntitlementsRequest
    1 string customer_id
    2 opt string resource_id
ReloadEntitlementsResponse
    1 bool entitled_entity_exists
ReportUsageBulkRequest
    1 rep ReportUsageRequest usages
ReportUsageBulkResponse
    1 rep ReportUsageResponse usages
"""
"""`opt` is proto3 optional, `rep` is repeated, `in` names the oneof."""


def test_file_and_package_have_the_names_of_the_published_descriptor() -> None:
    assert "stigg/sidecar/v1/sidecar.proto" == pb.DESCRIPTOR.name
    assert "stigg.sidecar.v1" == pb.DESCRIPTOR.package
    assert "proto3" == _file().syntax


def test_methods_are_the_twelve_unary_ones() -> None:
    service = pb.DESCRIPTOR.services_by_name["SidecarService"]

    assert METHODS.strip().splitlines() == [
        f"{method.name}: {_short(method.input_type)} -> {_short(method.output_type)}"
        for method in service.methods
    ]
    assert not any(method.client_streaming or method.server_streaming for method in service.methods)


def test_there_is_no_other_service() -> None:
    assert ["SidecarService"] == list(pb.DESCRIPTOR.services_by_name)


def test_enums_have_the_contracts_names_and_numbers() -> None:
    expected = {
        name: [f"{prefix}{value}={number}" for number, value in enumerate(values.split())]
        for name, (prefix, values) in ENUMS.items()
    }

    assert expected == {
        name: [f"{value.name}={value.number}" for value in enum.values]
        for name, enum in pb.DESCRIPTOR.enum_types_by_name.items()
    }


def test_messages_have_the_contracts_fields() -> None:
    """Numbers, types, names, `optional`, oneof membership: of all messages, also those no method uses."""
    expected: dict[str, list[str]] = {}
    for line in MESSAGES.strip("\n").splitlines():
        if line.startswith(" "):
            expected[next(reversed(expected))].append(line.strip())
        else:
            expected[line] = []

    assert expected == {
        name: [_described(field) for field in sorted(message.fields, key=lambda field: field.number)]
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
    }


def test_committed_stubs_are_what_the_proto_makes() -> None:
    """Code that was generated from another state of sidecar.proto would serve another contract."""
    assert [] == differences(GENERATED)


def _described(field: FieldDescriptor) -> str:
    """A field in the words of the contract."""
    own = _file_field(field)
    label = "opt " if own.proto3_optional else "rep " if field.is_repeated and not _is_map(field) else ""
    oneof = field.containing_oneof
    within = f" in {oneof.name}" if oneof is not None and not own.proto3_optional else ""
    deprecated = " (deprecated)" if field.GetOptions().deprecated else ""
    return f"{field.number} {label}{_type(field)} {field.name}{within}{deprecated}"


def _type(field: FieldDescriptor) -> str:
    if field.message_type is not None and _is_map(field):
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{_type(key)}, {_type(value)}>"
    if field.message_type is not None:
        return _short(field.message_type)
    if field.enum_type is not None:
        return _short(field.enum_type)
    return FieldDescriptorProto.Type.Name(_file_field(field).type).removeprefix("TYPE_").lower()


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _short(type_: Descriptor | EnumDescriptor) -> str:
    return type_.full_name.removeprefix("stigg.sidecar.v1.")


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    return file


def _file_field(field: FieldDescriptor) -> FieldDescriptorProto:
    """The field as it stands in the file: the runtime descriptor hides which optionals were written so."""
    proto = FieldDescriptorProto()
    own = FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    assert field.containing_type is not None
    names = field.containing_type.full_name.removeprefix("stigg.sidecar.v1.").split(".")
    messages = {message.name: message for message in own.message_type}
    message = messages[names[0]]
    for name in names[1:]:
        message = next(nested for nested in message.nested_type if nested.name == name)
    proto.CopyFrom(next(each for each in message.field if each.name == field.name))
    return proto
