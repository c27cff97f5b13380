"""A file of customers is taken whole or refused with all its faults."""

import json
from pathlib import Path
from typing import Any

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.upstream.offline_document import (
    InvalidOfflineFile,
    document_of_states,
    read_offline_file,
    states_of_document,
)
from tests.builders import NOW_MS, a_boolean_feature, a_metered_feature, an_entity

_FEATURE = {"__typename": "FeatureEntitlement", "feature": {"refId": "f", "featureType": "BOOLEAN"}}
_YAML = """
customers:
  customer-1:
    entitlementsV2:
      - __typename: FeatureEntitlement
        entitlementUpdatedAt: 2025-06-15T15:06:40Z
        feature: {refId: f, featureType: BOOLEAN}
"""


def _problems(document: object) -> tuple[str, ...]:
    with pytest.raises(InvalidOfflineFile) as raised:
        states_of_document(document, name="o.json", now_ms=NOW_MS)
    return raised.value.problems


def _of_entitlement(**fields: Any) -> dict[str, Any]:
    return {"customers": {"c": {"entitlementsV2": [_FEATURE | fields]}}}


def test_what_is_written_is_read() -> None:
    """Customers, and resources of customers that are not in it themselves."""
    states = {
        EntityKey("c"): an_entity(a_boolean_feature("f"), updated_at_ms=NOW_MS),
        EntityKey("c", "r"): an_entity(a_metered_feature(), updated_at_ms=NOW_MS),
        EntityKey("d", "r"): an_entity(a_boolean_feature("g"), updated_at_ms=NOW_MS),
    }
    document = json.loads(json.dumps(document_of_states(states)))

    assert states == dict(states_of_document(document, name="o.json", now_ms=NOW_MS))


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".YAML"])
def test_yaml_is_read_and_its_dates_with_it(tmp_path: Path, suffix: str) -> None:
    """A date without quotes is the same as in JSON."""
    path = tmp_path / f"offline{suffix}"
    path.write_text(_YAML)

    expected = {EntityKey("customer-1"): an_entity(a_boolean_feature("f"), updated_at_ms=NOW_MS)}
    assert expected == dict(read_offline_file(path, now_ms=1))


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ([], '{"customers": {…}}'),
        ({"customers": []}, '{"customers": {…}}'),
        ({"customers": {7: {}}}, "customers.7: "),
        ({"customers": {"c": []}}, "customers.c: "),
        ({"customers": {"c": {}}}, "customers.c.entitlementsV2: "),
        ({"customers": {"c": {"entitlementsV2": [], "resources": []}}}, "customers.c.resources: "),
        ({"customers": {"c": {"resources": {"r": 1}}}}, "customers.c.resources.r: "),
        ({"customers": {"c": {"resources": {"r": {}}}}}, "customers.c.resources.r.entitlementsV2: "),
        ({"customers": {"c": {"entitlementsV2": [1]}}}, "customers.c.entitlementsV2[0]: "),
        (
            {"customers": {"c": {"entitlementsV2": [], "accessDeniedReason": "Bored"}}},
            "customers.c.accessDeniedReason: it must be one of Unknown, ",
        ),
        (_of_entitlement(__typename="Wish"), "entitlementsV2[0].__typename: "),
        (_of_entitlement(__typename="CreditEntitlement"), "entitlementsV2[0].currency.currencyId: "),
        (_of_entitlement(feature={"refId": ""}), "entitlementsV2[0].feature.refId: "),
        (_of_entitlement(feature={"refId": "f"}), "entitlementsV2[0].feature.featureType: "),
        (
            _of_entitlement(feature={"refId": "f", "featureType": "NUMBER", "meterType": "Odd"}),
            "entitlementsV2[0].feature.meterType: ",
        ),
        (_of_entitlement(accessDeniedReason="Bored"), "entitlementsV2[0].accessDeniedReason: "),
        (_of_entitlement(resetPeriod="EON"), "entitlementsV2[0].resetPeriod: "),
        (_of_entitlement(validUntil="soon"), "entitlementsV2[0].validUntil: it must be an ISO 8601 date"),
        (_of_entitlement(usageLimit="5"), "entitlementsV2[0].usageLimit: it must be a number"),
        (_of_entitlement(hasSoftLimit=1), "entitlementsV2[0].hasSoftLimit: it must be true or false"),
        (_of_entitlement(enumValues=[1]), "entitlementsV2[0].enumValues: "),
    ],
)
def test_a_fault_is_reported_with_its_place(document: object, place: str) -> None:
    """One sentence: where it is and what may stand there."""
    (problem,) = _problems(document)

    assert problem.startswith("o.json: ")
    assert place in problem


def test_all_faults_are_reported_at_once() -> None:
    """Nobody fixes a file one fault a start."""
    document = {"customers": {"a": {}, "b": {"entitlementsV2": [1, 2]}}}

    assert len(_problems(document)) == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("o.json", b'{"customers": ', "no JSON: Expecting value at line 1, column 15"),
        ("o.json", b"\xff\xfe\xfa", "no text in UTF-8"),
        ("o.json", b"[" * 100_000, "nested too deeply"),
        ("o.yaml", b"a: [1", "no YAML: "),
        ("o.yaml", b"a: \x00", "no text"),
    ],
)
def test_what_cannot_be_parsed_is_reported(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    """With line and column where there are any."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(InvalidOfflineFile) as raised:
        read_offline_file(path, now_ms=NOW_MS)

    assert words in str(raised.value)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    """By its name and the system's reason."""
    with pytest.raises(InvalidOfflineFile) as raised:
        read_offline_file(tmp_path / "o.json", now_ms=NOW_MS)

    assert raised.value.problems == ("o.json: cannot be read (No such file or directory)",)
