"""JSON lines, renamed keys, secrets struck out (contract/operations.md, Logs)."""

import logging
import time
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from entitlements.config import SECRETS, SidecarConfig
from entitlements.correlation import CALL_METADATA, correlation_of
from entitlements.secret_file import KNOWN_SECRETS, MASK
from sidecar_project.log_output import QueueingHandler

LEVEL_NAMES = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "error"}
DECISIONS_LOGGER = "decisions"
"""As in grpc_service/decision_log.py, which settings are read before."""
START_LOGGER = "sidecar_project.start"
"""Says its one line at any LOG_LEVEL."""
_LEVELS = {"error": "ERROR", "warn": "WARNING", "info": "INFO", "debug": "DEBUG"}
_CHATTY_LIBRARIES = (
    "autobahn",
    "axes",
    "httpx",
    "httpcore",
    "hpack",
    "asyncio",
    "daphne",
    "twisted",
    "django",
    "grpc",
)
"""They log each request at info; here that is debug's matter."""

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; the rest was given as `extra`."""


def _without_secrets(line: str) -> str:
    """The line with the known secrets struck out, wherever they stand."""
    for secret in KNOWN_SECRETS.longest_first:
        line = line.replace(secret, MASK)
    return line


class Correlated(logging.Filter):
    """Adds what the caller of the present call names its request and its trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps every record."""
        for name, value in correlation_of(CALL_METADATA.get())._asdict().items():
            if value is not None:
                setattr(record, name, value)
        return True


class StrangersFaults(logging.Filter):
    """A request that cannot be answered is its sender's fault: a line, and no trace back of ours with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keeps every record."""
        if getattr(record, "status_code", 500) < 500:  # noqa: PLR2004 - HTTP's own border
            record.exc_info = None
        return True


class JsonLines(JsonFormatter):
    """One JSON object a line: level, time, message, and on errors the error."""

    converter = staticmethod(time.gmtime)

    def __init__(self, *, message_key: str, error_key: str) -> None:
        super().__init__(
            "{message}{exc_info}",
            style="{",
            rename_fields={"message": message_key, "exc_info": error_key},
        )
        self._error_key = error_key

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Leaves out what is empty."""
        return {key: value for key, value in log_data.items() if value is not None}

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Puts level and time first."""
        log_data["level"] = LEVEL_NAMES.get(record.levelname, record.levelname.lower())
        log_data["time"] = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z"
        log_data["logger"] = record.name
        super().add_fields(log_data, record, message_dict)
        cause = log_data.pop("error", None) if self._error_key != "error" else None
        if log_data.get(self._error_key) is None:
            log_data[self._error_key] = cause if cause is not None else _cause_of(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, without secrets."""
        return _without_secrets(super().format(record))


def _cause_of(record: logging.LogRecord) -> str | None:
    """The failure that the line is about: the one among its arguments."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return next((str(each) for each in arguments if isinstance(each, Exception)), None)


class ConsoleLines(logging.Formatter):
    """For people: time, level, message, and what else is known."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname:<7} {message}", datefmt="%H:%M:%S", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line itself, with what the call added as name=value behind it."""
        extra = "".join(
            f" {name}={value!r}" for name, value in record.__dict__.items() if name not in _OWN_FIELDS
        )
        return super().formatMessage(record) + extra

    def format(self, record: logging.LogRecord) -> str:
        """The line, without secrets."""
        return _without_secrets(super().format(record))


def logging_config(config: SidecarConfig) -> dict[str, Any]:
    """Django's LOGGING: everything to stdout, in one format."""
    for name in SECRETS:
        secret = getattr(config, name.lower())
        if secret is not None:
            KNOWN_SECRETS.add(secret.get_secret_value())
    json_lines: dict[str, Any] = {
        "()": JsonLines,
        "message_key": config.log_message_key,
        "error_key": config.log_error_key,
    }
    people: dict[str, Any] = {"()": ConsoleLines}
    level = _LEVELS[config.log_level]
    chatty_level = "DEBUG" if level == "DEBUG" else "WARNING" if level == "INFO" else level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": json_lines if config.sidecar_log_format == "json" else people,
            "decisions": json_lines,
        },
        "filters": {"correlated": {"()": Correlated}, "strangers": {"()": StrangersFaults}},
        "handlers": {
            name: {
                "()": QueueingHandler,
                "formatter": formatter,
                "filters": ["correlated", "strangers"],
            }
            for name, formatter in (("stdout", "lines"), ("decisions", "decisions"))
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            START_LOGGER: {"level": "INFO"},
            DECISIONS_LOGGER: {"level": "INFO", "handlers": ["decisions"], "propagate": False},
            # They log each batch that is lost; our own counting logs it once a minute.
            "opentelemetry": {"level": "CRITICAL"},
            # Django gives its loggers handlers of their own: theirs would print each line twice.
            "django.server": {"handlers": [], "propagate": True},
            **{name: {"level": chatty_level, "handlers": []} for name in _CHATTY_LIBRARIES},
        },
    }
