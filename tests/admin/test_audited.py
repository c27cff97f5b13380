"""What a page changes stands in the audit trail, with what was before and what is after."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from entitlements.models import AuditEntry

pytestmark = pytest.mark.django_db
USER = {"username": "new", "is_active": "on", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}


@pytest.fixture
def owner() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("owner"))
    return client


def change(owner: Client, page: str, **fields: Any) -> tuple[str, Any, Any]:
    """Sends the form of a page, and tells what the trail has of it."""
    answer = owner.post(f"/admin/auth/{page}/change/", fields)
    assert answer.status_code == 302, answer.content.decode()
    entry = AuditEntry.objects.latest("pk")
    return entry.act, entry.before, entry.after


def test_who_was_given_rights_is_audited(owner: Client) -> None:
    """By a group, or by one permission; and what was taken away again."""
    user = User.objects.create_user("new")
    viewers = Group.objects.create(name="those who look")
    may_override = Permission.objects.get(codename="break_glass")
    page = f"user/{user.pk}"
    change(owner, page, **USER)  # the form's own date

    given = change(owner, page, **USER, groups=[viewers.pk], user_permissions=[may_override.pk])
    taken = change(owner, page, **USER)

    none: dict[str, list[str]] = {"groups": [], "user_permissions": []}
    rights = {"groups": ["those who look"], "user_permissions": [str(may_override)]}
    assert ("user.change", none, rights) == given
    assert ("user.change", rights, none) == taken


def test_what_a_group_may_is_audited(owner: Client) -> None:
    group = Group.objects.create(name="on call")
    may_override = Permission.objects.get(codename="break_glass")

    given = change(owner, f"group/{group.pk}", name="on call", permissions=[may_override.pk])

    assert ("group.change", {"permissions": []}, {"permissions": [str(may_override)]}) == given
