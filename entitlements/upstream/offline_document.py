"""The file of an offline sidecar: customers → entitlements in the API's own shape; all its faults at once.

`{"customers": {ID: {"accessDeniedReason": …, "entitlementsV2": […], "resources": {ID: {…}}}}}`, JSON or YAML.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import yaml

from entitlements.domain.entitlement import FeatureType, MeterType, ResetPeriod
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import SidecarError
from entitlements.domain.reason import AccessDeniedReason
from entitlements.upstream.json_values import JsonObject, identifier, moment_ms, number
from entitlements.upstream.payloads import entity_from_state
from entitlements.upstream.state_documents import state_from_entity

MAX_FILE_BYTES = 256 * 1024 * 1024
"""A larger file is not read."""
YAML_SUFFIXES = frozenset({".yaml", ".yml"})
_DATES = ("entitlementUpdatedAt", "usageUpdatedAt", "validUntil", "usagePeriodAnchor", "usagePeriodStart",
          "usagePeriodEnd")  # fmt: skip
_NUMBERS = ("usageLimit", "currentUsage")
_BOOLEANS = ("isGranted", "hasUnlimitedUsage", "hasSoftLimit")
_REASONS = tuple(each.value for each in AccessDeniedReason)

States: TypeAlias = Mapping[EntityKey, Entity]


class InvalidOfflineFile(SidecarError):
    """The file cannot be used."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.problems = problems
        """One sentence for each fault, with its place."""

    def __str__(self) -> str:
        return "\n".join(self.problems)


class _YamlLoader(yaml.SafeLoader):
    """Dates stay strings, as in JSON."""


_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_offline_file(path: Path, *, now_ms: int) -> States:
    """All entities of the file.

    Raises:
        InvalidOfflineFile: it cannot be read, or something in it is not as it should be.
    """
    return _entities(read_states(path), now_ms=now_ms)


def read_states(path: Path) -> Mapping[EntityKey, JsonObject]:
    """All states of the file, as they stand there; raises as `read_offline_file`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror or 'no file'})") from error
    if len(content) > MAX_FILE_BYTES:
        raise _unusable(path, f"is larger than {MAX_FILE_BYTES} bytes")
    return _checked(_parsed(path, content), name=path.name)


def states_of_document(document: object, *, name: str, now_ms: int) -> States:
    """All entities of a document that was parsed already; raises InvalidOfflineFile."""
    return _entities(_checked(document, name=name), now_ms=now_ms)


def _checked(document: object, *, name: str) -> Mapping[EntityKey, JsonObject]:
    problems: list[str] = []
    states = dict(_states(document, problems))
    if problems:
        raise InvalidOfflineFile(tuple(f"{name}: {problem}" for problem in problems))
    return states


def _entities(states: Mapping[EntityKey, JsonObject], *, now_ms: int) -> States:
    return MappingProxyType({key: entity_from_state(state, now_ms=now_ms) for key, state in states.items()})


def document_of_states(states: States) -> dict[str, Any]:
    """The document that `states_of_document` reads as these entities."""
    customers: dict[str, Any] = {}
    for key, entity in states.items():
        customer = customers.setdefault(key.customer_id, {})
        if key.resource_id is None:
            customer |= state_from_entity(entity)
        else:
            customer.setdefault("resources", {})[key.resource_id] = state_from_entity(entity)
    return {"customers": customers}


def _unusable(path: Path, problem: str) -> InvalidOfflineFile:
    return InvalidOfflineFile((f"{path.name}: {problem}",))


def _parsed(path: Path, content: bytes) -> object:
    try:
        if path.suffix.lower() in YAML_SUFFIXES:
            return yaml.load(content, Loader=_YamlLoader)  # noqa: S506 - a SafeLoader, less its dates
        return json.loads(content)
    except json.JSONDecodeError as error:
        problem = f"no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        problem = f"no YAML: {error.problem}{place}"
    except (UnicodeDecodeError, yaml.reader.ReaderError):
        problem = "no text in UTF-8"
    # PyYAML lets out whatever a value raised that is not what its tag says: `!!int ""`, `!!bool x`.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError):
        problem = "it holds a value that cannot be read"
    except RecursionError:
        problem = "nested too deeply"
    raise _unusable(path, problem) from None


def _states(document: object, problems: list[str]) -> Iterator[tuple[EntityKey, JsonObject]]:
    customers = document.get("customers") if isinstance(document, dict) else None
    if not isinstance(customers, dict):
        problems.append('it must be {"customers": {…}}, an object of states by the customer\'s id')
        return
    for customer_id, state in customers.items():
        place = f"customers.{_named(customer_id)}"
        if identifier(customer_id) is None:
            problems.append(f"{place}: the id must be a string that is not empty; quote it")
        elif not isinstance(state, dict):
            problems.append(f"{place}: it must be an object with entitlementsV2")
        else:
            yield from _states_of_customer(customer_id, state, place, problems)


def _states_of_customer(
    customer_id: str, state: JsonObject, place: str, problems: list[str]
) -> Iterator[tuple[EntityKey, JsonObject]]:
    resources = state.get("resources", {})
    if not isinstance(resources, dict):
        problems.append(f"{place}.resources: it must be an object of states by the resource's id")
        resources = {}
    if "entitlementsV2" in state or not resources:
        problems.extend(_faults_of_state(state, place))
        yield EntityKey(customer_id), state
    for resource_id, resource in resources.items():
        resource_place = f"{place}.resources.{_named(resource_id)}"
        if identifier(resource_id) is None or not isinstance(resource, dict):
            problems.append(f"{resource_place}: it must be a string with an object with entitlementsV2")
            continue
        problems.extend(_faults_of_state(resource, resource_place))
        yield EntityKey(customer_id, resource_id), resource


def _faults_of_state(state: JsonObject, place: str) -> Iterator[str]:
    yield from _unless_one_of(state.get("accessDeniedReason"), _REASONS, f"{place}.accessDeniedReason")
    entitlements = state.get("entitlementsV2")
    if not isinstance(entitlements, list):
        yield f"{place}.entitlementsV2: it must be a list of entitlements"
        return
    for index, each in enumerate(entitlements):
        yield from _faults_of_entitlement(each, f"{place}.entitlementsV2[{index}]")


def _faults_of_entitlement(data: object, place: str) -> Iterator[str]:
    if not isinstance(data, dict):
        yield f"{place}: it must be an object"
        return
    kind = data.get("__typename")
    if kind == "FeatureEntitlement":
        yield from _faults_of_feature(data.get("feature"), f"{place}.feature")
    elif kind == "CreditEntitlement":
        currency = data.get("currency")
        if not _is_named(currency, "currencyId"):
            yield f"{place}.currency.currencyId: it must be a string that is not empty"
    else:
        yield f"{place}.__typename: it must be FeatureEntitlement or CreditEntitlement"
    yield from _faults_of_fields(data, place)


def _faults_of_feature(feature: object, place: str) -> Iterator[str]:
    if not _is_named(feature, "refId") or not isinstance(feature, dict):
        yield f"{place}.refId: it must be a string that is not empty"
        return
    types = tuple(each.value for each in FeatureType)
    yield from _unless_one_of(feature.get("featureType"), types, f"{place}.featureType", may_lack=False)
    meters = tuple(each.value for each in MeterType)
    yield from _unless_one_of(feature.get("meterType"), meters, f"{place}.meterType")


def _faults_of_fields(data: JsonObject, place: str) -> Iterator[str]:
    periods = tuple(each.value for each in ResetPeriod)
    yield from _unless_one_of(data.get("accessDeniedReason"), _REASONS, f"{place}.accessDeniedReason")
    yield from _unless_one_of(data.get("resetPeriod"), periods, f"{place}.resetPeriod")
    date = "it must be an ISO 8601 date, or epoch milliseconds"
    yield from _unless(data, _DATES, lambda value: moment_ms(value) is not None, place, date)
    yield from _unless(data, _NUMBERS, lambda value: number(value) is not None, place, "it must be a number")
    yield from _unless(
        data, _BOOLEANS, lambda value: isinstance(value, bool), place, "it must be true or false"
    )
    values = data.get("enumValues")
    if values is not None and not (
        isinstance(values, list) and all(isinstance(each, str) for each in values)
    ):
        yield f"{place}.enumValues: it must be a list of strings"


def _unless(
    data: JsonObject,
    names: tuple[str, ...],
    is_usable: Callable[[object], bool],
    place: str,
    allowed: str,
) -> Iterator[str]:
    for name in names:
        if data.get(name) is not None and not is_usable(data[name]):
            yield f"{place}.{name}: {allowed}"


def _unless_one_of(
    value: object, allowed: tuple[str, ...], place: str, *, may_lack: bool = True
) -> Iterator[str]:
    if value in allowed or (value is None and may_lack):
        return
    yield f"{place}: it must be one of {', '.join(allowed)}"


def _named(id_: object) -> str:
    """The id as it stands in a place; a number can have too many digits to be written."""
    try:
        return str(id_)
    except ValueError:
        return "…"


def _is_named(value: object, field: str) -> bool:
    return isinstance(value, dict) and isinstance(value.get(field), str) and bool(value[field])
