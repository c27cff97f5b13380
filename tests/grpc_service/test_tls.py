"""grpc_service/tls.py, on real handshakes."""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from emulator.server import Emulator
from entitlements.metrics import TLS_CERTIFICATE_EXPIRES, TLS_RELOADS
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.generated.sidecar_pb2_grpc import SidecarServiceStub
from grpc_service.tls import TlsFiles, UnusableTlsFiles, reloading_credentials
from tests.cloud_states import boolean_state
from tests.harness import CALL_SECONDS, environment_for, running_sidecar, spawned
from tests.tls_files import NAME, YESTERDAY, TlsFolder

_TLS_PORT = re.compile(r"gRPC over TLS on port (\d+)")


@asynccontextmanager
async def _server(files: TlsFiles) -> AsyncIterator[int]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health_aio.HealthServicer(), server)
    port = server.add_secure_port("127.0.0.1:0", reloading_credentials(files))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


def _channel(port: int, ca: trustme.CA, client: trustme.LeafCert | None = None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        ca.cert_pem.bytes(),
        None if client is None else client.private_key_pem.bytes(),
        None if client is None else client.cert_chain_pems[0].bytes(),
    )
    options = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


async def _is_served(port: int, ca: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    """One call over one new connection; False when the connection was refused."""
    async with _channel(port, ca, client) as channel:
        try:
            await _call(channel)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True


async def _call(channel: grpc.aio.Channel) -> None:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    await check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)


async def _shown(port: int, ca: trustme.CA, client: trustme.LeafCert | None = None) -> bytes:
    """The certificate that a new connection is shown, DER."""
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    if client is not None:
        client.configure_cert(context)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(shown, bytes)
    return shown


def _der(leaf: trustme.LeafCert) -> bytes:
    return load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)


def _reloads(outcome: str) -> float:
    return float(TLS_RELOADS.labels(outcome=outcome)._value.get())


@pytest.fixture
def folder(tmp_path: Path) -> TlsFolder:
    """Server certificate and key, no client CA."""
    return TlsFolder(tmp_path)


async def test_handshake(folder: TlsFolder) -> None:
    """A client that trusts the authority is served; one that trusts another is not."""
    async with _server(folder.files) as port:
        assert await _is_served(port, folder.authority)
        assert not await _is_served(port, trustme.CA())


async def test_client_certificates(tmp_path: Path) -> None:
    """With a client CA, only its clients are served: no stranger, none without, none expired."""
    clients = trustme.CA()
    folder = TlsFolder(tmp_path, client_ca=clients)

    async with _server(folder.files) as port:
        served = [
            await _is_served(port, folder.authority, client)
            for client in (
                clients.issue_cert("known.test"),
                trustme.CA().issue_cert("stranger.test"),
                None,
                clients.issue_cert("late.test", not_after=YESTERDAY),
            )
        ]

    assert [True, False, False, False] == served


async def test_renewed_certificate_is_shown_without_a_restart(folder: TlsFolder) -> None:
    """New connections meet the certificate that is there by then; old ones live on."""
    taken = _reloads("taken")
    async with _server(folder.files) as port, _channel(port, folder.authority) as old:
        first = folder.certificate
        assert _der(first) == await _shown(port, folder.authority)
        await _call(old)

        second = folder.lay()

        assert _der(second) == await _shown(port, folder.authority)
        await _call(old)
        assert taken + 1 == _reloads("taken")
        expires = load_pem_x509_certificate(second.cert_chain_pems[0].bytes()).not_valid_after_utc
        assert expires.timestamp() == TLS_CERTIFICATE_EXPIRES._value.get()


async def test_client_ca_is_followed_too(tmp_path: Path) -> None:
    """Clients of the new authority are served, those of the old are not any more."""
    old, new = trustme.CA(), trustme.CA()
    folder = TlsFolder(tmp_path, client_ca=old)
    async with _server(folder.files) as port:
        assert await _is_served(port, folder.authority, old.issue_cert("client.test"))

        assert folder.files.client_ca is not None
        new.cert_pem.write_to_path(folder.files.client_ca)

        assert await _is_served(port, folder.authority, new.issue_cert("client.test"))
        assert not await _is_served(port, folder.authority, old.issue_cert("client.test"))


async def test_expired_certificate(folder: TlsFolder, caplog: pytest.LogCaptureFixture) -> None:
    """Clients refuse it, the log says so, and the renewed one fixes it without a restart."""
    folder.lay(not_after=YESTERDAY)
    async with _server(folder.files) as port:
        assert not await _is_served(port, folder.authority)
        assert ["the TLS certificate has expired; clients refuse it"] == caplog.messages

        folder.lay()

        assert await _is_served(port, folder.authority)


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "of another certificate"])
async def test_unusable_change_keeps_the_certificate_before(
    folder: TlsFolder, caplog: pytest.LogCaptureFixture, *, is_gone: bool
) -> None:
    """Half a renewal is said once, however many connect, and hurts nobody."""
    refused = _reloads("refused")
    async with _server(folder.files) as port:
        if is_gone:
            folder.files.key.unlink()
        else:
            folder.files.key.write_bytes(trustme.CA().issue_cert(NAME).private_key_pem.bytes())

        for _ in range(3):
            assert _der(folder.certificate) == await _shown(port, folder.authority)

        assert [logging.ERROR] == [record.levelno for record in caplog.records]
        assert refused + 1 == _reloads("refused")


def test_unusable_files_are_named(folder: TlsFolder, tmp_path: Path) -> None:
    """Each fault names its file and says what is wrong with it."""
    files = folder.files
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("no PEM")
    locked = tmp_path / "locked"
    key = load_pem_private_key(files.key.read_bytes(), password=None)
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"made up"))
    )
    other = tmp_path / "other"
    other.write_bytes(trustme.CA().issue_cert(NAME).private_key_pem.bytes())
    faults = {
        replace(files, certificate=nonsense): "it holds no certificate in PEM form",
        replace(files, certificate=tmp_path / "none"): "No such file or directory",
        replace(files, key=nonsense): "it holds no private key in PEM form",
        replace(files, key=locked): "it asks for a password; it must hold a key without one",
        replace(files, key=other): f"it is not the key of {str(files.certificate)!r}",
        replace(files, client_ca=nonsense): "it holds no certificate in PEM form",
    }

    said = {}
    for broken in faults:
        with pytest.raises(UnusableTlsFiles) as raised:
            reloading_credentials(broken)
        said[broken] = raised.value.reason

    assert faults == said


async def test_sidecar_serves_mutual_tls(emulator: Emulator, tmp_path: Path) -> None:
    """The running sidecar answers a known client on PORT, and takes a renewed certificate."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    clients = trustme.CA()
    client = clients.issue_cert("client.test")
    folder = TlsFolder(tmp_path, client_ca=clients)
    async with running_sidecar(emulator, tmp_path / "data", PORT="0", **folder.variables) as sidecar:
        found = _TLS_PORT.search(sidecar.output)
        assert found
        port = int(found[1])
        async with _channel(port, folder.authority, client) as channel:
            request = pb.GetBooleanEntitlementRequest(customer_id="customer-1", feature_id="f")
            stub = SidecarServiceStub(channel)
            answer = await stub.GetBooleanEntitlement(request, timeout=CALL_SECONDS)
        assert answer.has_access
        assert not answer.is_fallback
        assert not await _is_served(port, folder.authority, trustme.CA().issue_cert("stranger.test"))

        renewed = folder.lay()

        assert _der(renewed) == await _shown(port, folder.authority, client)


async def test_sidecar_refuses_to_start_with_unusable_files(tmp_path: Path) -> None:
    """It says which file and why, in one line, and exits with 1."""
    folder = TlsFolder(tmp_path)
    folder.files.key.write_text("no PEM")
    environment = environment_for(None, tmp_path, OFFLINE="1", PORT="0", **folder.variables)
    async with spawned(environment) as sidecar:
        await sidecar.process.wait()
        line = await sidecar.printed("cannot serve TLS")

    assert (
        f"cannot serve TLS with TLS_KEY_FILE '{folder.files.key}': it holds no private key in PEM form\n"
        == line
    )
    assert 1 == sidecar.process.returncode


@pytest.mark.parametrize("variable", ["TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"])
@pytest.mark.parametrize("content", [None, "no PEM"], ids=["missing", "no PEM"])
def test_a_file_that_cannot_be_used_is_reported_by_its_variable(
    tmp_path: Path, variable: str, content: str | None
) -> None:
    good = TlsFolder(tmp_path, client_ca=trustme.CA()).files
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    place = {"TLS_CERT_FILE": "certificate", "TLS_KEY_FILE": "key", "TLS_CLIENT_CA_FILE": "client_ca"}[
        variable
    ]

    with pytest.raises(UnusableTlsFiles, match=f"^cannot serve TLS with {variable} "):
        reloading_credentials(replace(good, **{place: bad}))
