"""The certificate of the TLS listener: read, judged, and taken anew when its files change.

A renewed certificate needs no restart. One that cannot be used is said once, and the one before it stays.
"""

import logging
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from entitlements import metrics
from entitlements.clock import SystemClock
from entitlements.domain.moments import moment_from_ms
from entitlements.domain.ports import Clock
from entitlements.file_version import FileVersion, file_version

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

logger = logging.getLogger(__name__)

_CLOCK = SystemClock()
_Mark = tuple[FileVersion, ...]
"""What shows that a file is another one; a Kubernetes secret is swapped by a link: its inode changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of the TLS listener."""

    certificate: Path
    """The server's certificate, and then those between it and its authority (TLS_CERT_FILE)."""
    key: Path
    """Its private key, without a password (TLS_KEY_FILE)."""
    client_ca: Path | None
    """Set: clients must show a certificate of this authority (TLS_CLIENT_CA_FILE)."""


class UnusableTlsFiles(Exception):
    """The files are there, but make no certificate to serve with."""

    def __init__(self, variable: str, file: Path, reason: str) -> None:
        super().__init__(variable, file, reason)
        self.variable = variable
        self.file = file
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot serve TLS with {self.variable} {str(self.file)!r}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """One reading of the files."""

    configuration: grpc.ServerCertificateConfiguration
    expires_at: datetime


def reloading_credentials(files: TlsFiles, *, clock: Clock = _CLOCK) -> grpc.ServerCredentials:
    """Credentials that follow their files: each new connection meets what is there by then.

    Raises:
        UnusableTlsFiles: they cannot be served with.
    """
    follower = _Follower(files, clock)
    return grpc.dynamic_ssl_server_credentials(
        follower.first,
        follower.changed,  # type: ignore[arg-type]  # the stubs know nothing of None, the documentation does
        require_client_authentication=files.client_ca is not None,
    )


class _Follower:
    """Looks at the files before each handshake; gRPC asks from its own threads."""

    def __init__(self, files: TlsFiles, clock: Clock) -> None:
        self._files = files
        self._clock = clock
        self._lock = threading.Lock()
        self._mark = _mark(files)
        material = _read(files)
        self._log(material)
        self.first = material.configuration

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """What to serve with from now on; None while nothing changed, or nothing that can be used."""
        with self._lock:
            mark = _mark(self._files)
            if mark == self._mark:
                return None
            self._mark = mark  # before reading: what changes meanwhile is seen at the next connection
            try:
                material = _read(self._files)
            except UnusableTlsFiles as error:
                self._refuse(error)
                return None
        metrics.TLS_RELOADS.labels(outcome="taken").inc()
        self._log(material)
        return material.configuration

    def _refuse(self, error: UnusableTlsFiles) -> None:
        metrics.TLS_RELOADS.labels(outcome="refused").inc()
        logger.error(
            "the changed TLS files cannot be used; the certificate before them stays",
            extra={"file": str(error.file), "reason": error.reason},
        )

    def _log(self, material: _Material) -> None:
        metrics.TLS_CERTIFICATE_EXPIRES.set(material.expires_at.timestamp())
        details = {"file": str(self._files.certificate), "expires_at": material.expires_at.isoformat()}
        if material.expires_at <= moment_from_ms(self._clock.now_ms()):
            logger.error("the TLS certificate has expired; clients refuse it", extra=details)
        else:
            logger.info("serving TLS with a certificate", extra=details)


def _mark(files: TlsFiles) -> _Mark:
    return tuple(file_version(file) for file in (files.certificate, files.key, files.client_ca) if file)


def _read(files: TlsFiles) -> _Material:
    """The files as they are now, if key and certificate belong together."""
    chain, key = _bytes("TLS_CERT_FILE", files.certificate), _bytes("TLS_KEY_FILE", files.key)
    certificate = _certificates("TLS_CERT_FILE", files.certificate, chain)[0]
    if not _belong_together(certificate, files.key, key):
        reason = f"it is not the key of {str(files.certificate)!r}"
        raise UnusableTlsFiles("TLS_KEY_FILE", files.key, reason)
    client_ca = None
    if files.client_ca is not None:
        client_ca = _bytes("TLS_CLIENT_CA_FILE", files.client_ca)
        _certificates("TLS_CLIENT_CA_FILE", files.client_ca, client_ca)
    return _Material(
        configuration=grpc.ssl_server_certificate_configuration([(key, chain)], client_ca),
        expires_at=certificate.not_valid_after_utc,
    )


def _bytes(variable: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UnusableTlsFiles(variable, file, error.strerror or "it cannot be read") from error


def _certificates(variable: str, file: Path, content: bytes) -> "list[Certificate]":
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415 - 8 MB that only TLS needs

    try:
        return load_pem_x509_certificates(content)
    except ValueError as error:
        raise UnusableTlsFiles(variable, file, "it holds no certificate in PEM form") from error


def _belong_together(certificate: "Certificate", key_file: Path, key: bytes) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        return load_pem_private_key(key, password=None).public_key() == certificate.public_key()
    except TypeError as error:
        reason = "it asks for a password; it must hold a key without one"
        raise UnusableTlsFiles("TLS_KEY_FILE", key_file, reason) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableTlsFiles("TLS_KEY_FILE", key_file, "it holds no private key in PEM form") from error
