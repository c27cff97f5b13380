"""A fallback that is edited in the browser answers over gRPC; how soon is said in tests/doors."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from django.test import Client as DjangoClient
from playwright.async_api import expect

from emulator.server import Emulator
from entitlements.admin.fallbacks import effective, terms_of
from entitlements.domain.fallback import FallbackOrigin, FallbackValue
from entitlements.models import FallbackRule
from grpc_service.generated import sidecar_pb2 as pb
from tests.admin.visitor import ON_CALL, Visitor
from tests.cloud_states import boolean_state
from tests.eventually import eventually
from tests.harness import CALL_SECONDS, Client, SidecarProcess, running_sidecar

GRANTED, DENIED = FallbackValue(has_access=True), FallbackValue()


@pytest_asyncio.fixture(loop_scope="session")
async def sidecar(emulator: Emulator, tmp_path: Path) -> AsyncIterator[SidecarProcess]:
    """One with fallbacks of the environment."""
    environment = {"env": {"hasAccess": True, "usageLimit": 5}, "f": {"hasAccess": False}}
    async with running_sidecar(
        emulator,
        tmp_path,
        ENTITLEMENTS_FALLBACK=json.dumps(environment),
        **ON_CALL,
    ) as sidecar:
        await sidecar.following()
        yield sidecar


async def _is_granted(client: Client) -> bool:
    request = pb.GetEntitlementV2Request(customer_id="a", feature_id="f")
    answer = (await client.GetEntitlementV2(request, timeout=CALL_SECONDS)).entitlement
    assert answer.is_fallback
    return answer.has_access


async def _becomes(client: Client, *, granted: bool) -> None:
    """Asked for all the time, so that an answer that is remembered would show."""

    async def is_so() -> bool:
        return await _is_granted(client) is granted

    await eventually(is_so)


async def test_an_edited_fallback_answers_soon(emulator: Emulator, visitor: Visitor, client: Client) -> None:
    """Added over the environment's, switched off, and put in force again; each of it is logged."""
    emulator.state.put("a", boolean_state(feature_id="other"), push=False)
    page = visitor.page
    assert not await _is_granted(client)

    await visitor.open("/admin/entitlements/fallbackrule/")
    await expect(page.get_by_text("in this pod alone")).to_be_visible()
    await page.get_by_role("link", name="f", exact=True).click()
    await expect(page.locator("#id_feature_id")).to_have_value("f")
    await page.get_by_label("grants access", exact=False).check()
    await page.get_by_role("button", name="Save", exact=True).click()
    await _becomes(client, granted=True)
    row = page.locator("section tr", has_text="the database")
    await expect(row).to_contain_text("ENTITLEMENTS_FALLBACK, which denies")

    for action, granted in (("switch_off", False), ("switch_on", True)):
        await page.locator(
            "#result_list input[name=_selected_action], input[name=_selected_action]"
        ).first.check()
        await page.locator("select[name=action]").select_option(action)
        await page.locator("button[name=index]").click()
        await expect(page.get_by_text("Rules changed: 1").first).to_be_visible()
        await _becomes(client, granted=granted)

    await visitor.open("/admin/entitlements/auditentry/")
    text = await visitor.text()
    for reported in ("fallback.add", "is_active: false", "is_active: true"):
        assert reported in text


async def test_what_cannot_be_is_reported_at_its_field(visitor: Visitor) -> None:
    """And what the environment has is the form's beginning."""
    page = visitor.page
    await visitor.open("/admin/entitlements/fallbackrule/add/?feature_id=env")
    await expect(page.locator("#id_usage_limit")).to_have_value("5.0")
    await expect(page.locator("#id_has_access")).to_be_checked()
    await expect(page.locator("#id_enum_values")).to_have_value("")
    await expect(page.locator("#id_is_unlimited")).to_have_value("unknown")

    await page.locator("#id_value").fill("9999999999")
    await page.locator("#id_enum_values").fill("basic, pro")
    await page.get_by_role("button", name="Save", exact=True).click()

    await expect(page.get_by_text("less than or equal to 2147483647")).to_be_visible()
    await expect(page.locator("#id_enum_values")).to_have_value("basic, pro")


RULE = {"feature_id": "f", "is_active": "on", "is_unlimited": "unknown", "has_soft_limit": "unknown"}


@pytest.mark.parametrize(
    ("sent", "reported"),
    [
        ({"usage_limit": "-1"}, "It must be 0 or more."),
        ({"current_usage": "-0.5"}, "It must be 0 or more."),
        ({"is_unlimited": "true"}, "A rule that denies access cannot be unlimited"),
        ({"has_access": "on", "is_unlimited": "true", "usage_limit": "5"}, "Either unlimited or a limit"),
    ],
)
def test_a_rule_that_says_two_things_at_once_is_refused(
    on_call: DjangoClient, sent: dict[str, str], reported: str
) -> None:
    """By one sentence at its field; nothing is kept."""
    page = on_call.post("/admin/entitlements/fallbackrule/add/", RULE | sent)

    assert 200 == page.status_code
    assert 1 == page.content.decode().count(reported)
    assert not FallbackRule.objects.exists()


def test_enum_values_are_typed_by_commas_and_kept_as_a_list(on_call: DjangoClient) -> None:
    """As on the page that explains; and both pages of the rules say whom a granting rule lets in."""
    sent = RULE | {"has_access": "on", "usage_limit": "0", "enum_values": 'basic, "a, b"'}
    answer = on_call.post("/admin/entitlements/fallbackrule/add/", sent)

    rule = FallbackRule.objects.get()
    form = on_call.get(f"/admin/entitlements/fallbackrule/{rule.pk}/change/").content.decode()
    listed = on_call.get("/admin/entitlements/fallbackrule/").content.decode()
    assert 302 == answer.status_code
    assert ["basic", "a, b"] == rule.enum_values
    assert 0 == rule.usage_limit
    assert "basic, &quot;a, b&quot;" in form
    assert all("every known customer whose plan lacks the feature" in page for page in (form, listed))


def test_the_database_goes_before_the_environment() -> None:
    """While its rule is in force."""
    environment = {"both": DENIED, "env": GRANTED, "off": GRANTED}
    rules = [
        FallbackRule(feature_id="both", has_access=True),
        FallbackRule(feature_id="db", has_access=True),
        FallbackRule(feature_id="off", has_access=False, is_active=False),
    ]

    assert [
        ("both", GRANTED, FallbackOrigin.DATABASE, DENIED),
        ("db", GRANTED, FallbackOrigin.DATABASE, None),
        ("env", GRANTED, FallbackOrigin.ENVIRONMENT, None),
        ("off", GRANTED, FallbackOrigin.ENVIRONMENT, None),
    ] == effective(environment, rules)


def test_terms_are_words() -> None:
    value = FallbackValue(
        usage_limit=5,
        current_usage=0,
        value=3,
        enum_values=("a", "b"),
        is_unlimited=True,
        has_soft_limit=True,
    )

    assert "limit 5, used 0, value 3, values a, b, unlimited, soft limit" == terms_of(value)
    assert "" == terms_of(DENIED)
