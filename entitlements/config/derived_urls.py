"""Where the Edge and the live feed are when only API_URL is set (contract/upstream.md)."""

from typing import Any
from urllib.parse import urlsplit

LOCAL_EDGE_PORT = 3060
"""Where the Edge stands beside an API on localhost (contract/upstream.md)."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def derived_urls(values: dict[str, Any]) -> dict[str, str]:
    """EDGE_API_URL and WS_URL where only API_URL is set (contract/upstream.md)."""
    api_url = values.get("api_url")
    if api_url is None:
        return {}
    try:
        parts = urlsplit(str(api_url))
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if parts.scheme not in {"http", "https"} or not host:
        return {}
    ws_scheme = "wss" if parts.scheme == "https" else "ws"
    bracketed = f"[{host}]" if ":" in host else host
    if host in LOCAL_HOSTS:
        edge_netloc = f"{bracketed}:{LOCAL_EDGE_PORT}"
    else:
        edge_netloc = f"edge.{host}" + (f":{port}" if port else "")
    derived = {
        "edge_api_url": parts._replace(netloc=edge_netloc).geturl(),
        "ws_url": parts._replace(scheme=ws_scheme).geturl(),
    }
    return {name: url for name, url in derived.items() if name not in values}
