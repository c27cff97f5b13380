"""A newcomer finds out why customer X was denied feature Y, from the overview, without documentation."""

from pathlib import Path
from unittest import mock
from urllib.parse import urlencode

import pytest
from django.test import Client as DjangoClient
from playwright.async_api import Browser, expect

from emulator.server import Emulator
from entitlements.composition import sidecar
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import FallbackValue
from tests.admin.visitor import ON_CALL, Visitor, visiting
from tests.builders import a_boolean_feature, a_metered_feature, a_usage, an_entity
from tests.cloud_states import boolean_state, metered_state
from tests.harness import Client, SidecarProcess, client_of, running_sidecar, usage_of
from tests.redis_server import RedisServer

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{constructor.constructor('alert(1)')()}}",
    "'+alert(1)+'",
    "a/b?c=d&e=%41#ü\u202e",
]


@pytest.fixture
def emulator(common_emulator: Emulator) -> Emulator:
    """To look is all that these tests do: each customer is one test's."""
    return common_emulator


@pytest.fixture
def client(common_client: Client) -> Client:
    return common_client


@pytest.fixture
def visitor(common_visitor: Visitor) -> Visitor:
    return common_visitor


def explain_path(**asked: str) -> str:
    return f"/admin/explain/?{urlencode(asked)}"


async def test_a_denial_is_explained_from_the_overview(
    emulator: Emulator, visitor: Visitor, client: Client
) -> None:
    """Two fields and a button; the cache explained is the one that answers gRPC."""
    emulator.state.put("denied", metered_state(usage=105, limit=100), push=False)
    assert await usage_of(client, "denied") == 105
    emulator.state.put("denied", metered_state(usage=3, limit=100), push=False)
    page = visitor.page

    await visitor.open("/admin/")
    form = page.locator("form", has_text="Why was a customer denied?")
    await form.get_by_label("Customer").fill("denied")
    await form.get_by_label("Feature").fill("m")
    await form.get_by_role("button", name="Explain").click()

    verdict = page.get_by_role("status")
    await expect(verdict).to_contain_text("Denied: usage 105 exceeds the limit of 100")
    await expect(verdict).to_contain_text("REQUESTED_USAGE_EXCEEDING_LIMIT")
    text = await visitor.text()
    assert "From memory, confirmed by the cloud" in text
    assert "The fallback denies access (the default, as none is configured)." in text
    assert ["data", "entitlement", "cloud", "limit"] == [
        (await each.inner_text()).split(":")[0]
        for each in await page.locator(".sidecar-steps .text-xs").all()
    ]
    assert "In the cloud" not in text

    await page.get_by_role("link", name="Compare with the cloud").click()

    cloud = page.locator("#cloud")
    await expect(cloud).to_contain_text("The cloud grants access at this moment")
    await expect(cloud.locator("tr", has_text="usage.current")).to_contain_text("105")
    assert await usage_of(client, "denied") == 105


@pytest.mark.parametrize(
    ("usage", "colour", "reported"),
    [
        (999.0, "sidecar-granted", "within the limit of 1,000"),
        (1000.0, "sidecar-doubt", "0 left: the next 1 is denied"),
    ],
)
def test_a_grant_whose_next_unit_is_denied_is_not_green(
    on_call: DjangoClient, usage: float, colour: str, reported: str
) -> None:
    """A customer who says that the limit is reached is right."""
    built = sidecar()
    entity = an_entity(a_metered_feature("m", limit=1000, usage=a_usage(usage)))
    built.memory.update(
        EntityKey("a"), lambda _: CachedEntity(entity=entity, confirmed_at=built.clock.monotonic())
    )
    page = on_call.get(explain_path(customer="a", feature="m")).content.decode()
    built.memory.clear()

    assert f'class="sidecar-banner {colour}" role="status"' in page
    assert reported in page


def test_what_each_method_answers_is_reported_where_they_differ(on_call: DjangoClient) -> None:
    """A rule that grants lets in by V2 whoever's plan lacks the feature."""
    built = sidecar()
    built.memory.update(
        EntityKey("a"),
        lambda _: CachedEntity(
            entity=an_entity(a_boolean_feature("other")), confirmed_at=built.clock.monotonic()
        ),
    )
    before = on_call.get(explain_path(customer="a", feature="missing")).content.decode()
    with mock.patch.object(built.rules, "current", return_value={"missing": FallbackValue(has_access=True)}):
        page = on_call.get(explain_path(customer="a", feature="missing")).content.decode()
    built.memory.clear()

    assert "The methods do not agree" not in before
    assert "The methods do not agree" in page
    assert "denies: the feature is not part of the subscription" in page


async def test_each_entitlement_of_a_customer_leads_to_why(
    emulator: Emulator, visitor: Visitor, client: Client
) -> None:
    """And from there back to all that is cached of the customer."""
    emulator.state.put("a/ü", metered_state(usage=105, limit=100), push=False)
    assert await usage_of(client, "a/ü") == 105
    page = visitor.page

    await visitor.open(f"/admin/entitlements/cachedcustomer/customer/?{urlencode({'customer': 'a/ü'})}")
    await page.get_by_role("link", name="why?").click()
    await expect(page.get_by_role("status")).to_contain_text("Denied: usage 105 exceeds the limit of 100")
    await page.get_by_role("link", name="All that is cached of this customer").click()

    await expect(page.get_by_text("a/ü").first).to_be_visible()


async def test_with_redis_the_page_says_whose_memory_is_explained(
    emulator: Emulator, browser: Browser, tmp_path: Path
) -> None:
    """What another process shared is explained from Redis, and the page says what is shared."""
    with RedisServer() as redis:
        variables = {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
            "REDIS_ENVIRONMENT_PREFIX": "explained",
            **ON_CALL,
        }
        emulator.state.put("shared", metered_state(usage=105, limit=100), push=False)
        async with running_sidecar(emulator, tmp_path / "one", **variables) as one:
            await one.following()
            async with client_of(one) as client:
                assert await usage_of(client, "shared") == 105
            async with (
                running_sidecar(emulator, tmp_path / "two", **variables) as two,
                visiting(browser, two.http_port) as visitor,
            ):
                await visitor.log_in()
                await visitor.open(explain_path(customer="shared", feature="m"))
                text = await visitor.text()

    assert "From Redis, confirmed by the cloud" in text
    assert f"Explained by process {two.process.pid}" in text
    assert "Redis is the shared truth" in text


async def test_a_question_can_be_narrowed(emulator: Emulator, visitor: Visitor) -> None:
    """Requested usage, the method's kind, the call's fallback; what cannot be meant is named by its field."""
    emulator.state.put("narrowed", metered_state(usage=99, limit=100), push=False)
    page = visitor.page

    await visitor.open(explain_path(customer="narrowed", feature="m", usage="1"))
    await expect(page.get_by_role("status")).to_contain_text("Granted: usage 99 + requested 1 is within")
    await expect(page.get_by_label("Requested usage")).to_have_value("1")
    await visitor.open(explain_path(customer="narrowed", feature="m", kind="enum", fallback="grant"))
    await expect(page.get_by_role("status")).to_contain_text("Granted by a fallback (the call's own)")
    await visitor.open(explain_path(customer="narrowed", currency="tokens"))
    await expect(page.get_by_role("status")).to_contain_text("ENTITLEMENT_NOT_FOUND")
    await visitor.open(explain_path(customer=" narrowed", feature="m"))
    assert "begins or ends with a space" in await visitor.text()
    await visitor.open(explain_path(customer="narrowed", feature="m", usage="nan"))
    await expect(page.get_by_role("alert")).to_contain_text("Enter a number")
    await visitor.open(explain_path(customer="x" * 1001, feature="m"))
    await expect(page.get_by_role("alert")).to_contain_text("at most 1000 characters")


@pytest.mark.parametrize("text", HOSTILE)
async def test_no_id_injects_markup(emulator: Emulator, visitor: Visitor, text: str) -> None:
    """It is shown as it is, and nothing of it runs; the console stays silent."""
    emulator.state.put(text, boolean_state(feature_id=text), push=False)

    await visitor.open(explain_path(customer=text, feature=text, compare="on"))

    await expect(visitor.page.get_by_role("status")).to_contain_text("Granted")
    await expect(visitor.page.get_by_label("Customer")).to_have_value(text)
    await visitor.open(explain_path(customer=text, feature=f"{text} of none"))
    await expect(visitor.page.get_by_role("status")).to_contain_text("of none")
    assert 0 == await visitor.page.locator("img[src=x], main script, #content script").count()
    assert [] == visitor.dialogs


async def test_a_stranger_learns_nothing(browser: Browser, common_sidecar: SidecarProcess) -> None:
    async with visiting(browser, common_sidecar.http_port) as stranger:
        await stranger.open(explain_path(customer="a", feature="m"))

        assert "/admin/login/" in stranger.page.url
