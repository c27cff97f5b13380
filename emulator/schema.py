"""The schema and its execution: which documents are valid, and what one selects from a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLEnumType,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    build_schema,
    execute_sync,
    parse,
    validate,
)
from graphql.language import FieldNode

from emulator.usage import Json

MAX_CACHED_DOCUMENTS = 256
PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
BAD_INPUT = "BadUserInput"


def _as_it_is(value: Any) -> Any:
    return value


def load_schema() -> GraphQLSchema:
    """Read schema.graphql; an enum name that it does not list passes on the way out, as new ones will."""
    schema = build_schema(Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8"))
    for name, kind in schema.type_map.items():
        if isinstance(kind, GraphQLEnumType) and not name.startswith("__"):
            for method in ("serialize", "coerce_output_value"):  # the name before and since graphql-core 3.3
                setattr(kind, method, _as_it_is)
    return schema


SCHEMA = load_schema()
ENTITLEMENT_TYPES = frozenset({"FeatureEntitlement", "CreditEntitlement"})


def known_entitlements(entitlements: Any) -> list[Json]:
    """Leave out what the schema's union cannot express."""
    return [
        entitlement
        for entitlement in entitlements or []
        if isinstance(entitlement, dict) and entitlement.get("__typename") in ENTITLEMENT_TYPES
    ]


def error_json(message: str, code: str) -> Json:
    """Build one entry of an answer's `errors`."""
    return {"message": message, "extensions": {"code": code, "traceId": uuid4().hex}}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDocument:
    """A document with what is wrong with it."""

    document: DocumentNode | None
    """None when it is no GraphQL."""
    errors: tuple[Json, ...]
    """Empty when it may be executed."""

    def operation(self, name: str | None) -> OperationDefinitionNode | None:
        """Find the operation of that name, or the only one; None when it is not clear which."""
        if self.document is None:
            return None
        found = [
            node
            for node in self.document.definitions
            if isinstance(node, OperationDefinitionNode)
            and (name is None or (node.name and node.name.value == name))
        ]
        return found[0] if len(found) == 1 else None


@lru_cache(maxsize=MAX_CACHED_DOCUMENTS)
def check_document(query: str) -> CheckedDocument:
    """Parse a document and hold it against the schema."""
    try:
        document = parse(query)
    except GraphQLSyntaxError as exc:
        return CheckedDocument(document=None, errors=(error_json(exc.message, PARSE_FAILED),))
    errors = tuple(error_json(error.message, VALIDATION_FAILED) for error in validate(SCHEMA, document))
    return CheckedDocument(document=document, errors=errors)


def operation_name(query: Any, name: Any) -> str:
    """Name an operation for counting: as asked, else as written in the document, else `anonymous`."""
    if isinstance(name, str) and name:
        return name
    operation = check_document(query).operation(None) if isinstance(query, str) else None
    return operation.name.value if operation is not None and operation.name is not None else "anonymous"


def subscription_field(operation: OperationDefinitionNode) -> str | None:
    """Name the field a subscription subscribes to; None for a query or mutation."""
    if operation.operation is not OperationType.SUBSCRIPTION:
        return None
    first = operation.selection_set.selections[0]
    return first.name.value if isinstance(first, FieldNode) else None


def run(
    checked: CheckedDocument, *, root: Mapping[str, Any], variables: Json | None, operation: str | None
) -> Json:
    """Execute a valid document against a root value (fields, or functions that make them).

    Returns:
        The answer as JSON: `data`, and `errors` where there are any.
    """
    if checked.document is None or checked.errors:
        return {"errors": list(checked.errors)}
    result = execute_sync(
        SCHEMA,
        checked.document,
        root_value=root,
        variable_values=variables or {},
        operation_name=operation,
    )
    return _as_json(result)


def _as_json(result: ExecutionResult) -> Json:
    answer: Json = {"data": result.data}
    if result.errors:
        answer["errors"] = [_error_of(error) for error in result.errors]
    return answer


def _error_of(error: GraphQLError) -> Json:
    code = (error.extensions or {}).get("code")
    if code is None:
        code = BAD_INPUT if error.original_error is None else "InternalServerError"
    return error_json(error.message, str(code)) | ({"path": list(error.path)} if error.path else {})
