"""What is on this machine."""

import pytest

from entitlements.addresses import is_loopback


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
