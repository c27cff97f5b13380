"""Variables that libraries read: reported by name, as a problem only where they are one."""

import re
from collections.abc import Mapping
from pathlib import Path

import daphne
import pytest
import websockets

from entitlements.upstream.library_variables import Examined, examine

CLOUD = {"API_URL": "https://api.stigg.io", "WS_URL": "wss://api.stigg.io"}
HERE = {"API_URL": "http://localhost:4300"}


@pytest.mark.parametrize(
    "environment",
    [
        {"ALL_PROXY": "socks5://h:1"},
        {"HTTPS_PROXY": "ftp://h:1"},
        {"SSL_CERT_FILE": "/missing"},
        {"SSL_CERT_DIR": "/missing"},
    ],
)
def test_what_is_not_used_is_no_problem(environment: Mapping[str, str]) -> None:
    """Offline, and for a cloud on this machine, it starts; the variable is named all the same."""
    (name,) = environment

    used, here, offline = (examine(environment, urls=urls) for urls in (CLOUD, HERE, {}))

    assert [name] == [each.split(" ")[0] for each in used.problems]
    assert [] == list(used.warnings)
    for reported in (here, offline):
        assert [] == list(reported.problems)
        assert [name] == [each.split(" ")[0] for each in reported.warnings]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NO_PROXY": "localhost,fd00::/8"},
        {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8"},
        {"WEBSOCKETS_MAX_LOG_SIZE": "100"},
    ],
)
def test_what_can_be_used_is_not_reported(environment: Mapping[str, str]) -> None:
    assert Examined(problems=(), warnings=()) == examine(environment, urls=CLOUD)


@pytest.mark.parametrize("name", ["WEBSOCKETS_MAX_LOG_SIZE", "WEBSOCKETS_BACKOFF_FACTOR"])
def test_a_library_that_wants_a_number_is_given_one(name: str) -> None:
    assert (f"{name} is 'x'; it must be a number",) == examine({name: "x"}, urls={}).problems


def test_every_number_that_a_library_reads_at_its_import_is_looked_at() -> None:
    """Else one that is no number is a traceback."""
    folders = [Path(module.__file__ or "").parent for module in (daphne, websockets)]
    sources = [path.read_text() for folder in folders for path in folder.rglob("*.py")]
    read = re.compile(r"(?:int|float)\(\s*os\.environ(?:\.get\(|\[)\s*\"(\w+)\"")
    names = {name for source in sources for name in read.findall(source)}

    assert {"ASGI_THREADS", "WEBSOCKETS_MAX_LINE_LENGTH"} < names
    for name in names:
        assert (f"{name} is 'x'; it must be a number",) == examine({name: "x"}, urls={}).problems


@pytest.mark.parametrize(
    ("value", "is_reported"),
    [("junk", True), ("epoll", True), ("all", False), ("", False), ("x,poll", False)],
)
def test_a_poller_that_grpc_does_not_know_is_reported(value: str, *, is_reported: bool) -> None:
    """Its core would abort the process."""
    reported = examine({"GRPC_POLL_STRATEGY": value}, urls={}).problems

    assert is_reported is bool(reported)
    assert all(each.startswith("GRPC_POLL_STRATEGY is") for each in reported)
