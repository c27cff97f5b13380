"""What is asked stands in the schema: an invented field would fail here."""

from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from entitlements.upstream import graphql_documents as documents

SCHEMA = build_schema((Path(__file__).parents[2] / "emulator" / "schema.graphql").read_text())
DOCUMENTS = {
    "GetEntitlementsState": documents.GET_ENTITLEMENTS_STATE,
    "GetSdkConfiguration": documents.GET_SDK_CONFIGURATION,
    "ReportUsage": documents.REPORT_USAGE,
    "ReportUsageBulk": documents.REPORT_USAGE_BULK,
    "ReportEvent": documents.REPORT_EVENT,
    **documents.SUBSCRIPTIONS,
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_valid(name: str) -> None:
    assert [] == validate(SCHEMA, parse(DOCUMENTS[name]))


def test_an_invented_field_is_not() -> None:
    invented = documents.GET_SDK_CONFIGURATION.replace("isWidgetWatermarkEnabled", "invented")

    assert validate(SCHEMA, parse(invented))
