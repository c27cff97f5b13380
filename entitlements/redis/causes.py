"""Why Redis could not be used, for people: what is wrong, and which variable fixes it.

Texts of others are left out: they may name keys, which are ids of customers.
"""

import enum
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MaxConnectionsError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
)
from redis.sentinel import MasterNotFoundError


class Trouble(enum.Enum):
    """A kind of trouble; the values are those of `/readyz?verbose`."""

    NOT_ANSWERING = "not_answering"
    PASSWORD_REFUSED = "password_refused"  # noqa: S105 - the name of a trouble
    CERTIFICATE_REFUSED = "certificate_refused"
    NO_CLUSTER = "no_cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why there was no answer."""

    trouble: Trouble
    text: str
    """One sentence, with what fixes it."""


TIMED_OUT = Cause(trouble=Trouble.NOT_ANSWERING, text="Redis does not answer in time")
UNTRUSTED = "set SIDECAR_REDIS_CA_FILE to the certificate of its authority, or SIDECAR_REDIS_TLS_VERIFY=off"
NO_CLUSTER = "it is no Redis Cluster: set SIDECAR_REDIS_MODE=plain"
NO_CLUSTER_TEXT = "Cluster mode is not enabled"
"""What redis-py says of that, and of nothing else that has no error of its own."""

_REFUSALS = (
    "READONLY",
    "OOM",
    "NOPERM",
    "MISCONF",
    "WRONGTYPE",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOREPLICAS",
    "MOVED",
    "CROSSSLOT",
    "DENIED",
)
_REFUSAL_CLASSES: Mapping[type[Exception], str] = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    NoPermissionError: "NOPERM",
    MovedError: "MOVED",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    ClusterCrossSlotError: "CROSSSLOT",
}
"""redis-py cuts the code off the texts of these."""
_NAME_MISMATCH = frozenset({62, 64})
"""OpenSSL's codes for a certificate that names another host or another address."""
_ALERTS = {
    "CERTIFICATE_REQUIRED": (
        "Redis asks for a certificate of ours: set SIDECAR_REDIS_CERT_FILE and SIDECAR_REDIS_KEY_FILE"
    ),
    "HANDSHAKE_FAILURE": (
        "Redis refuses the handshake, as it does where it asks for a certificate of ours: see "
        "SIDECAR_REDIS_CERT_FILE and SIDECAR_REDIS_KEY_FILE"
    ),
    "UNKNOWN_CA": "Redis does not trust the authority of SIDECAR_REDIS_CERT_FILE",
    "BAD_CERTIFICATE": "Redis refuses the certificate of SIDECAR_REDIS_CERT_FILE",
    "CERTIFICATE_EXPIRED": "Redis refuses the certificate of SIDECAR_REDIS_CERT_FILE: it has expired",
}

_CAUSES: Mapping[type[BaseException], Cause] = {
    class_: Cause(trouble=trouble, text=text)
    for class_, trouble, text in (
        (
            AuthenticationError,
            Trouble.PASSWORD_REFUSED,
            "Redis refuses the password: correct REDIS_USERNAME and REDIS_PASSWORD",
        ),
        (
            NoPermissionError,
            Trouble.NOT_ANSWERING,
            "Redis' user may not COMMAND or CLUSTER SLOTS, without which no Cluster can be used: give it the "
            "right to them",
        ),
        (BusyLoadingError, Trouble.NOT_ANSWERING, "Redis still loads its data: it answers once it has"),
        (
            socket.gaierror,
            Trouble.NOT_ANSWERING,
            "the name in REDIS_HOST is not found: correct it, or the name servers of this machine",
        ),
        (
            ConnectionRefusedError,
            Trouble.NOT_ANSWERING,
            "nobody listens where REDIS_HOST and REDIS_PORT, or SIDECAR_REDIS_NODES, point: start Redis, or "
            "correct them",
        ),
        (MaxConnectionsError, Trouble.NOT_ANSWERING, "Redis takes no more clients: raise its maxclients"),
        (
            ConnectionResetError,
            Trouble.NOT_ANSWERING,
            "Redis ends the connection: see its log, REDIS_TLS and SIDECAR_REDIS_CERT_FILE",
        ),
    )
}
"""What is known by its class; the more special one stands first."""


def cause_of(error: BaseException) -> Cause:
    """Why a call got no answer."""
    for each in _chain(error):
        cause = _cause_of(each)
        if cause is not None:
            return cause
    return TIMED_OUT


def refusal_of(error: ResponseError) -> str:
    """The code of an answer that is a refusal; its text may name keys."""
    for class_, code in _REFUSAL_CLASSES.items():
        if isinstance(error, class_):
            return code
    return next((code for code in _REFUSALS if code in f"{type(error).__name__} {error}"), "other")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those it was made of, the innermost first: redis-py wraps what the socket raised."""
    inner = error.__cause__ or error.__context__
    if inner is not None:
        yield from _chain(inner)
    yield error


def _cause_of(error: BaseException) -> Cause | None:
    if isinstance(error, MasterNotFoundError):
        return _no_primary(str(error))
    if isinstance(error, RedisClusterException) and NO_CLUSTER_TEXT in str(error):
        return Cause(trouble=Trouble.NO_CLUSTER, text=NO_CLUSTER)
    if isinstance(error, ssl.SSLCertVerificationError):
        return Cause(trouble=Trouble.CERTIFICATE_REFUSED, text=_refused_certificate(error))
    if isinstance(error, ssl.SSLError):
        return _handshake(error)
    return next((cause for class_, cause in _CAUSES.items() if isinstance(error, class_)), None)


def _no_primary(message: str) -> Cause:
    """From what redis-py collected of all Sentinels: the text of an error of each."""
    if "AuthenticationError" in message:
        return Cause(
            trouble=Trouble.PASSWORD_REFUSED,
            text="the Sentinels refuse the password: correct SIDECAR_REDIS_SENTINEL_USERNAME and _PASSWORD",
        )
    if "CERTIFICATE_VERIFY_FAILED" in message:
        text = f"the Sentinels' certificate is not trusted: {UNTRUSTED}"
        return Cause(trouble=Trouble.CERTIFICATE_REFUSED, text=text)
    if "Error" in message:
        text = "no Sentinel answers: start them, or correct SIDECAR_REDIS_SENTINELS"
    else:
        text = (
            "the Sentinels know no primary of the name in SIDECAR_REDIS_SENTINEL_MASTER, or none that lives: "
            "correct it, or wait for their choice"
        )
    return Cause(trouble=Trouble.NOT_ANSWERING, text=text)


def _refused_certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NAME_MISMATCH:
        return (
            "Redis' certificate is for another name than REDIS_HOST: give it that name, "
            "or set SIDECAR_REDIS_TLS_VERIFY=off"
        )
    return f"Redis' certificate is not trusted: {error.verify_message}; {UNTRUSTED}"


def _handshake(error: ssl.SSLError) -> Cause:
    reason = error.reason or ""
    for alert, text in _ALERTS.items():
        if alert in reason:
            return Cause(trouble=Trouble.CERTIFICATE_REFUSED, text=text)
    text = (
        "no TLS connection comes about: Redis speaks none there (correct REDIS_TLS or REDIS_PORT), or "
        "refuses what SIDECAR_REDIS_CERT_FILE says of us"
    )
    return Cause(trouble=Trouble.NOT_ANSWERING, text=text)
