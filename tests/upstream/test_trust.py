"""Whose certificates are trusted."""

from pathlib import Path

import pytest
import trustme

from entitlements.upstream.trust import TrustStore, oddities, problems


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


def test_the_store_of_the_system_is_asked_and_the_variables_go_over_it(
    ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a library's own list of authorities, which knows none that was added here."""
    systems = TrustStore({}).context().cert_store_stats()["x509_ca"]
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)

    assert systems > 1
    assert 1 == TrustStore({}).context().cert_store_stats()["x509_ca"]


def test_the_vendors_variable_adds_an_authority(ca_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    systems = TrustStore({}).context().cert_store_stats()["x509_ca"]

    context = TrustStore({"NODE_EXTRA_CA_CERTS": ca_file}).context()

    assert systems + 1 == context.cert_store_stats()["x509_ca"]


def test_the_store_is_read_once_until_it_is_to_be_read_again(
    ca_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    store = TrustStore({})
    first = store.context()

    assert first is store.context()
    store.refresh()
    assert first is not store.context()


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "SSLKEYLOGFILE"]
)
def test_no_variable_keeps_a_client_from_being_made(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them ended the process, of one library or another."""
    monkeypatch.setenv(variable, "/missing/file")

    assert TrustStore({variable: "/missing/file"}).context() is not None
    assert not Path("/missing").exists()


def test_a_file_that_cannot_be_used_is_reported(ca_file: str, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_text("no certificate")

    assert [] == list(problems({"SSL_CERT_FILE": ca_file, "SSL_CERT_DIR": f"/missing:{tmp_path}"}))
    assert [
        "SSL_CERT_FILE is '/missing', which cannot be read (No such file or directory); "
        "it must name a readable file of certificates, PEM",
        "SSL_CERT_DIR is '/missing', which is no folder; it must name a folder of certificates",
    ] == list(problems({"SSL_CERT_FILE": "/missing", "SSL_CERT_DIR": "/missing"}))
    assert [
        f"SSL_CERT_FILE is '{junk}', which holds no certificate in PEM form; "
        "it must name a readable file of certificates, PEM"
    ] == list(problems({"SSL_CERT_FILE": str(junk)}))
    assert [
        f"NODE_EXTRA_CA_CERTS is '{junk}', which holds no certificate in PEM form; it is ignored",
        "SSLKEYLOGFILE is ignored: the keys of connections are not written down",
    ] == list(oddities({"NODE_EXTRA_CA_CERTS": str(junk), "SSLKEYLOGFILE": "/tmp/keys"}))  # noqa: S108 - a name
