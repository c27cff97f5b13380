"""What is on this machine."""

import socket

import pytest

from entitlements.addresses import addresses_of, is_loopback, local_address_of


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("api.stigg.io", False),
        ("", False),
    ],
)
def test_loopback_is_what_leads_nowhere_else(host: str, *, expected: bool) -> None:
    assert expected is is_loopback(host)


def test_a_name_is_all_that_it_resolves_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each address once; the kernel's answer for a name depends on the machine."""
    found = [(0, 0, 0, "", (address, 0)) for address in ("10.0.0.1", "10.0.0.1", "fd00::1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    assert ("10.0.0.1", "fd00::1") == addresses_of("pod.example")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "::1"), ("10.0.0.1", "10.0.0.1")],  # noqa: S104
)
def test_where_a_listener_is_reached_from_here(host: str, expected: str) -> None:
    assert expected == local_address_of(host)
