"""Every page of the admin is asked oddly by somebody who may do everything: no page answers 500."""

import re
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from entitlements.models import FallbackRule
from tests.chaos.hostile import IDS, SCALE, SEED

pytestmark = [pytest.mark.timeout(120 + 60 * SCALE), pytest.mark.django_db]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "X" * 50)
FORM = "application/x-www-form-urlencoded"
CONTENT_TYPES = (
    *("multipart/form-data; boundary=b", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 500),
    *("application/json", "text/plain; charset=nonsense", "", ";;=", f"{FORM}; charset=utf-16"),
)
ODD = (
    *IDS[:-1],
    *("0", "-1", "1", "1.5", "1e400", "9" * 25, "9223372036854775808", "-9223372036854775809", "NaN", "null"),
    *("x" * 3000, "_5F", "_00", "_", "1__gt", "٣", "1,2", "[]", "{}", "True", "5:abc", "1:a:b", "999999:a"),
)
PARAMETERS = """
q o p all e _popup _to_field _changelist_filters next id id__exact id__in is_active__exact
is_active__isnull user__id__exact action_time__year content_type__id__exact customer resource
feature currency usage values kind fallback compare tier after act key sure all action
_selected_action select_across index _save _saveasnew feature_id usage_limit value enum_values
username password password1 password2 usable_password permissions groups csrfmiddlewaretoken
app_label model_name field_name term post date_joined_0 last_login_0 form-TOTAL_FORMS form-
INITIAL_FORMS form-0-id first_name email is_superuser__exact groups__id__exact tz old_password
_facets
""".split()  # noqa: SIM905 - fifty words
FORMS: dict[str, dict[str, str]] = {
    "fallbackrule": {"feature_id": "another", "is_unlimited": "unknown", "has_soft_limit": "unknown"},
    "user": {"username": "another", "usable_password": "false", "date_joined_0": "2026-01-01"},
    "group": {"name": "another"},
    "login": {"username": "another", "password": "wrong"},
    "password": {"password1": "long enough, that", "password2": "long enough, that", "old_password": "x"},
    "act": {"act": "refresh", "key": "1:a"},
    "outboxentry": {"act": "replay", "id": "1-1"},
    "": {"action": "delete_selected", "_selected_action": "1", "index": "0", "post": "yes"},
}
"""What each page takes: one of its fields is spoiled."""
RAW = ("%00", "%ED%A0%80", "%FF", "%", "%F4%90%80%80", "%C0%AF", "+%0D%0A", "%E2%80%AE")
"""Bytes that are no text."""
_PLACE = re.compile(r"<(?:\w+:)?\w+>|\(\?P<\w+>[^)]*\)")


def _routes(patterns: Any = None, prefix: str = "/") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern).lstrip("^/")
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route.removesuffix("$").removesuffix(r"\Z").replace("\\", "")


@pytest.fixture
def visitor() -> Client:
    """Somebody who may do everything, where everything is there once."""
    Group.objects.create(name="viewers-of-old")
    FallbackRule.objects.create(feature_id="feature", usage_limit=5)
    return Client(raise_request_exception=False)


def _log_in(client: Client) -> None:
    """Anew, also where the last request took the user or its rights away."""
    rights = {"is_active": True, "is_staff": True, "is_superuser": True}
    user, _ = User.objects.update_or_create(username="on-call", defaults=rights)
    client.force_login(user)


def _asked(client: Client, route: str, random: Random) -> tuple[int, str]:
    path = _PLACE.sub(lambda _: "1" if random.random() < 0.5 else _odd(random), route)
    asked = [random.choice(PARAMETERS) for _ in range(random.choice([0, 1, 1, 3]))]
    query = "&".join(f"{name}={_odd(random)}" for name in asked)
    method = random.choice(METHODS[:3] if random.random() < 0.8 else METHODS)
    fields = dict(random.choice([form for name, form in FORMS.items() if name in route]))
    for _ in range(random.choice([0, 1, 2, 5])):
        name = random.choice([*fields] if random.random() < 0.5 else PARAMETERS)
        fields[name] = random.choice(ODD)
    kind = FORM if random.random() < 0.7 else random.choice(CONTENT_TYPES)
    body = urlencode(fields).encode() if random.random() < 0.9 else random.randbytes(200)
    answer = client.generic(method, path, body, content_type=kind, QUERY_STRING=query)
    return answer.status_code, f"{method} {path[:200]}?{query[:200]} {kind[:40]} {body[:300]!r}"


def _odd(random: Random) -> str:
    if random.random() < 0.2:
        return random.choice(RAW)
    return quote(random.choice(ODD), safe=random.choice(["", "/"]))


def test_no_page_fails_by_what_it_is_asked(visitor: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Ids, keys, queries, methods, types, NULs and numbers of every kind."""
    random = Random(SEED)
    failed: dict[str, str] = {}
    routes = sorted(set(_routes()))
    for _ in range(2 * SCALE):
        for route in routes:
            _log_in(visitor)
            caplog.clear()
            status, asked = _asked(visitor, route, random)
            if status >= 500:
                causes = [str(record.exc_info) for record in caplog.records if record.exc_info]
                failed.setdefault(route, f"{status} {asked} {causes[-1:]}")

    assert len(routes) > 30
    assert {} == failed
