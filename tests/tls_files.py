"""Authorities and certificates for tests, and the files that hold them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from grpc_service.tls import TlsFiles

NAME = "sidecar.test"
"""The name in every server certificate."""
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


class TlsFolder:
    """The three files, as an operator or Kubernetes lays them."""

    def __init__(self, folder: Path, *, client_ca: trustme.CA | None = None) -> None:
        self.authority = trustme.CA()
        ca_file = None if client_ca is None else folder / "client-ca.pem"
        self.files = TlsFiles(certificate=folder / "tls.crt", key=folder / "tls.key", client_ca=ca_file)
        if client_ca is not None and ca_file is not None:
            client_ca.cert_pem.write_to_path(ca_file)
        self.certificate = self.lay()

    @property
    def variables(self) -> dict[str, str]:
        """The environment that names them."""
        named = {"TLS_CERT_FILE": str(self.files.certificate), "TLS_KEY_FILE": str(self.files.key)}
        return named | ({"TLS_CLIENT_CA_FILE": str(self.files.client_ca)} if self.files.client_ca else {})

    def lay(self, *, not_after: datetime | None = None) -> trustme.LeafCert:
        """Writes a new certificate with its key."""
        leaf = self.authority.issue_cert(NAME, not_after=not_after)
        self.files.key.write_bytes(leaf.private_key_pem.bytes())
        self.files.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        self.certificate = leaf
        return leaf
