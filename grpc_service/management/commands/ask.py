"""A person's question to a running sidecar, over gRPC."""

import sys
from typing import Any

import grpc
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from google.protobuf.json_format import MessageToDict

from entitlements.domain.decision import Query
from entitlements.domain.ports import Source
from entitlements.management.printing import EXIT_NO, EXIT_NOT_ASKED, Printer
from entitlements.management.question import add_question, finite, query_from_options
from entitlements.service.figures import amount, duration_from_ms
from entitlements.service.wording import REASONS
from grpc_service.channels import channel_options
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated.sidecar_pb2_grpc import SidecarServiceStub

DEFAULT_TIMEOUT_SECONDS = 15.0

_NOTHING_KNOWN = frozenset({Source.FALLBACK.value, Source.OFFLINE.value})
"""Where an answer comes from when neither a tier nor the cloud knew the customer."""

_REASONS = {reason.name: text for reason, text in REASONS.items()}


class Command(BaseCommand):
    """`manage.py ask CUSTOMER FEATURE`."""

    help = (
        "Asks a running sidecar whether a customer may use a feature. "
        f"Exits with 0 when granted, {EXIT_NO} when denied, {EXIT_NOT_ASKED} when it could not be asked."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Names the parts of the question."""
        add_question(parser)
        parser.add_argument(
            "--address", help="host:port of the sidecar; default: the demo's, or GRPC_PORT here"
        )
        parser.add_argument(
            "--timeout", type=finite, default=DEFAULT_TIMEOUT_SECONDS, help="seconds to wait for the answer"
        )
        parser.add_argument("--json", action="store_true", help="print the answer as JSON, for scripts")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Asks, prints, and exits with the answer."""
        address = options["address"] or settings.SIDECAR_ASK_ADDRESS
        try:
            entitlement, provenance = _ask(address, _request(query_from_options(options)), options["timeout"])
        except grpc.RpcError as error:
            raise CommandError(_failure(address, error), returncode=EXIT_NOT_ASKED) from error
        headline, *details = describe(entitlement, provenance)
        Printer.of(self.stdout, as_json=options["json"]).verdict(
            headline,
            details,
            style="bold green" if entitlement.has_access else "bold red",
            document=MessageToDict(entitlement) | {"provenance": provenance},
        )
        if not entitlement.has_access:
            sys.exit(EXIT_NO)


def describe(entitlement: pb.EntitlementV2, provenance: dict[str, str]) -> list[str]:
    """The answer in lines, as a person would like to read it."""
    if entitlement.has_access:
        lines = ["granted"]
    else:
        name = pb.AccessDeniedReason.Name(entitlement.access_denied_reason).removeprefix(
            "ACCESS_DENIED_REASON_"
        )
        lines = [f"denied: {_REASONS.get(name, name.lower().replace('_', ' '))}"]
    if entitlement.is_fallback:
        lines.append(_fallback_reason(provenance))
    lines += _details(entitlement)
    return [*lines, _provenance_text(provenance)]


def _fallback_reason(provenance: dict[str, str]) -> str:
    """Why a fallback answers: nothing is known of the customer, or nothing of this entitlement."""
    source = provenance.get("stigg-source")
    if source is None:
        return "this is a fallback"
    if source in _NOTHING_KNOWN:
        return "this is a fallback: the sidecar knows nothing better"
    return "this is a fallback: the cloud's state holds no such entitlement"


def _details(entitlement: pb.EntitlementV2) -> list[str]:
    match entitlement.WhichOneof("entitlement"):
        case "numeric":
            numeric = entitlement.numeric
            value = numeric.value if numeric.HasField("value") else "none"
            return [f"value: {'unlimited' if numeric.is_unlimited else value}"]
        case "metered":
            return _metered_details(entitlement.metered)
        case "enum":
            return [f"values: {', '.join(entitlement.enum.enum_values) or 'none'}"]
        case "credit":
            credit = entitlement.credit
            unit = credit.currency.unit_plural or credit.currency.currency_id
            return [f"balance: {amount(credit.remaining)} of {amount(credit.usage_limit)} {unit}"]
        case _:
            return []


def _metered_details(metered: pb.MeteredEntitlement) -> list[str]:
    units = metered.feature.units_plural
    limit = "unlimited" if metered.is_unlimited else amount(metered.usage_limit)
    soft = " (soft limit)" if metered.has_soft_limit else ""
    lines = [f"used: {amount(metered.current_usage)} of {limit} {units}".rstrip() + soft]
    if metered.HasField("usage_period_end"):
        lines.append(f"resets: {metered.usage_period_end.ToJsonString()}")
    return lines


def _provenance_text(provenance: dict[str, str]) -> str:
    parts = [f"from: {provenance.get('stigg-source', 'unknown')}"]
    if "stigg-state" in provenance:
        parts.append(provenance["stigg-state"])
    if "stigg-age-ms" in provenance:
        parts.append(f"confirmed {duration_from_ms(int(provenance['stigg-age-ms']))} ago")
    return ", ".join(parts)


def _request(query: Query) -> pb.GetEntitlementV2Request:
    return pb.GetEntitlementV2Request(
        customer_id=query.key.customer_id,
        resource_id=query.key.resource_id,
        feature_id=query.feature_id,
        currency_id=query.currency_id,
        options=pb.GetEntitlementOptions(
            requested_usage=query.requested_usage, requested_values=query.requested_values
        ),
    )


def _ask(
    address: str, request: pb.GetEntitlementV2Request, timeout_seconds: float
) -> tuple[pb.EntitlementV2, dict[str, str]]:
    with grpc.insecure_channel(address, options=channel_options(address)) as channel:
        response, call = SidecarServiceStub(channel).GetEntitlementV2.with_call(
            request, timeout=timeout_seconds
        )
        trailing = {key: str(value) for key, value in call.trailing_metadata() or ()}
        return response.entitlement, {
            key: value for key, value in trailing.items() if key.startswith("stigg-")
        }


def _failure(address: str, error: Any) -> str:
    code: grpc.StatusCode = (
        error.code()
    )  # the errors of a finished call are calls, which their type does not say
    if code is grpc.StatusCode.UNAVAILABLE:
        return f"no sidecar answers at {address}; start one with `make demo` or `manage.py runsidecar`"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the sidecar at {address} did not answer in time; see its /readyz?verbose"
    return f"the sidecar at {address} refused the question ({code.name})"
