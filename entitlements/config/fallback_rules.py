"""ENTITLEMENTS_FALLBACK: JSON text to fallback values, each fault shown with its key and position."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from entitlements.domain.bounds import INT32_MAX, INT32_MIN
from entitlements.domain.fallback import FallbackValue


class _Rule(BaseModel):
    """One feature's fallback, as it is written in JSON (contract/evaluation.md, section 3)."""

    model_config = ConfigDict(strict=True, extra="forbid")

    has_access: bool = Field(alias="hasAccess")
    usage_limit: float | None = Field(None, alias="usageLimit", allow_inf_nan=False)
    is_unlimited: bool | None = Field(None, alias="isUnlimited")
    value: int | None = Field(None, ge=INT32_MIN, le=INT32_MAX)
    enum_values: list[str] | None = Field(None, alias="enumValues")
    current_usage: float | None = Field(None, alias="currentUsage", allow_inf_nan=False)
    has_soft_limit: bool | None = Field(None, alias="hasSoftLimit")
    max_stale_seconds: float | None = Field(None, alias="maxStaleSeconds", gt=0, allow_inf_nan=False)


def parse_fallback_rules(text: str) -> Mapping[str, FallbackValue]:
    """The fallbacks by feature id.

    Raises:
        ValueError: its sentence names the key and the position of the first fault.
    """
    try:
        rules = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"it must be a JSON object; {error.msg} at line {error.lineno}, column {error.colno}"
        raise ValueError(message) from error
    except RecursionError as error:
        message = "it must be a JSON object; this one is nested too deeply"
        raise ValueError(message) from error
    if not isinstance(rules, dict):
        message = 'it must be a JSON object of feature ids, such as {"feature-sso": {"hasAccess": true}}'
        raise ValueError(message)  # noqa: TRY004 - a wrong value to whoever wrote it
    return MappingProxyType({feature_id: _rule(feature_id, rule) for feature_id, rule in rules.items()})


def rule_document(value: FallbackValue) -> dict[str, object]:
    """The fallback in that form."""
    fields = {
        "hasAccess": value.has_access,
        "usageLimit": value.usage_limit,
        "isUnlimited": value.is_unlimited,
        "value": value.value,
        "enumValues": value.enum_values,
        "currentUsage": value.current_usage,
        "hasSoftLimit": value.has_soft_limit,
        "maxStaleSeconds": value.max_stale_seconds,
    }
    return {name: field for name, field in fields.items() if field is not None}


def _rule(feature_id: str, rule: object) -> FallbackValue:
    try:
        parsed = _Rule.model_validate(rule)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"])
        position = f"{feature_id}.{field}" if field else feature_id
        message = f"at {position}: {fault['msg'].lower()}"
        raise ValueError(message) from error
    values: dict[str, Any] = parsed.model_dump()
    enum_values = values.pop("enum_values")
    return FallbackValue(enum_values=None if enum_values is None else tuple(enum_values), **values)


def _parsed(value: object) -> object:
    return parse_fallback_rules(value) if isinstance(value, str) else value


FallbackRulesText = Annotated[Mapping[str, FallbackValue], PlainValidator(_parsed)]
