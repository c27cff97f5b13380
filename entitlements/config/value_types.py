"""What a variable may hold: its text is checked and read here, with one sentence for what must be there."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr

TRUE_TEXTS = frozenset({"1", "true", "yes", "on"})
FALSE_TEXTS = frozenset({"0", "false", "no", "off"})

DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql", "mysql")
"""What DATABASE_URL may name; MySQL's driver is not in the image."""
LAST_PORT = 65_535

MIN_PASSWORD_LENGTH = 12
"""Of SIDECAR_ADMIN_PASSWORD."""
MIN_TOKEN_LENGTH = 16
"""Of SIDECAR_HTTP_TOKEN."""
MIN_SECRET_KEY_LENGTH = 50
MIN_SECRET_KEY_CHARACTERS = 5
"""How many different ones; both are what Django's own check asks for."""


def _boolean(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text in TRUE_TEXTS | FALSE_TEXTS:
        return text in TRUE_TEXTS
    message = "it must be true or false (1/0, yes/no, on/off)"
    raise ValueError(message)


def _url(*schemes: str) -> BeforeValidator:
    def checked(value: object) -> object:
        parts = urlsplit(str(value))
        try:
            usable = (
                parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            usable = False
        if not usable:
            message = f"it must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            raise ValueError(message)
        return str(value).rstrip("/")

    return BeforeValidator(checked)


def _path(value: object) -> object:
    path = str(value).strip("/")
    if not path or path == "metrics" or path.split("/")[0] in {"admin", "static"} or "?" in path:
        message = "it must be a path other than metrics, admin and static"
        raise ValueError(message)
    return path


def _port(value: object) -> object:
    if isinstance(value, str) and value.startswith("tcp://"):
        message = (
            "it must be a number; this looks like the variable that Kubernetes makes for a service "
            "of that name: set it yourself, or set enableServiceLinks: false"
        )
        raise ValueError(message)
    return value


def lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def checked_address(value: object) -> object:
    try:
        parts = urlsplit(f"//{value}")
        usable = bool(parts.hostname and parts.port) and parts.netloc == str(value) and "@" not in str(value)
    except ValueError:
        usable = False
    if not usable:
        message = "it must be host:port, such as localhost:8082 or [::1]:8082"
        raise ValueError(message)
    return value


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def checked_header_value(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if isinstance(text, str) and not all("!" <= character <= "~" for character in text):
        message = "it must hold printable ASCII characters without blanks"
        raise ValueError(message)
    return value


def checked_database_url(value: object) -> object:
    text = _text(value)
    if urlsplit(text).scheme not in DATABASE_SCHEMES:
        message = (
            f"it must be a URL that begins with {' or '.join(f'{each}://' for each in DATABASE_SCHEMES)}"
        )
        raise ValueError(message)
    return value


def checked_password(value: object) -> object:
    text = _text(value)
    if len(text) < MIN_PASSWORD_LENGTH:
        message = f"it must have {MIN_PASSWORD_LENGTH} characters or more"
        raise ValueError(message)
    return value


def checked_secret_key(value: object) -> object:
    text = _text(value)
    if len(text) < MIN_SECRET_KEY_LENGTH or len(set(text)) < MIN_SECRET_KEY_CHARACTERS:
        message = f"it must have {MIN_SECRET_KEY_LENGTH} random characters or more"
        raise ValueError(message)
    return value


def checked_token(value: object) -> object:
    text = _text(value)
    if len(text) < MIN_TOKEN_LENGTH:
        message = f"it must have {MIN_TOKEN_LENGTH} characters or more"
        raise ValueError(message)
    return checked_header_value(value)


def checked_origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = tuple(each.strip().rstrip("/") for each in value.split(",") if each.strip())
    for each in origins:
        parts = urlsplit(each)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
            message = "it must be a list of origins such as https://sidecar.example.com, with commas between"
            raise ValueError(message)
    return origins


def _addresses(value: object) -> object:
    if not isinstance(value, str):
        return value
    addresses = tuple(each.strip() for each in value.split(",") if each.strip())
    for each in addresses:
        host, _, port = each.rpartition(":")
        if not host.strip("[]") or not port.isdecimal() or not 0 < int(port) <= LAST_PORT or "/" in host:
            message = "it must be a list of host:port such as redis-1:6379, with commas between"
            raise ValueError(message)
    return addresses


Boolean = Annotated[bool, BeforeValidator(_boolean)]
Port = Annotated[int, BeforeValidator(_port), Field(ge=0, le=LAST_PORT)]
Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]
HttpUrl = Annotated[str, _url("http", "https")]
WebSocketUrl = Annotated[str, _url("ws", "wss")]
UrlPath = Annotated[str, BeforeValidator(_path)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
GraceSeconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]
