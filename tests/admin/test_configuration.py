"""The page of what is in force."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import Client as DjangoClient

from entitlements.admin.configuration import shown
from entitlements.config import load

SECRET = "key-that-nobody-sees"


@pytest.fixture
def configured() -> Iterator[None]:
    """A process that was started with these."""
    before = settings.SIDECAR
    settings.SIDECAR = load(
        {"SERVER_API_KEY": SECRET, "API_URL": "http://api.test", "CACHE_MAX_SIZE_BYTES": "5000000"}
    )
    yield
    settings.SIDECAR = before


def test_what_is_set_is_shown_with_where_it_came_from_and_no_secret(
    on_call: DjangoClient, configured: None
) -> None:
    """The defaults stand apart, bytes in a larger unit."""
    page = on_call.get("/admin/configuration/").content.decode()
    given, defaults = page.split("<summary", 1)

    assert SECRET not in page
    assert all(
        reported in given for reported in ("SERVER_API_KEY", "http://api.test", "5.0 MB", "the environment")
    )
    assert "derived from another variable" in given
    assert all(reported in defaults for reported in ("SIDECAR_WORKERS", ">off<", ">on<"))
    assert all(never not in page for never in ("`", ">True<", ">False<"))
    assert "SIDECAR_WORKERS" not in given


def test_a_password_in_an_address_is_nobodys_to_see() -> None:
    assert "hunter2" not in shown("API_URL", "https://user:hunter2@api.test/")
    assert "@api.test/" in shown("API_URL", "https://user:hunter2@api.test/")
    assert "-" == shown("X", "")
    assert "a@b" == shown("X", "a@b")
