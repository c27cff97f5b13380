"""Lists and pages in the sidecar's own words, at this process's own pages."""

import re
from http import HTTPStatus

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client as DjangoClient

from entitlements.models import FallbackRule
from tests.admin.visitor import PASSWORD

WORDS_OF_DJANGO = ("Object repr", "Select record", "Not Found", "Forbidden", "Server Error", "yielded into")


def _reported(page: str) -> list[str]:
    """The one of a phone's labels is replaced by the style sheet."""
    page = page.replace('data-label="Select record"', "")
    return [word for word in WORDS_OF_DJANGO if word in page]


def test_lists_speak_of_what_is_in_them(on_call: DjangoClient) -> None:
    """Rows are chosen by their names; an empty list says so; and who changed a rule is in the audit trail."""
    lists = (
        "auth/user",
        "auth/group",
        "entitlements/auditentry",
        "entitlements/fallbackrule",
    )
    Group.objects.all().delete()
    empty = [on_call.get(f"/admin/{each}/").content.decode() for each in lists]
    rule = FallbackRule.objects.create(feature_id="sso")
    page = on_call.get("/admin/entitlements/fallbackrule/").content.decode()
    history = on_call.get(f"/admin/entitlements/fallbackrule/{rule.pk}/history/")

    assert [[]] * len(lists) == [_reported(each) for each in empty]
    searched = on_call.get("/admin/entitlements/fallbackrule/?q=nobody").content.decode()
    assert "Nothing is here yet" in empty[2]
    assert "Nothing is here yet" in empty[3]
    assert "Nothing matches" in searched
    assert 'aria-label="Choose sso"' in page
    assert "/admin/entitlements/auditentry/?q=sso" == history["Location"]


@pytest.mark.parametrize("place", ["auth/user", "auth/group", "entitlements/auditentry"])
def test_lists_of_people_say_whose_they_are(on_call: DjangoClient, place: str) -> None:
    """Without a database for all pods, each has its own."""
    assert "This pod's own" in on_call.get(f"/admin/{place}/").content.decode()


@pytest.mark.parametrize(
    ("path", "status", "reported"),
    [
        ("/admin/nowhere/", 404, "There is nothing at this address"),
        ("/admin/entitlements/cachedcustomer/?after=x", 400, "This request was not understood"),
        ("/admin/overrides/", 403, "You may not do or see this"),
    ],
)
def test_errors_have_pages_of_their_own(db: None, path: str, status: int, reported: str) -> None:
    """For somebody who may come in and see the cached customers alone."""
    user = User.objects.create_user("new", password=None, is_staff=True)
    user.user_permissions.set(_permission("view_cachedcustomer"))
    client = DjangoClient(raise_request_exception=False)
    client.force_login(user)

    answer = client.get(path)

    page = answer.content.decode()
    assert status == answer.status_code
    assert [] == _reported(page)
    assert reported in page


def test_a_defect_has_a_page_of_its_own(on_call: DjangoClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which says that checks go on, and nothing of the defect."""
    monkeypatch.setattr("entitlements.admin.overview.context", lambda _: 1 / 0)

    answer = on_call.get("/admin/")

    page = answer.content.decode()
    assert 500 == answer.status_code
    assert [] == _reported(page)
    assert "This page could not be made" in page
    assert "division" not in page


def _permission(name: str) -> list[Permission]:
    return list(Permission.objects.filter(codename=name))


def test_who_logs_in_at_the_page_itself_comes_to_the_overview(db: None) -> None:
    """Not sent there from another: Django's own default is a page that is not here."""
    User.objects.create_superuser("on-call", password=PASSWORD)
    client = DjangoClient()

    page = client.get("/admin/login/").content.decode()
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    answer = client.post("/admin/login/", fields | {"username": "on-call", "password": PASSWORD})

    assert answer.status_code == HTTPStatus.FOUND
    assert answer["Location"] == "/admin/"
