"""Which proxy leads to an address."""

from collections.abc import Mapping

import pytest

from entitlements.upstream.proxies import Proxies

API = "https://api.stigg.io/graphql"
PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, API, None),
        ({"HTTPS_PROXY": PROXY}, API, PROXY),
        ({"HTTPS_PROXY": "proxy:3128"}, API, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, API, PROXY),
        ({"ALL_PROXY": PROXY}, API, PROXY),
        ({"HTTP_PROXY": PROXY}, API, None),
        ({"HTTPS_PROXY": PROXY}, "wss://api.stigg.io/graphql", PROXY),
        ({"HTTP_PROXY": PROXY}, "ws://api.stigg.io/graphql", PROXY),
        ({"HTTPS_PROXY": " "}, API, None),
        ({"ALL_PROXY": PROXY}, "http://localhost:4300", None),
        ({"ALL_PROXY": PROXY}, "http://127.0.0.1:4300", None),
        ({"ALL_PROXY": PROXY}, "ws://[::1]:4300", None),
    ],
)
def test_the_variable_of_the_scheme_decides(
    environment: Mapping[str, str], url: str, expected: str | None
) -> None:
    assert expected == Proxies.of(environment).proxy_of(url)


@pytest.mark.parametrize(
    ("exceptions", "url", "is_direct"),
    [
        ("*", API, True),
        ("stigg.io", API, True),
        (".stigg.io", API, True),
        ("*.stigg.io", API, True),
        ("STIGG.io", API, True),
        ("notstigg.io", API, False),
        ("gg.io", API, False),
        ("api.stigg.io:443", API, True),
        ("api.stigg.io:8443", API, False),
        ("localhost,fd00::/8", API, False),
        ("localhost,fd00::/8", "https://[fd12::1]/graphql", True),
        ("10.0.0.0/8 192.168.1.1", "http://10.1.2.3", True),
        ("10.0.0.0/8, 192.168.1.1", "http://192.168.1.1", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("[fd12::1]:443", "https://[fd12::1]", True),
        ("localhost,[::1],[fd12::1]", "https://[fd12::1]", True),
        ("localhost,[::1],[fd12::1]", API, False),
        (",, ,.,:,::/::,/", API, False),
    ],
)
def test_exceptions_are_names_addresses_and_networks(exceptions: str, url: str, *, is_direct: bool) -> None:
    """`fd00::/8` ended the process: a library took it for a URL with a port."""
    proxies = Proxies.of({"ALL_PROXY": PROXY, "NO_PROXY": exceptions})

    assert is_direct is (proxies.proxy_of(url) is None)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("socks5://me:secret@h:1", "socks5"),
        ("ftp://h:1", "ftp"),
        ("http://", "http"),
        ("http://h:many", "http"),
        ("http://[::1", "http"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_reported_where_it_is_needed(value: str, shown: str) -> None:
    """Without what may be a password."""
    proxies = Proxies.of({"HTTPS_PROXY": value})

    assert [
        f"HTTPS_PROXY is '{shown}://…'; it must be the URL of a proxy that begins with http:// or https://"
    ] == list(proxies.problems([API, API]))
    assert [] == list(proxies.problems(["http://api.stigg.io", "https://localhost"]))


def test_an_address_is_asked_for_by_the_proxy_as_it_was_given() -> None:
    proxies = Proxies.of({"HTTPS_PROXY": "http://me:p%40ss@proxy:3128/"})

    assert "http://me:p%40ss@proxy:3128/" == proxies.proxy_of(API)
