"""Variables that libraries read, looked at before a library meets them.

A library that cannot use one ends the process with a traceback, or does something else in silence. Here each
is reported by its name: as a problem where it keeps the cloud from being asked, else as what is ignored.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import NamedTuple

from entitlements.upstream import trust
from entitlements.upstream.proxies import Proxies

_NUMBERS: Mapping[str, Callable[[str], float]] = {
    "ASGI_THREADS": int,
    "WEBSOCKETS_BACKOFF_FACTOR": float,
    "WEBSOCKETS_BACKOFF_INITIAL_DELAY": float,
    "WEBSOCKETS_BACKOFF_MAX_DELAY": float,
    "WEBSOCKETS_BACKOFF_MIN_DELAY": float,
    "WEBSOCKETS_MAX_BODY_SIZE": int,
    "WEBSOCKETS_MAX_FRAGMENTS": int,
    "WEBSOCKETS_MAX_LINE_LENGTH": int,
    "WEBSOCKETS_MAX_LOG_SIZE": int,
    "WEBSOCKETS_MAX_NUM_HEADERS": int,
    "WEBSOCKETS_MAX_REDIRECTS": int,
}
"""What the libraries of WebSocket and HTTP make of them while they are imported."""
_POLLERS = {"all", "epoll1", "poll"}
"""Ways of gRPC's core to wait for sockets; the process is aborted where it is given no other."""

_CHOICES = ("PSYCOPG_IMPL", "PSYCOPG_WAIT_FUNC", "USE_ASYNCIO", "USE_TWISTED")
"""Each has a library load another part of itself, and ends the start where that is not here, or not used."""


class Examined(NamedTuple):
    """What is wrong with an environment, one sentence each."""

    problems: tuple[str, ...]
    """It keeps the sidecar from working as configured."""
    warnings: tuple[str, ...]
    """It is ignored."""


def examine(environment: Mapping[str, str], *, urls: Mapping[str, str]) -> Examined:
    """Looks at all of them.

    What is not used is no problem: for a cloud on this machine nobody needs a proxy.

    Args:
        environment: of the process.
        urls: what of the cloud is asked, by variable.
    """
    proxies = Proxies.of(environment)
    problems = [*_no_numbers(environment), *_no_poller(environment), *proxies.problems(urls.values())]
    unused = [each for each in proxies.all_problems() if each not in problems]
    warnings = [f"{each}; nothing is asked by way of it" for each in unused]
    if any(url.startswith(("https:", "wss:")) for url in urls.values()):
        problems += trust.problems(environment)
    else:
        warnings += trust.problems(environment)
    return Examined(problems=tuple(problems), warnings=(*warnings, *trust.oddities(environment)))


def without_choices(environment: MutableMapping[str, str]) -> tuple[str, ...]:
    """Takes out what would choose parts of libraries, before they are loaded; one sentence for each."""
    return tuple(
        f"{name} is ignored: which part of a library is loaded is not to be chosen"
        for name in _CHOICES
        if environment.pop(name, None)
    )


def _no_numbers(environment: Mapping[str, str]) -> Iterator[str]:
    for variable, number in _NUMBERS.items():
        value = environment.get(variable)
        if value is None:
            continue
        try:
            number(value)
        except ValueError:
            yield f"{variable} is {value!r}; it must be a number"


def _no_poller(environment: Mapping[str, str]) -> Iterator[str]:
    value = environment.get("GRPC_POLL_STRATEGY", "")
    if value and not _POLLERS & set(value.split(",")):
        yield f"GRPC_POLL_STRATEGY is {value!r}; it must name one of {', '.join(sorted(_POLLERS))}"
