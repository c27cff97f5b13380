"""JSON lines as the contract says, and lines for people; never a secret."""

import json
import logging
from contextvars import copy_context

import pytest

from entitlements.config import load
from entitlements.correlation import CALL_METADATA
from entitlements.domain.errors import KeyRefused
from entitlements.secret_file import MASK, KnownSecrets
from sidecar_project import log_format
from sidecar_project.log_format import ConsoleLines, Correlated, JsonLines, logging_config


def a_record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("entitlements.x", logging.WARNING, "file", 1, message, args, None)
    record.__dict__.update(extra)
    record.created, record.msecs = 1_750_000_000.25, 250.0
    return record


def with_error(message: str) -> logging.LogRecord:
    error = ValueError("secret-key")
    record = a_record(message)
    record.exc_info = (ValueError, error, None)
    return record


def test_a_line_is_one_json_object() -> None:
    lines = JsonLines(message_key="msg", error_key="err")

    assert {
        "level": "warn",
        "time": "2025-06-15T15:06:40.250Z",
        "logger": "entitlements.x",
        "msg": "a 1",
        "cause": "b",
    } == json.loads(lines.format(a_record("a %s", 1, cause="b")))


def test_the_keys_are_configurable() -> None:
    lines = JsonLines(message_key="message", error_key="error")

    line = json.loads(lines.format(with_error("boom")))

    assert "boom" == line["message"]
    assert "ValueError: secret-key" in line["error"]


@pytest.mark.parametrize("error_key", ["err", "error", "problem"])
def test_a_failure_stands_under_the_key_of_the_vendors_lines(error_key: str) -> None:
    """Whether it is among the arguments or given beside them; a line without one has no such key."""
    lines = JsonLines(message_key="msg", error_key=error_key)
    refused = KeyRefused("api")

    by_argument, beside, none = (
        json.loads(lines.format(record))
        for record in (
            a_record("not verified: %s", refused),
            a_record("not followed", error="key_refused"),
            a_record("a %s", "b"),
        )
    )

    assert str(refused) == by_argument[error_key]
    assert "key_refused" == beside[error_key]
    assert error_key not in none
    assert f"not verified: {refused}" == by_argument["msg"]


@pytest.fixture
def _a_secret_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownSecrets()
    known.add("secret-key")
    monkeypatch.setattr(log_format, "KNOWN_SECRETS", known)


@pytest.mark.usefixtures("_a_secret_is_known")
@pytest.mark.parametrize(
    "lines",
    [
        JsonLines(message_key="msg", error_key="err"),
        ConsoleLines(),
    ],
)
def test_a_secret_is_struck_out_wherever_it_stands(lines: logging.Formatter) -> None:
    text = lines.format(with_error("key is secret-key"))

    assert "secret-key" not in text
    assert MASK in text


def test_a_line_for_people() -> None:
    text = ConsoleLines().format(a_record("a %s", 1))

    assert text.endswith("WARNING a 1")


@pytest.mark.usefixtures("_a_secret_is_known")
def test_a_line_for_people_says_what_else_is_known() -> None:
    text = ConsoleLines().format(a_record("a worker ended", pid=7, detail="two\nlines of secret-key"))

    assert text.endswith(rf"WARNING a worker ended pid=7 detail='two\nlines of {MASK}'")


@pytest.mark.parametrize(
    ("level", "root", "chatty"),
    [
        ("error", "ERROR", "ERROR"),
        ("warn", "WARNING", "WARNING"),
        ("info", "INFO", "WARNING"),
        ("debug", "DEBUG", "DEBUG"),
    ],
)
def test_libraries_are_quiet_until_debug(level: str, root: str, chatty: str) -> None:
    config = logging_config(load({"OFFLINE": "1", "LOG_LEVEL": level}).config)

    assert root == config["root"]["level"]
    assert chatty == config["loggers"]["httpx"]["level"]
    assert chatty == config["loggers"]["axes"]["level"]


def test_one_handler_prints_everything_once() -> None:
    config = logging_config(load({"OFFLINE": "1", "SIDECAR_LOG_FORMAT": "console"}).config)

    assert ["stdout"] == config["root"]["handlers"]
    assert ConsoleLines is config["formatters"]["lines"]["()"]


def test_a_line_names_the_request_it_belongs_to() -> None:
    """And nothing where there is none."""
    record, elsewhere = a_record("a"), a_record("b")
    context = copy_context()
    context.run(CALL_METADATA.set, (("x-request-id", "r-1"),))

    context.run(Correlated().filter, record)
    Correlated().filter(elsewhere)

    assert "r-1" == record.__dict__["request_id"]
    assert not {"request_id", "trace_id", "span_id"} & set(elsewhere.__dict__)
    assert "correlated" in logging_config(load({"OFFLINE": "1"}).config)["handlers"]["stdout"]["filters"]
