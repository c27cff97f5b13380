"""The variables themselves: contract/operations.md, Environment variables; and our own (prefix SIDECAR_)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from entitlements.config.fallback_rules import FallbackRulesText
from entitlements.config.value_types import (
    Addresses,
    Boolean,
    GraceSeconds,
    HttpUrl,
    Port,
    Positive,
    Seconds,
    UrlPath,
    WebSocketUrl,
    checked_address,
    checked_database_url,
    checked_header_value,
    checked_origins,
    checked_password,
    checked_secret_key,
    checked_token,
    lower_case,
)
from entitlements.domain.fallback import FallbackValue

SECRETS = frozenset(
    {
        "DATABASE_URL",
        "REDIS_PASSWORD",
        "REDIS_USERNAME",
        "SERVER_API_KEY",
        "SIDECAR_ADMIN_PASSWORD",
        "SIDECAR_HTTP_TOKEN",
        "SIDECAR_REDIS_SENTINEL_PASSWORD",
        "SIDECAR_REDIS_SENTINEL_USERNAME",
        "SIDECAR_SECRET_KEY",
    }
)
"""Never shown; each may be read from a file named by `NAME_FILE`."""


class SidecarConfig(BaseModel):
    """What is in force; one field for each variable, of the same name in lower case."""

    model_config = ConfigDict(frozen=True)

    # The cloud.
    server_api_key: Annotated[SecretStr, BeforeValidator(checked_header_value)] = Field(
        SecretStr(""), description="full access key; required unless OFFLINE"
    )
    api_url: HttpUrl = Field("https://api.stigg.io", description="the Stigg API")
    edge_api_url: HttpUrl = Field("https://edge.api.stigg.io", description="the Stigg Edge; follows API_URL")
    ws_url: WebSocketUrl = Field("wss://api.stigg.io", description="the live feed; follows API_URL")
    edge_enabled: Boolean = Field(True, description="false: entitlements come from the API alone")
    ws_enabled: Boolean = Field(True, description="false: no live feed")
    offline: Boolean = Field(
        False, description="no network at all: SIDECAR_OFFLINE_FILE and fallbacks answer"
    )
    entitlements_fallback: FallbackRulesText = Field(
        default_factory=dict[str, FallbackValue],
        description="JSON: what to answer when nothing is known, by feature id",
    )

    # Redis.
    redis_environment_prefix: str | None = Field(None, description="set: Redis is the shared tier")
    redis_host: str = Field("localhost", description="where Redis listens")
    redis_port: Port = Field(6379, description="where Redis listens")
    redis_db: int = Field(0, ge=0, description="number of the Redis database")
    redis_username: SecretStr | None = Field(None, description="for Redis")
    redis_password: SecretStr | None = Field(None, description="for Redis")
    redis_tls: Boolean = Field(False, description="speak TLS to Redis")
    redis_keys_ttl_in_secs: int = Field(604_800, description="how long Redis keeps a key; negative: for ever")

    # What listens where.
    grpc_port: Port = Field(80, description="gRPC, h2c")
    port: Port = Field(
        8443, description="gRPC over TLS (deprecated); only with TLS_CERT_FILE and TLS_KEY_FILE"
    )
    tls_cert_file: Path | None = Field(None, description="certificate chain of PORT, PEM")
    tls_key_file: Path | None = Field(None, description="private key of PORT, PEM")
    tls_client_ca_file: Path | None = Field(
        None, description="set: clients of PORT must show a certificate of this CA"
    )
    metrics_port: Port = Field(8080, description="HTTP: health, metrics, admin")
    health_endpoint_url: UrlPath = Field("livez", description="path of the liveness probe")
    ready_endpoint_url: UrlPath = Field("readyz", description="path of the readiness probe")
    sidecar_listen_host: str = Field(
        "0.0.0.0",  # noqa: S104 - a service of a pod
        description="address of all listeners; `0.0.0.0`, `::`: all there are; `localhost`: 127.0.0.1, ::1",
    )

    # Memory and logs.
    cache_max_size_bytes: int = Field(
        0, ge=1, description="bound of the memory tier; default: half of what there is"
    )
    log_level: Annotated[Literal["error", "warn", "info", "debug"], BeforeValidator(lower_case)] = Field(
        "warn", description="error, warn, info or debug"
    )
    log_message_key: str = Field("msg", min_length=1, description="key of the message in a JSON line")
    log_error_key: str = Field("err", min_length=1, description="key of the error in a JSON line")
    node_options: str | None = Field(None, description="of the vendor's image; ignored")

    # Our own.
    sidecar_log_format: Annotated[Literal["json", "console"], BeforeValidator(lower_case)] = Field(
        "json", description="json, or console for people"
    )
    sidecar_data_dir: Path = Field(Path("data"), description="folder of what outlives the process")
    database_url: Annotated[SecretStr, BeforeValidator(checked_database_url)] | None = Field(
        None, description="database of what people set; unset: SQLite in SIDECAR_DATA_DIR"
    )
    sidecar_offline_file: Path | None = Field(
        None, description="with OFFLINE: JSON or YAML of customers and their entitlements"
    )
    sidecar_redis_mode: Annotated[Literal["plain", "cluster"], BeforeValidator(lower_case)] = Field(
        "plain", description="cluster: a Redis Cluster; plain: REDIS_HOST, or what the Sentinels name"
    )
    sidecar_redis_nodes: Addresses = Field(
        (),
        description="some nodes of the Cluster, host:port with commas between; they name the others; "
        "unset: REDIS_HOST and REDIS_PORT",
    )
    sidecar_redis_sentinels: Addresses = Field(
        (), description="set: these Sentinels are asked for the primary, host:port with commas between"
    )
    sidecar_redis_sentinel_master: str | None = Field(
        None, min_length=1, description="what the Sentinels call the primary"
    )
    sidecar_redis_sentinel_username: SecretStr | None = Field(None, description="for the Sentinels")
    sidecar_redis_sentinel_password: SecretStr | None = Field(None, description="for the Sentinels")
    sidecar_redis_ca_file: Path | None = Field(
        None, description="authority that Redis' certificate may come from, besides the machine's own"
    )
    sidecar_redis_tls_verify: Boolean = Field(
        True, description="off: Redis' certificate is not looked at; whoever answers is taken for Redis"
    )
    sidecar_redis_cert_file: Path | None = Field(
        None, description="certificate that is shown to Redis, with SIDECAR_REDIS_KEY_FILE"
    )
    sidecar_redis_key_file: Path | None = Field(None, description="private key of that certificate")
    sidecar_snapshot_file: Path | None = Field(
        None, description="what memory holds is written here, for an outage after a restart"
    )
    sidecar_snapshot_interval_seconds: Seconds = Field(300, description="between two snapshots")
    sidecar_admin_enabled: Boolean = Field(True, description="false: no admin pages")
    sidecar_admin_username: str | None = Field(
        None,
        min_length=1,
        max_length=150,
        description="with SIDECAR_ADMIN_PASSWORD_FILE: a user who may do everything in the admin",
    )
    sidecar_admin_password: Annotated[SecretStr, BeforeValidator(checked_password)] | None = Field(
        None, description="that user's password; give it by SIDECAR_ADMIN_PASSWORD_FILE"
    )
    sidecar_admin_origins: Annotated[tuple[str, ...], BeforeValidator(checked_origins)] = Field(
        (),
        description="what browsers see before the admin behind a TLS proxy, such as https://sidecar.example.com",
    )
    sidecar_http_port: Port | None = Field(
        None, description="set: HTTP for applications: the Connect protocol and OFREP; docs/http.md"
    )
    sidecar_http_token: Annotated[SecretStr, BeforeValidator(checked_token)] | None = Field(
        None,
        description="what callers of SIDECAR_HTTP_PORT show as `Authorization: Bearer …`; "
        "give it by SIDECAR_HTTP_TOKEN_FILE; unset: none is asked for",
    )
    sidecar_http_origins: Annotated[tuple[str, ...], BeforeValidator(checked_origins)] = Field(
        (),
        description="pages of these may ask SIDECAR_HTTP_PORT from a browser, such as https://app.example.com",
    )
    sidecar_secret_key: Annotated[SecretStr, BeforeValidator(checked_secret_key)] | None = Field(
        None,
        description="what logins are signed with, the same in all replicas of one DATABASE_URL; "
        "give it by SIDECAR_SECRET_KEY_FILE; unset: made and kept in SIDECAR_DATA_DIR",
    )
    sidecar_workers: int = Field(
        1, ge=1, le=64, description="number of processes on the same ports; more than one needs Redis"
    )
    sidecar_provenance: Boolean = Field(
        True, description="say in trailing metadata where an answer came from"
    )
    sidecar_fetch_budget_seconds: Seconds = Field(
        10, description="one fetch takes no longer, Edge and API together"
    )
    sidecar_fetch_concurrency: int = Field(256, ge=1, le=10_000, description="number of fetches at a time")
    sidecar_fetch_queue_size: int = Field(
        10_000, ge=0, le=1_000_000, description="number of fetches that may wait beside those"
    )
    sidecar_max_unverified_seconds: Seconds = Field(
        60, description="unfollowed, an older answer is checked again on use"
    )
    sidecar_max_stale_seconds: Positive | None = Field(
        None, description="set: a fallback answers for what the cloud confirmed longer ago and does not now"
    )
    sidecar_refreshes_per_second: float = Field(
        20, gt=0, le=1000, allow_inf_nan=False, description="number of background re-checks a second"
    )
    sidecar_edge_requests_per_minute: int = Field(
        5400, ge=60, le=1_000_000, description="requests of all sidecars of one key to the Edge in any minute"
    )
    sidecar_fleet_size: int = Field(1, ge=1, le=10_000, description="processes that share it without Redis")
    sidecar_audits_per_minute: int = Field(6, ge=0, le=600, description="held entities compared; 0: none")
    sidecar_feed_ping_seconds: Seconds = Field(10, description="between two pings on the feed")
    sidecar_feed_idle_timeout_seconds: Seconds = Field(30, description="a feed silent for longer is cut")
    sidecar_shutdown_grace_seconds: GraceSeconds = Field(
        10, description="calls under way may take so long to end"
    )
    sidecar_drain_seconds: GraceSeconds = Field(
        1, description="the part of the grace period in which new calls are still answered"
    )
    sidecar_max_connection_age_seconds: float = Field(
        0,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="an older connection is asked to come anew, so that balancers can rebalance; 0: never",
    )
    sidecar_max_message_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, le=1 << 30, description="bound of a message that is received"
    )
    sidecar_grpc_engine: Annotated[Literal["auto", "cq", "aio"], BeforeValidator(lower_case)] = Field(
        "auto", description="what carries gRPC: cq, quick for hits; aio; auto: cq where it works, else aio"
    )
    sidecar_max_concurrent_calls: int = Field(
        10_000, ge=1, le=1_000_000, description="number of reads that may wait for the cloud, and of writes"
    )

    sidecar_decision_log: Boolean = Field(
        False, description="a JSON line for each denial and fallback, and for a sample of what is granted"
    )
    sidecar_decision_log_sample_rate: float = Field(
        0.01, ge=0, le=1, allow_inf_nan=False, description="the share of granted decisions that is logged"
    )
    sidecar_decision_log_max_per_second: int = Field(
        100,
        ge=1,
        le=100_000,
        description="number of lines a second; half of them for denials and fallbacks alone",
    )
    sidecar_decision_log_ids: Boolean = Field(
        False, description="ids of customers and resources in clear; else they are hashed"
    )

    sidecar_shadow_address: Annotated[str, BeforeValidator(checked_address)] | None = Field(
        None, description="set: host:port of another sidecar, asked a sample of reads to compare its answers"
    )
    sidecar_shadow_sample: float = Field(
        0.1, ge=0, le=1, allow_inf_nan=False, description="the share of reads that is compared with it"
    )
    sidecar_shadow_ids: Boolean = Field(False, description="ids in clear among its differences; else hashed")

    sidecar_audit_days: int = Field(90, ge=1, le=3650, description="how long it is kept who changed what")
    sidecar_overrides: Boolean = Field(
        False, description="on: people may grant or deny a feature of a customer for a bounded time"
    )
    sidecar_outbox: Annotated[Literal["off", "events", "all"], BeforeValidator(lower_case)] = Field(
        "events", description="what is kept while the cloud is away: off, events, or all (usage reports too)"
    )
    sidecar_outbox_max_entries: int = Field(
        1_000_000, ge=1, le=1_000_000_000, description="number of writes kept, refused ones included"
    )
    sidecar_outbox_max_bytes: int = Field(
        96 * 1024 * 1024,
        ge=1024,
        description="bytes of writes kept; a file takes up to twice that, and 16 MiB",
    )

    @property
    def follows_feed(self) -> bool:
        """True when the live feed is to be followed."""
        return self.ws_enabled and not self.offline

    @property
    def cloud_urls(self) -> dict[str, str]:
        """What of the cloud is asked, by variable."""
        if self.offline:
            return {}
        urls = {"API_URL": self.api_url}
        if self.edge_enabled:
            urls["EDGE_API_URL"] = self.edge_api_url
        if self.follows_feed:
            urls["WS_URL"] = self.ws_url
        return urls

    def __repr__(self) -> str:
        return "SidecarConfig(…)"

    __str__ = __repr__


def variable_names() -> tuple[str, ...]:
    """Every variable, in the order of this file."""
    return tuple(name.upper() for name in SidecarConfig.model_fields)
