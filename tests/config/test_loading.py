"""From an environment to a configuration, or to all that is wrong with it."""

from pathlib import Path

import pytest

from entitlements.config import InvalidConfig, LoadedConfig, Origin, load
from entitlements.config.loading import MAX_SHOWN_CHARACTERS
from entitlements.config.variables import SECRETS, variable_names
from entitlements.secret_file import MASK, MAX_SECRET_FILE_BYTES

KEY = "a-made-up-key"


def loaded(**environ: str) -> LoadedConfig:
    return load({"SERVER_API_KEY": KEY} | environ, cache_size_bytes=lambda: 1_000_000)


def problems(environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(InvalidConfig) as caught:
        load(environ, cache_size_bytes=lambda: 1_000_000)
    assert "; ".join(caught.value.problems) == str(caught.value)
    return caught.value.problems


def test_an_almost_empty_environment_has_the_contracts_defaults() -> None:
    """contract/operations.md, Environment variables."""
    config = loaded().config

    assert "https://api.stigg.io" == config.api_url
    assert "https://edge.api.stigg.io" == config.edge_api_url
    assert "wss://api.stigg.io" == config.ws_url
    assert config.edge_enabled is True
    assert config.ws_enabled is True
    assert config.redis_environment_prefix is None
    assert "localhost" == config.redis_host
    assert 6379 == config.redis_port
    assert 0 == config.redis_db
    assert config.redis_tls is False
    assert 604_800 == config.redis_keys_ttl_in_secs
    assert 80 == config.grpc_port
    assert 8443 == config.port
    assert "livez" == config.health_endpoint_url
    assert "readyz" == config.ready_endpoint_url
    assert 8080 == config.metrics_port
    assert "warn" == config.log_level
    assert "msg" == config.log_message_key
    assert "err" == config.log_error_key
    assert config.offline is False
    assert 1_000_000 == config.cache_max_size_bytes


def test_all_problems_are_reported_at_once() -> None:
    """Malformed ENTITLEMENTS_FALLBACK, unknown LOG_LEVEL, GRPC_PORT=http: one start that names all three."""
    found = problems(
        {"SERVER_API_KEY": KEY, "ENTITLEMENTS_FALLBACK": "{", "LOG_LEVEL": "loud", "GRPC_PORT": "http"}
    )

    assert {"ENTITLEMENTS_FALLBACK", "LOG_LEVEL", "GRPC_PORT"} == {line.split()[0] for line in found}
    assert "GRPC_PORT is 'http'; it must be a valid integer, unable to parse string as an integer" in found


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "SERVER_API_KEY is not set; it must hold a full access key, unless OFFLINE is true"),
        ({"GRPC_PORT": "65536"}, "GRPC_PORT is '65536'; it must be less than or equal to 65535"),
        (
            {"REDIS_PORT": "tcp://10.0.0.1:80", "REDIS_ENVIRONMENT_PREFIX": "production"},
            "REDIS_PORT is 'tcp://10.0.0.1:80'; it must be a number; this looks like the variable that "
            "Kubernetes makes for a service of that name: set it yourself, or set enableServiceLinks: false",
        ),
        ({"API_URL": "api.stigg.io"}, "API_URL is 'api.stigg.io'; it must be a URL that begins with http"),
        ({"WS_URL": "https://x"}, "WS_URL is 'https://x'; it must be a URL that begins with ws:// or wss://"),
        ({"API_URL": "http://x:0"}, "API_URL is 'http://x:0'"),
        ({"API_URL": "http://[x"}, "API_URL is 'http://[x'"),
        (
            {"EDGE_ENABLED": "maybe"},
            "EDGE_ENABLED is 'maybe'; it must be true or false (1/0, yes/no, on/off)",
        ),
        ({"REDIS_KEYS_TTL_IN_SECS": "0"}, "REDIS_KEYS_TTL_IN_SECS is '0'; it must be a number of seconds"),
        (
            {"HEALTH_ENDPOINT_URL": "metrics"},
            "HEALTH_ENDPOINT_URL is 'metrics'; it must be a path other than",
        ),
        ({"HEALTH_ENDPOINT_URL": "/x", "READY_ENDPOINT_URL": "x/"}, "are the same"),
        ({"TLS_CERT_FILE": "/dev/null"}, "TLS_CERT_FILE and TLS_KEY_FILE belong together"),
        (
            {"TLS_CERT_FILE": "/none", "TLS_KEY_FILE": "/none"},
            "TLS_KEY_FILE is '/none', which cannot be read; it must name a readable PEM file",
        ),
        ({"CACHE_MAX_SIZE_BYTES": "0"}, "CACHE_MAX_SIZE_BYTES is '0'"),
        ({"SIDECAR_FETCH_BUDGET_SECONDS": "nan"}, "SIDECAR_FETCH_BUDGET_SECONDS is 'nan'"),
        ({"SIDECAR_WORKERS": "0"}, "SIDECAR_WORKERS is '0'"),
        (
            {"SIDECAR_SECRET_KEY": "x" * 60},
            f"SIDECAR_SECRET_KEY is {MASK}; it must have 50 random characters",
        ),
        ({"GRPC_PORT": "tcp:80"}, "GRPC_PORT is 'tcp:80'"),
    ],
)
def test_each_problem_names_the_variable_what_it_held_and_what_it_may_hold(
    environ: dict[str, str], sentence: str
) -> None:
    key = {} if not environ else {"SERVER_API_KEY": KEY}

    assert any(line.startswith(sentence) or sentence in line for line in problems(key | environ))


def test_a_long_value_is_shown_in_part() -> None:
    (problem,) = problems({"SERVER_API_KEY": KEY, "LOG_LEVEL": "x" * 1000})

    assert f"{'x' * MAX_SHOWN_CHARACTERS}…" in problem
    assert "x" * (MAX_SHOWN_CHARACTERS + 1) not in problem


@pytest.mark.parametrize("key", ["a\nb", "schlüssel", "a\x00b", "a\x7fb"])
def test_a_key_that_no_header_carries_is_refused_without_being_shown(key: str) -> None:
    """It goes into an HTTP header: printable ASCII."""
    (problem,) = problems({"SERVER_API_KEY": key})

    assert f"SERVER_API_KEY is {MASK}; it must hold printable ASCII characters without blanks" == problem


def test_a_key_in_a_variable_may_have_blanks_around_it() -> None:
    assert KEY == load({"SERVER_API_KEY": f" {KEY}\n"}).config.server_api_key.get_secret_value()


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_every_secret_may_be_read_from_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    of_their_form = {"DATABASE_URL": "sqlite:///from-a-file", "SIDECAR_SECRET_KEY": "read-from-a-file" * 4}
    secret = of_their_form.get(name, "read-from-a-file")
    file.write_text(f"{secret}\n")
    environ = {"SERVER_API_KEY": KEY, f"{name}_FILE": str(file)}
    if name == "SIDECAR_ADMIN_PASSWORD":
        environ["SIDECAR_ADMIN_USERNAME"] = "somebody"
    if name == "SERVER_API_KEY":
        del environ[name]

    found = load(environ)

    assert secret == getattr(found.config, name.lower()).get_secret_value()
    assert Origin.FILE is found.origins[name]
    assert {name: file} == found.secret_files


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"", "is empty or too large"),
        (b"\xff\xfe", "cannot be read (it is not text)"),
        (b"x" * (MAX_SECRET_FILE_BYTES + 1), "is empty or too large"),
    ],
)
def test_a_secret_file_that_cannot_be_used_is_reported(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)

    (problem,) = problems({"SERVER_API_KEY_FILE": str(file)})

    assert sentence in problem


def test_a_secret_twice_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")

    assert ("SERVER_API_KEY and SERVER_API_KEY_FILE are both set; only one of them may be set",) == problems(
        {"SERVER_API_KEY": KEY, "SERVER_API_KEY_FILE": str(file)}
    )


def test_no_secret_is_shown_anywhere() -> None:
    found = loaded(
        REDIS_USERNAME="somebody",
        REDIS_PASSWORD="hush",
        SIDECAR_REDIS_SENTINELS="s:1",
        SIDECAR_REDIS_SENTINEL_MASTER="m",
        SIDECAR_REDIS_SENTINEL_USERNAME="somebody else",
        SIDECAR_REDIS_SENTINEL_PASSWORD="hushed",
        DATABASE_URL="sqlite:////tmp/whispered.sqlite3",
        SIDECAR_ADMIN_USERNAME="admin",
        SIDECAR_ADMIN_PASSWORD="murmured softly",
        SIDECAR_HTTP_TOKEN="mumbled-in-a-corner",
        SIDECAR_SECRET_KEY="breathed into nobody's ear, not even the wind's at night",
    )

    text = "\n".join(map(str, [*found.describe(), found.config, repr(found.config), found]))

    assert not any(secret in text for secret in (KEY, "somebody", "hush", "whispered", "murmured", "mumbled"))
    assert {MASK} == {row.value for row in found.describe() if row.name in SECRETS}


def test_every_variable_is_described_with_its_origin() -> None:
    found = loaded(
        GRPC_PORT="9000", API_URL="https://api.example", ENTITLEMENTS_FALLBACK='{"f":{"hasAccess":true}}'
    )

    rows = {row.name: row for row in found.describe()}

    assert set(variable_names()) == set(rows)
    assert all(row.description for row in rows.values())
    assert ("9000", Origin.ENVIRONMENT) == rows["GRPC_PORT"][1:3]
    assert ("wss://api.example", Origin.DERIVED) == rows["WS_URL"][1:3]
    assert ("8080", Origin.DEFAULT) == rows["METRICS_PORT"][1:3]
    assert "1 features" == rows["ENTITLEMENTS_FALLBACK"].value


def test_offline_needs_no_key() -> None:
    assert load({"OFFLINE": "yes"}).config.offline


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("GRPC_PROT", "GRPC_PROT is not a variable of the sidecar and is ignored; is GRPC_PORT meant?"),
        (
            "SIDECAR_NOTHING_LIKE_IT",
            "SIDECAR_NOTHING_LIKE_IT is not a variable of the sidecar and is ignored",
        ),
    ],
)
def test_what_looks_like_a_typo_is_warned_about(name: str, warning: str) -> None:
    assert (warning,) == loaded(**{name: "1"}).warnings


@pytest.mark.parametrize("name", ["PATH", "REDIS_SERVICE_HOST", "REDIS_PORT_6379_TCP_ADDR", "HOME"])
def test_what_others_set_is_no_typo(name: str) -> None:
    assert () == loaded(**{name: "1"}).warnings


@pytest.mark.parametrize("name", ["SIDECAR_ADMIN_USERNAME", "SIDECAR_ADMIN_PASSWORD"])
def test_the_admins_user_has_a_name_and_a_password(name: str) -> None:
    (problem,) = problems({"SERVER_API_KEY": KEY, name: "long enough to be one"})

    assert problem.startswith("SIDECAR_ADMIN_USERNAME and SIDECAR_ADMIN_PASSWORD_FILE belong together")


def test_the_admins_password_is_no_short_one() -> None:
    """Twelve characters are taken, eleven are not, and neither is shown."""
    environ = {"SERVER_API_KEY": KEY, "SIDECAR_ADMIN_USERNAME": "somebody"}

    load(environ | {"SIDECAR_ADMIN_PASSWORD": "a" * 12})
    assert (f"SIDECAR_ADMIN_PASSWORD is {MASK}; it must have 12 characters or more",) == problems(
        environ | {"SIDECAR_ADMIN_PASSWORD": "a" * 11}
    )


def test_origins_are_a_list() -> None:
    environ = {"SERVER_API_KEY": KEY}
    config = load(environ | {"SIDECAR_ADMIN_ORIGINS": "https://a.example/, http://b.example:8080"}).config

    assert ("https://a.example", "http://b.example:8080") == config.sidecar_admin_origins
    for wrong in ("a.example", "ftp://a.example", "https://a.example/path", "https://"):
        (problem,) = problems(environ | {"SIDECAR_ADMIN_ORIGINS": wrong})
        assert problem.startswith(f"SIDECAR_ADMIN_ORIGINS is '{wrong}'; it must be a list of origins")


@pytest.mark.parametrize(
    ("name", "value", "port"),
    [
        ("REDIS_PORT", "tcp://10.96.0.11:6380", 6379),
        ("METRICS_PORT", "tcp://[fd00::1]:9090", 8080),
        ("GRPC_PORT", "udp://10.96.0.11:53", 80),
    ],
)
def test_a_service_of_kubernetes_does_not_stop_a_start_that_can_do_without(
    name: str, value: str, port: int
) -> None:
    """It sets NAME_PORT in every pod for a service called NAME."""
    found = loaded(**{name: value})

    assert port == getattr(found.config, name.lower())
    assert Origin.DEFAULT == found.origins[name]
    (warning,) = found.warnings
    assert warning.startswith(f"{name} is {value!r}, which Kubernetes makes for a service of that name")


def test_replicas_that_share_a_database_are_warned_to_share_the_key_of_logins(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("0123456789" * 5)
    url = {"DATABASE_URL": "postgres://db/sidecar"}

    (warning,) = loaded(**url).warnings
    with_key = loaded(**url, SIDECAR_SECRET_KEY_FILE=str(file))

    assert "SIDECAR_SECRET_KEY_FILE" in warning
    assert () == with_key.warnings
    assert () == loaded(**url, SIDECAR_ADMIN_ENABLED="0").warnings
    assert Origin.FILE is with_key.origins["SIDECAR_SECRET_KEY"]
