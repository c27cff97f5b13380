"""What no page could have sent is a bad request, whatever database is behind."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.fixture
def visitor() -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("on-call", password=None))
    return client


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/admin/auth/user/", {"action": "delete_selected", "_selected_action": "x", "index": "0"}),
        ("/admin/auth/group/", {"action": "delete_selected", "_selected_action": ["1", "٣ "], "index": "0"}),
        ("/admin/entitlements/fallbackrule/", {"action": "switch_on", "_selected_action": "", "index": "0"}),
        ("/admin/auth/group/", {"action": "delete_selected", "_selected_action": "9" * 30, "index": "0"}),
        ("/admin/auth/group/add/", {"name": "a\x00b"}),
        ("/admin/auth/user/?q=a%00b", {}),
        ("/admin/auth/user/?a%00b=", {}),
        ("/admin/auth/user/a%00b/change/", {}),
    ],
)
def test_what_no_page_sends_is_a_bad_request(visitor: Client, path: str, sent: dict[str, str]) -> None:
    """Rows named by words ended in a trace back; a NUL does with PostgreSQL."""
    assert 400 == visitor.post(path, sent).status_code


def test_what_pages_send_goes_on(visitor: Client) -> None:
    sent = {
        "action": "delete_selected",
        "_selected_action": [str(User.objects.get().pk), "9" * 18],
        "index": "0",
    }

    answer = visitor.post("/admin/auth/user/", sent)

    assert 200 == answer.status_code
    assert b"on-call" in answer.content
