"""Why Redis cannot be used is reported as what it is, with what fixes it: never as a time-out."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from entitlements.redis.address import RedisAddress, cache_settings
from entitlements.redis.causes import TIMED_OUT, Trouble
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.credentials import Credentials
from tests.eventually import MOST_SECONDS
from tests.redis.parts import a_connection, connection_to, stopping
from tests.redis_server import RedisServer, free_port


@dataclass(frozen=True, kw_only=True)
class Files:
    """The certificate of a Redis, its key, and the authority."""

    certificate: Path
    key: Path
    ca: Path

    def options(self, *, asks_clients: bool = False) -> list[str]:
        return [
            *("--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key)),
            *("--tls-ca-cert-file", str(self.ca), "--tls-auth-clients", "yes" if asks_clients else "no"),
        ]


def lay(folder: Path, authority: trustme.CA, leaf: trustme.LeafCert) -> Files:
    files = Files(certificate=folder / "redis.crt", key=folder / "redis.key", ca=folder / "ca.pem")
    leaf.private_key_pem.write_to_path(str(files.key))
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    authority.cert_pem.write_to_path(str(files.ca))
    return files


def lay_common_name_only(folder: Path, name: str) -> Files:
    """As `openssl req -x509 -subj /CN=…` makes it, and many a Redis has it: signed by itself, no SAN."""
    files = Files(certificate=folder / "redis.crt", key=folder / "redis.key", ca=folder / "redis.crt")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files.key.write_bytes(key.private_bytes(*pem))
    return files


async def answered(address: RedisAddress) -> str | None:
    """None when that Redis answers, else why it does not."""
    with stopping(connection_to(address)) as connection:
        return await _reported(connection)


async def _reported(connection: RedisConnection) -> str | None:
    """On a busy machine a handshake takes longer than a call may; the next one may be in time."""
    async with asyncio.timeout(MOST_SECONDS):
        while await connection.run(lambda client: client.ping()) is UNAVAILABLE:
            await asyncio.sleep(0.01)
            if connection.cause not in {None, TIMED_OUT}:
                return connection.cause.text
    return None


def address_of(server: RedisServer, host: str = "127.0.0.1") -> RedisAddress:
    return RedisAddress(host=host, port=server.port, tls=True)


async def test_a_private_authority_is_trusted_once_it_is_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    files = lay(tmp_path, authority, authority.issue_cert("127.0.0.1"))
    with RedisServer(*files.options(), tls=True) as server:
        address = address_of(server)
        unnamed = await answered(address)
        named = await answered(replace(address, tls_ca_file=str(files.ca)))
        unverified = await answered(replace(address, tls_verify=False))

    assert unnamed is not None
    assert unnamed.startswith("Redis' certificate is not trusted: ")
    assert "SIDECAR_REDIS_CA_FILE" in unnamed
    assert named is None
    assert unverified is None


async def test_a_certificate_signed_by_itself_is_reported_as_such(tmp_path: Path) -> None:
    files = lay_common_name_only(tmp_path, "localhost")
    with RedisServer(*files.options(), tls=True) as server:
        reported = await answered(address_of(server, "localhost"))

    assert reported is not None
    assert "self-signed certificate" in reported


async def test_a_common_name_is_enough(tmp_path: Path) -> None:
    """As the vendor's own tests have it; but another name is another's."""
    files = lay_common_name_only(tmp_path, "localhost")
    with RedisServer(*files.options(), tls=True) as server:
        address = replace(address_of(server, "localhost"), tls_ca_file=str(files.ca))
        same = await answered(address)
        other = await answered(replace(address, host="127.0.0.1"))

    assert same is None
    assert other is not None
    assert "for another name than REDIS_HOST" in other


async def test_mutual_tls(tmp_path: Path) -> None:
    """Redis asks for a certificate of ours, and takes one of its authority."""
    authority, stranger = trustme.CA(), trustme.CA()
    files = lay(tmp_path, authority, authority.issue_cert("127.0.0.1"))
    (tmp_path / "ours").mkdir()
    (tmp_path / "strange").mkdir()
    ours = lay(tmp_path / "ours", authority, authority.issue_cert("sidecar"))
    strange = lay(tmp_path / "strange", stranger, stranger.issue_cert("sidecar"))
    with RedisServer(*files.options(asks_clients=True), tls=True) as server:
        address = replace(address_of(server), tls_ca_file=str(files.ca))
        without = await answered(address)
        good = await answered(
            replace(address, tls_cert_file=str(ours.certificate), tls_key_file=str(ours.key))
        )
        bad = await answered(
            replace(address, tls_cert_file=str(strange.certificate), tls_key_file=str(strange.key))
        )

    assert good is None
    assert without is not None
    assert "SIDECAR_REDIS_CERT_FILE" in without
    assert "SIDECAR_REDIS_CERT_FILE" in (bad or "")  # which alert comes in time is chance


async def test_files_are_read_again_for_new_connections(tmp_path: Path) -> None:
    """A new authority is laid in place of the old one: no restart."""
    authority = trustme.CA()
    files = lay(tmp_path, authority, authority.issue_cert("127.0.0.1"))
    named = tmp_path / "named.pem"
    trustme.CA().cert_pem.write_to_path(str(named))
    with RedisServer(*files.options(), tls=True) as server:
        address = replace(address_of(server), tls_ca_file=str(named))
        with stopping(connection_to(address)) as connection:
            before = await _reported(connection)
            named.write_bytes(files.ca.read_bytes())
            after = await _reported(connection)

    assert before is not None
    assert after is None


@dataclass(frozen=True, kw_only=True)
class Case:
    """How one goes wrong, and words of what is reported."""

    address: Callable[[RedisServer], RedisAddress]
    trouble: Trouble
    words: str


CASES = {
    "wrong password": Case(
        address=lambda server: RedisAddress(
            host="127.0.0.1", port=server.port, credentials=Credentials(password="wrong")
        ),
        trouble=Trouble.PASSWORD_REFUSED,
        words="REDIS_PASSWORD",
    ),
    "no password": Case(
        address=lambda server: RedisAddress(host="127.0.0.1", port=server.port),
        trouble=Trouble.PASSWORD_REFUSED,
        words="REDIS_PASSWORD",
    ),
    "unknown user": Case(
        address=lambda server: RedisAddress(
            host="127.0.0.1", port=server.port, credentials=Credentials("nobody", "right")
        ),
        trouble=Trouble.PASSWORD_REFUSED,
        words="REDIS_USERNAME",
    ),
    "nobody listens": Case(
        address=lambda _: RedisAddress(host="127.0.0.1", port=free_port()),
        trouble=Trouble.NOT_ANSWERING,
        words="nobody listens",
    ),
    "no such name": Case(
        address=lambda server: RedisAddress(host="redis.invalid", port=server.port),
        trouble=Trouble.NOT_ANSWERING,
        words="REDIS_HOST is not found",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
async def test_each_cause_is_reported(case: Case) -> None:
    with RedisServer(password="right") as server, stopping(connection_to(case.address(server))) as connection:
        reported = await _reported(connection)
        cause = connection.cause

    assert cause is not None
    assert case.trouble is cause.trouble
    assert case.words in (reported or "")


async def test_a_password_that_changes_is_reported_and_heals(caplog: pytest.LogCaptureFixture) -> None:
    """The log line holds the cause where the vendor's monitoring looks for it."""
    with (
        RedisServer(password="right") as server,
        stopping(a_connection(server.url, password="right")) as connection,
    ):
        assert await _reported(connection) is None
        server.command("CONFIG", "SET", "requirepass", "other")
        server.password = "other"
        server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        reported = [await _reported(connection) for _ in range(8)]
        server.command("CONFIG", "SET", "requirepass", "right")

    assert "Redis refuses the password" in (reported[-1] or "")
    assert reported[-1] in {record.__dict__.get("error") for record in caplog.records}


def test_verification_is_on_unless_it_is_switched_off() -> None:
    address = RedisAddress(host="h", tls=True)

    def options(address: RedisAddress) -> object:
        kwargs = cache_settings(address)["OPTIONS"]["CONNECTION_POOL_KWARGS"]
        return {name: value for name, value in kwargs.items() if name.startswith("ssl_")}

    assert {"ssl_cert_reqs": "required", "ssl_check_hostname": True} == options(address)
    off = replace(address, tls_verify=False)
    assert {"ssl_cert_reqs": "none", "ssl_check_hostname": False} == options(off)
