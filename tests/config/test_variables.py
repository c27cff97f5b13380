"""The variables themselves."""

import pytest

from entitlements.config import InvalidConfig, load
from entitlements.config.derived_urls import derived_urls
from entitlements.config.variables import SidecarConfig


def config(**environ: str) -> SidecarConfig:
    return load({"SERVER_API_KEY": "made-up"} | environ).config


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "Yes", "on", " On "])
def test_words_that_mean_true(word: str) -> None:
    assert config(OFFLINE=word).offline is True


@pytest.mark.parametrize("word", ["0", "false", "False", "NO", "off"])
def test_words_that_mean_false(word: str) -> None:
    assert config(WS_ENABLED=word).ws_enabled is False


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_is_not_set(text: str) -> None:
    assert config(GRPC_PORT=text).grpc_port == 80


@pytest.mark.parametrize("path", ["livez", "/livez", "livez/", "/livez/"])
def test_probe_paths_with_and_without_slashes(path: str) -> None:
    assert "livez" == config(HEALTH_ENDPOINT_URL=path).health_endpoint_url


@pytest.mark.parametrize("level", ["error", "WARN", "Info", "debug"])
def test_log_levels_in_any_case(level: str) -> None:
    assert level.lower() == config(LOG_LEVEL=level).log_level


@pytest.mark.parametrize(
    ("api_url", "edge_url", "ws_url"),
    [
        ("https://api.example", "https://edge.api.example", "wss://api.example"),
        ("http://api.example:8000", "http://edge.api.example:8000", "ws://api.example:8000"),
        ("http://localhost:8000", "http://localhost:3060", "ws://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:3060", "ws://[::1]:8000"),
    ],
)
def test_the_other_addresses_follow_the_api(api_url: str, edge_url: str, ws_url: str) -> None:
    """contract/upstream.md."""
    assert {"edge_api_url": edge_url, "ws_url": ws_url} == derived_urls({"api_url": api_url})


@pytest.mark.parametrize("values", [{}, {"api_url": "ftp://x"}, {"api_url": "x"}, {"api_url": "http://[x"}])
def test_nothing_follows_from_an_unusable_address(values: dict[str, str]) -> None:
    assert {} == derived_urls(values)


def test_what_is_set_does_not_follow() -> None:
    assert {"ws_url": "ws://a"} == derived_urls({"api_url": "http://a", "edge_api_url": "http://b"})


@pytest.mark.parametrize(
    ("environ", "follows"),
    [({}, True), ({"WS_ENABLED": "0"}, False), ({"OFFLINE": "1"}, False)],
)
def test_whether_the_feed_is_followed(environ: dict[str, str], follows: bool) -> None:
    assert follows is config(**environ).follows_feed


@pytest.mark.parametrize("ttl", ["-1", "1", "604800"])
def test_a_negative_ttl_is_one(ttl: str) -> None:
    assert int(ttl) == config(REDIS_KEYS_TTL_IN_SECS=ttl).redis_keys_ttl_in_secs


@pytest.mark.parametrize("address", ["localhost:8082", "127.0.0.1:80", "[::1]:80", "old-sidecar.ns.svc:80"])
def test_the_address_of_another_sidecar(address: str) -> None:
    assert address == config(SIDECAR_SHADOW_ADDRESS=address).sidecar_shadow_address


@pytest.mark.parametrize(
    "address",
    ["localhost", "localhost:", ":80", "http://a:80", "a:80/b", "a:0", "a:99999", "me@a:80", "::1:80"],
)
def test_what_is_no_address_is_reported_by_its_name(address: str) -> None:
    with pytest.raises(InvalidConfig) as reported:
        config(SIDECAR_SHADOW_ADDRESS=address)

    assert (
        f"SIDECAR_SHADOW_ADDRESS is {address!r}; it must be host:port, such as localhost:8082 or [::1]:8082",
    ) == reported.value.problems
