"""Which proxy leads to an address: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, read in one way for all.

Every library has a reading of its own, and some end the process over a value that they do not know. Here a
value is looked at where it is used, and what is on this machine is never asked of a proxy.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from entitlements.addresses import is_loopback

_SCHEME_OF = {"ws": "http", "wss": "https"}
"""The live feed takes the way of the scheme that it begins as."""
_PORTS = {"http": 80, "https": 443}
_USABLE = frozenset({"http", "https"})
"""Schemes of a proxy; SOCKS needs packages that are not among the dependencies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """What the variables say."""

    by_scheme: Mapping[str, tuple[str, str]]
    """The variable and its value, by the scheme of what is asked for; `all` for the others."""
    exceptions: tuple[str, ...] = ()
    """NO_PROXY: names with what is below them, addresses, networks; `*` is everything."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Proxies":
        """Those of an environment; a name in small letters comes before the same in capitals."""
        by_scheme = {}
        for scheme in ("http", "https", "all"):
            for variable in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
                value = environment.get(variable, "").strip()
                if value:
                    by_scheme[scheme] = (variable, value if "://" in value else f"http://{value}")
                    break
        exceptions = environment.get("no_proxy") or environment.get("NO_PROXY", "")
        return cls(by_scheme=by_scheme, exceptions=tuple(exceptions.replace(",", " ").lower().split()))

    def proxy_of(self, url: str) -> str | None:
        """The proxy's address, or None where the way is direct."""
        found = self._found(urlsplit(url))
        return None if found is None else found[1]

    def problems(self, urls: Iterable[str]) -> Iterator[str]:
        """What keeps these addresses from being asked: one sentence for each proxy."""
        found = {self._found(urlsplit(url)) for url in urls}
        return _described(each for each in found if each is not None)

    def all_problems(self) -> Iterator[str]:
        """What would keep any address from being asked."""
        return _described(self.by_scheme.values())

    def _found(self, url: SplitResult) -> tuple[str, str] | None:
        host = (url.hostname or "").lower()
        scheme = _SCHEME_OF.get(url.scheme, url.scheme)
        found = self.by_scheme.get(scheme, self.by_scheme.get("all"))
        if found is None or is_loopback(host):
            return None
        port = url.port or _PORTS.get(scheme)
        return None if any(_excepts(each, host, port) for each in self.exceptions) else found


def _described(proxies: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Without what may be a password."""
    for variable, value in sorted(proxies):
        if not _is_usable(value):
            shown = f"{value.partition('://')[0]}://…"
            yield f"{variable} is {shown!r}; it must be the URL of a proxy that begins with http:// or https://"


def _is_usable(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return parts.scheme in _USABLE and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _excepts(exception: str, host: str, port: int | None) -> bool:
    if exception == "*":
        return True
    if exception.startswith("[") and exception.endswith("]"):
        exception = exception[1:-1]
    try:
        return ip_address(host) in ip_network(exception, strict=False)
    except ValueError:  # a name on one side, or on both
        pass
    name, _, only_port = exception.rpartition(":")
    if only_port.isdigit() and name:
        if int(only_port) != port:
            return False
        exception = name.strip("[]")
    suffix = exception.removeprefix("*").removeprefix(".")
    return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))
