"""A question of a person, on its way into a running sidecar."""

import json
from typing import Any

import pytest

from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.service.question import Question, document_from_query, query_from_document


@pytest.mark.parametrize(
    "asked",
    [
        {"feature": "f"},
        {"currency": "c", "resource": "r", "usage": 2.5},
        {"feature": "f", "kind": "enum", "values": ["a", "b"], "fallback": "deny"},
        {"feature": "f", "fallback": "grant"},
    ],
)
def test_every_question_survives_the_way_into_the_sidecar(asked: dict[str, Any]) -> None:
    query = Question(customer="customer", **asked).query()

    assert query == query_from_document(json.loads(json.dumps(document_from_query(query))))


def test_an_empty_field_of_a_form_is_not_asked_for() -> None:
    query = Question(customer="a", resource="", feature="f", currency="", kind="", fallback="").query()

    assert Query(key=EntityKey("a"), feature_id="f") == query


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({}, KeyError),
        ({"customer_id": 5}, TypeError),
        ({"customer_id": "a", "resource_id": ["r"]}, TypeError),
        ({"customer_id": "a", "expected_kind": "toaster"}, ValueError),
    ],
)
def test_nonsense_is_refused(data: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        query_from_document(data)
