"""The only reader of the environment: builds SIDECAR and Django's settings from it.

An unusable environment does not keep `manage.py` from helping people: SIDECAR_PROBLEMS says what is wrong,
and `runsidecar` refuses to start with it.
"""

import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import dj_database_url
from pydantic import SecretStr

from entitlements.config import InvalidConfig, LoadedConfig, SidecarConfig, load
from entitlements.redis.address import RedisAddress, cache_settings
from entitlements.redis.credentials import Credentials
from entitlements.upstream.library_variables import examine, without_choices
from sidecar_project import admin_settings
from sidecar_project.log_format import logging_config
from sidecar_project.tracing_wanted import is_wanted
from sidecar_project.worker_metrics import count_by_place

count_by_place(os.environ)
_IGNORED = without_choices(os.environ)


def state_home(environment: Mapping[str, str]) -> Path:
    """Where programs keep what is theirs (XDG Base Directory Specification)."""
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local/state")


BASE_DIR = Path(__file__).resolve().parent.parent
IS_CHECKOUT = (BASE_DIR / "manage.py").exists()
HOME_DIR = BASE_DIR if IS_CHECKOUT else state_home(os.environ) / "stigg-sidecar"
"""What relative paths are relative to: the checkout, or a folder of the user's where it is installed."""
DEMO_DIR = HOME_DIR / ".demo"
DEMO_RUNNING_FILE = DEMO_DIR / "running.json"
"""Where commands find the demo while it runs."""
COMMAND = ".venv/bin/python manage.py" if IS_CHECKOUT else "stigg-sidecar"
"""How a person calls it, for invitations."""
PROGRAM = (str(BASE_DIR / "manage.py"),) if IS_CHECKOUT else ("-m", "sidecar_project.command")
"""The same for a process that starts another, behind the interpreter."""

_PLACEHOLDER_KEY = {"SERVER_API_KEY": "not-set"}
"""What stands in for a key that is missing, so that commands that need none work as configured."""
SECRET_KEY_FILE_NAME = "secret-key"  # noqa: S105 - the name of a file
DATABASE_FILE_NAME = "sidecar.sqlite3"
POSTGRES_ENGINE = "django.db.backends.postgresql"
DATABASE_CONNECT_SECONDS = 5
"""A database that says nothing for longer is away; libpq would wait for minutes, and the start with it."""
DATABASE_SILENT_SECONDS = 10
"""A connection on which nothing is acknowledged for longer is dead; the kernel would try for 15 minutes."""
SQLITE_ENGINE = "django.db.backends.sqlite3"
SQLITE_BUSY_SECONDS = 5
"""A writer waits so long for another."""
FEED_CHANNEL_CAPACITY = 2000
"""More than MAX_FRAMES_UNDER_WAY of entitlements/consumers.py, which is the bound in force."""


def _load() -> tuple[LoadedConfig, tuple[str, ...]]:
    """The configuration, and what is wrong with it: what can be used of it is in force for commands."""
    try:
        loaded = load(os.environ)
    except InvalidConfig as invalid:
        return _usable(invalid.problems), invalid.problems
    examined = examine(os.environ, urls=loaded.config.cloud_urls)
    return replace(loaded, warnings=(*loaded.warnings, *examined.warnings, *_IGNORED)), examined.problems


def _usable(problems: tuple[str, ...]) -> LoadedConfig:
    """The configuration without the variables that the problems name."""
    named = set(re.findall(r"[A-Z][A-Z0-9_]+", " ".join(problems)))
    usable = {name: value for name, value in os.environ.items() if name not in named}
    if not {"SERVER_API_KEY", "SERVER_API_KEY_FILE"} & set(usable):
        usable |= _PLACEHOLDER_KEY
    with suppress(InvalidConfig):
        return load(usable)
    return load(_PLACEHOLDER_KEY)


SIDECAR, SIDECAR_PROBLEMS = _load()
_config = SIDECAR.config
_CONFIGURING = {"SERVER_API_KEY", "SERVER_API_KEY_FILE", "OFFLINE", "SIDECAR_DATA_DIR"}
"""With one of these a command is about a sidecar of the user's own."""


def _running_demo() -> dict[str, str]:
    """Where the demo that runs answers gRPC, and its data folder; nothing where none does."""
    try:
        running: dict[str, str] = json.loads(DEMO_RUNNING_FILE.read_text())
    except (OSError, ValueError):
        return {}
    return running


_DEMO = _running_demo()


def _data_dir(config: SidecarConfig) -> Path:
    """As configured; while the demo runs its folder, for commands that nothing configures."""
    if _DEMO and not _CONFIGURING & os.environ.keys():
        return Path(_DEMO["data_dir"])
    return HOME_DIR / config.sidecar_data_dir  # which is an absolute one, where that is


DATA_DIR = _data_dir(_config)


TRACES_WANTED = is_wanted(os.environ)


def _secret_key(file: Path) -> str:
    """The key kept in the data folder; made on first use, for this process alone if need be."""
    key = secrets.token_urlsafe(50)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.{os.getpid()}")
        new.touch(mode=0o600)
        new.write_text(key)
        with suppress(FileExistsError):  # another process was first: its key holds
            os.link(new, file)
        new.unlink()
        return file.read_text()
    return key


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _path(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _host_ports(addresses: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    parts = (each.rpartition(":") for each in addresses)
    return tuple((host.strip("[]"), int(port)) for host, _, port in parts)


def _redis_address(config: SidecarConfig) -> RedisAddress:
    nodes = config.sidecar_redis_nodes or (f"{config.redis_host}:{config.redis_port}",)
    return RedisAddress(
        host=config.redis_host,
        port=config.redis_port,
        db=config.redis_db,
        credentials=Credentials(_shown(config.redis_username), _shown(config.redis_password)),
        tls=config.redis_tls,
        tls_verify=config.sidecar_redis_tls_verify,
        tls_ca_file=_path(config.sidecar_redis_ca_file),
        tls_cert_file=_path(config.sidecar_redis_cert_file),
        tls_key_file=_path(config.sidecar_redis_key_file),
        nodes=_host_ports(nodes) if config.sidecar_redis_mode == "cluster" else (),
        sentinels=_host_ports(config.sidecar_redis_sentinels),
        sentinel_master=config.sidecar_redis_sentinel_master or "",
        sentinel_username=_shown(config.sidecar_redis_sentinel_username),
        sentinel_password=_shown(config.sidecar_redis_sentinel_password),
    )


_DATABASE_OPTIONS: dict[str, dict[str, Any]] = {
    POSTGRES_ENGINE: {
        "connect_timeout": DATABASE_CONNECT_SECONDS,
        "tcp_user_timeout": DATABASE_SILENT_SECONDS * 1000,
        "keepalives_idle": DATABASE_SILENT_SECONDS,
        "keepalives_interval": DATABASE_SILENT_SECONDS // 2,
        "keepalives_count": 2,
    },
    # A transaction that reads first and writes then finds "database is locked" at once where another wrote
    # in between, whatever the timeout: SQLite could only let both wait for ever. So each has its turn first.
    SQLITE_ENGINE: {"transaction_mode": "IMMEDIATE", "timeout": SQLITE_BUSY_SECONDS},
}


def _database(config: SidecarConfig) -> dict[str, Any]:
    url = _shown(config.database_url)
    database: dict[str, Any] = (
        {"ENGINE": SQLITE_ENGINE, "NAME": DATA_DIR / DATABASE_FILE_NAME}
        if url is None
        else {**dj_database_url.parse(url)}
    )
    options = _DATABASE_OPTIONS.get(database["ENGINE"], {})
    return {**database, "OPTIONS": {**options, **database.get("OPTIONS", {})}}


def _ask_address() -> str:
    """Where `manage.py ask` asks: the running demo, unless GRPC_PORT says otherwise."""
    if "GRPC_PORT" in os.environ:  # asking needs no key, without which the configuration is unusable
        return f"127.0.0.1:{os.environ['GRPC_PORT']}"
    return _DEMO.get("address", f"127.0.0.1:{_config.grpc_port}")


SIDECAR_ASK_ADDRESS = _ask_address()

SECRET_KEY = _shown(_config.sidecar_secret_key) or _secret_key(DATA_DIR / SECRET_KEY_FILE_NAME)
DEBUG = False
# Probes come by IP and by service name. Pages that change anything ask for a login and a CSRF token.
ALLOWED_HOSTS = ["*"]

PROMETHEUS_EXPORT_MIGRATIONS = False
INSTALLED_APPS = [
    "entitlements",  # first: some of its commands are Django's own with a prepared database
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_prometheus",
    "channels",
    "grpc_service",
    "sidecar_project",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "sidecar_project.urls"
ASGI_APPLICATION = "sidecar_project.asgi.application"
DATABASES = {"default": _database(_config)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": FEED_CHANNEL_CAPACITY},
    }
}
CACHES: dict[str, dict[str, Any]] = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if _config.redis_environment_prefix is not None:
    REDIS_ADDRESS = _address = _redis_address(_config)
    CACHES["redis"] = cache_settings(_address)
LOGGING = logging_config(_config)
USE_TZ = True
TIME_ZONE = "UTC"
SECURE_CONTENT_TYPE_NOSNIFF = True
CSRF_COOKIE_SECURE = True
SESSION_COOKIE_SECURE = True
if _config.sidecar_admin_enabled:
    INSTALLED_APPS += admin_settings.APPS
    MIDDLEWARE = admin_settings.MIDDLEWARE
    CSRF_TRUSTED_ORIGINS = list(_config.sidecar_admin_origins)
    globals().update(admin_settings.OTHERS)
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # no HSTS: the port speaks plain HTTP inside a pod; TLS ends before it
    "security.W008",  # no redirect to HTTPS, for the same reason
]
