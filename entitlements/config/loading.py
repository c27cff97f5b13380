"""From an environment to a configuration, or to all that is wrong with it, one sentence each."""

import difflib
import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from entitlements.config.derived_urls import derived_urls
from entitlements.config.memory_size import default_cache_size_bytes
from entitlements.config.redis_rules import redis_problems
from entitlements.config.variables import SECRETS, SidecarConfig, variable_names
from entitlements.secret_file import MASK, UnusableSecretFile, read_secret

PEM_FILES = (
    "tls_cert_file",
    "tls_key_file",
    "tls_client_ca_file",
    "sidecar_redis_ca_file",
    "sidecar_redis_cert_file",
    "sidecar_redis_key_file",
)
MAX_SHOWN_CHARACTERS = 80
"""So much of a wrong value is shown."""
_OWN_PREFIX = "SIDECAR_"
_TYPO_SIMILARITY = 0.85
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+:\d+$")
"""What Kubernetes puts into NAME_PORT for a service called NAME; nobody else writes a port so."""
_MADE_BY_KUBERNETES = re.compile(r"_(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP).*)?)$")


class Origin(enum.Enum):
    """Where a value came from."""

    DEFAULT = "default"
    ENVIRONMENT = "environment"
    FILE = "file"
    DERIVED = "derived"


class Row(NamedTuple):
    """One line of what is in force, for people."""

    name: str
    value: str
    origin: Origin
    description: str


class InvalidConfig(Exception):
    """The environment cannot be used."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        """One sentence for each fault: the name, what it held (secrets masked), what it must hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """The configuration in force, and where it came from."""

    config: SidecarConfig
    origins: Mapping[str, Origin]
    """By variable."""
    secret_files: Mapping[str, Path]
    """Where the secrets stand that were read from files, by variable."""
    warnings: tuple[str, ...]
    """What looks like a mistake but does not keep the sidecar from starting."""

    def describe(self) -> list[Row]:
        """Every variable with its value (secrets masked) and origin."""
        return [
            Row(name, _shown(getattr(self.config, name.lower())), self.origins[name], _description(name))
            for name in variable_names()
        ]


def load(
    environ: Mapping[str, str], *, cache_size_bytes: Callable[[], int] = default_cache_size_bytes
) -> LoadedConfig:
    """The configuration of an environment.

    Raises:
        InvalidConfig: it cannot be used; all problems are shown at once.
    """
    problems: list[str] = []
    values, origins = _given(environ, problems)
    derived = derived_urls(values)
    if "cache_max_size_bytes" not in values:
        derived_size: dict[str, Any] = {"cache_max_size_bytes": cache_size_bytes()}
        values |= derived_size
    config = _validated(values | derived, environ, problems)
    problems += _missing(config, values, problems)
    if problems or config is None:
        raise InvalidConfig(tuple(problems))
    origins |= dict.fromkeys((name.upper() for name in derived), Origin.DERIVED)
    all_origins = {name: origins.get(name, Origin.DEFAULT) for name in variable_names()}
    return LoadedConfig(
        config=config,
        origins=all_origins,
        secret_files={
            name: Path(environ[f"{name}_FILE"].strip())
            for name in SECRETS
            if all_origins[name] is Origin.FILE
        },
        warnings=_typos(environ) + _oddities(config, environ),
    )


def _given(environ: Mapping[str, str], problems: list[str]) -> tuple[dict[str, Any], dict[str, Origin]]:
    """The values that are set, by field, and where each came from."""
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    linked = _service_links(environ)
    for name in variable_names():
        text = environ.get(name, "").strip()
        if text and name not in linked:
            values[name.lower()] = text
            origins[name] = Origin.ENVIRONMENT
        file_name = environ.get(f"{name}_FILE", "").strip() if name in SECRETS else ""
        if file_name:
            problem = _read_secret(name, file_name, values)
            problems.extend([problem] if problem else [])
            origins[name] = Origin.FILE
    return values, origins


def _service_links(environ: Mapping[str, str]) -> list[str]:
    """Our variables that Kubernetes set for services of the same names, where the default can serve.

    REDIS_PORT is not among them where Redis is used: the service may well be the Redis that is meant, and
    another than REDIS_HOST.
    """
    return [
        name
        for name in variable_names()
        if _SERVICE_LINK.match(environ.get(name, "").strip())
        and (name != "REDIS_PORT" or not environ.get("REDIS_ENVIRONMENT_PREFIX", "").strip())
        and name.endswith("_PORT")
    ]


def _read_secret(name: str, file_name: str, values: dict[str, Any]) -> str | None:
    """Puts the secret among the values, or returns what is wrong."""
    variable = f"{name}_FILE"
    if name.lower() in values:
        return f"{name} and {variable} are both set; only one of them may be set"
    try:
        values[name.lower()] = read_secret(Path(file_name))
    except UnusableSecretFile as error:
        return f"{variable} is {file_name!r}, {error}; it must name the readable file of a secret"
    return None


def _validated(
    values: dict[str, Any], environ: Mapping[str, str], problems: list[str]
) -> SidecarConfig | None:
    try:
        return SidecarConfig(**values)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            name = str(fault["loc"][0]).upper()
            problems.append(f"{name} is {_held(name, environ)}; {_allowed(fault['msg'])}")
    return None


def _held(name: str, environ: Mapping[str, str]) -> str:
    if name in SECRETS:
        return MASK
    text = environ.get(name, "")
    shown = text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"
    return repr(shown)


def _allowed(message: str) -> str:
    own = message.removeprefix("Value error, ")
    return own if own != message else "it " + message.removeprefix("Input ").replace("should", "must", 1)


def _missing(config: SidecarConfig | None, values: dict[str, Any], problems: list[str]) -> list[str]:
    """What is wrong between variables."""
    found = []
    offline = (
        config.offline if config is not None else str(values.get("offline", "")).lower() in {"1", "true"}
    )
    if "server_api_key" not in values and not offline and not any("SERVER_API_KEY" in p for p in problems):
        found.append("SERVER_API_KEY is not set; it must hold a full access key, unless OFFLINE is true")
    if config is None:
        return found
    if config.health_endpoint_url == config.ready_endpoint_url:
        found.append(
            "HEALTH_ENDPOINT_URL and READY_ENDPOINT_URL are the same; they must be two different paths"
        )
    if config.redis_keys_ttl_in_secs == 0:
        found.append(
            "REDIS_KEYS_TTL_IN_SECS is '0'; it must be a number of seconds, or negative for no expiry"
        )
    if (config.tls_cert_file is None) != (config.tls_key_file is None):
        found.append("TLS_CERT_FILE and TLS_KEY_FILE belong together; both must be set, or neither")
    if (config.sidecar_admin_username is None) != (config.sidecar_admin_password is None):
        found.append(
            "SIDECAR_ADMIN_USERNAME and SIDECAR_ADMIN_PASSWORD_FILE belong together; "
            "both must be set, or neither"
        )
    if config.sidecar_offline_file is not None and not config.offline:
        found.append("SIDECAR_OFFLINE_FILE is set without OFFLINE; both must be set, or neither")
    return found + redis_problems(config) + _unreadable_files(config)


def _unreadable_files(config: SidecarConfig) -> list[str]:
    return [
        f"{name.upper()} is {str(file)!r}, which cannot be read; it must name a readable PEM file"
        for name in PEM_FILES
        if (file := getattr(config, name)) is not None and not _is_readable(file)
    ]


def _is_readable(file: Path) -> bool:
    try:
        with file.open("rb"):
            return True
    except OSError:
        return False


def _typos(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = {*variable_names(), *(f"{name}_FILE" for name in SECRETS)}
    found = []
    for name in sorted(set(environ) - known):
        if _MADE_BY_KUBERNETES.search(name):
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=_TYPO_SIMILARITY)
        if close:
            found.append(f"{name} is not a variable of the sidecar and is ignored; is {close[0]} meant?")
        elif name.startswith(_OWN_PREFIX):
            found.append(f"{name} is not a variable of the sidecar and is ignored")
    return tuple(found)


def _oddities(config: SidecarConfig, environ: Mapping[str, str]) -> tuple[str, ...]:
    found = [
        f"{name} is {environ[name]!r}, which Kubernetes makes for a service of that name; it is ignored: "
        "set it yourself, or set enableServiceLinks: false"
        for name in _service_links(environ)
    ]
    if config.database_url and config.sidecar_admin_enabled and config.sidecar_secret_key is None:
        found.append(
            "DATABASE_URL is set without SIDECAR_SECRET_KEY_FILE; replicas that share the database do not "
            "know each other's logins"
        )
    return tuple(found)


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, Mapping):
        return f"{len(value)} features" if value else ""
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _description(name: str) -> str:
    return SidecarConfig.model_fields[name.lower()].description or ""
