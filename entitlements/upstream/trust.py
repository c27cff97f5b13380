"""Whose certificates are trusted: the system's store, for the Edge, the API and the live feed alike.

OpenSSL puts what SSL_CERT_FILE and SSL_CERT_DIR name in the place of the system's file and folder;
NODE_EXTRA_CA_CERTS, of the vendor's image, adds a file. No library's own list of authorities is asked, and
SSLKEYLOGFILE, with which Python would write down the keys of every connection, is not read.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

EXTRA_VARIABLE = "NODE_EXTRA_CA_CERTS"
FILE_VARIABLE = "SSL_CERT_FILE"
FOLDER_VARIABLE = "SSL_CERT_DIR"
KEY_LOG_VARIABLE = "SSLKEYLOGFILE"


class TrustStore:
    """Makes what verifies the cloud's certificates, once until `refresh`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._extra = environment.get(EXTRA_VARIABLE) or None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """The settings of TLS for a client; made on first use, since reading the store takes 30 ms."""
        if self._context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_default_certs()
            if self._extra is not None and _problem_of_file(self._extra) is None:
                context.load_verify_locations(self._extra)
            self._context = context
        return self._context

    def refresh(self) -> None:
        """Has the store read again, after a certificate was refused: an authority may have been added."""
        self._context = None


def problems(environment: Mapping[str, str]) -> Iterator[str]:
    """What keeps certificates from being verified as configured: one sentence for each variable."""
    file, folders = environment.get(FILE_VARIABLE), environment.get(FOLDER_VARIABLE)
    if file and (reason := _problem_of_file(file)):
        yield f"{FILE_VARIABLE} is {file!r}, {reason}; it must name a readable file of certificates, PEM"
    if folders and not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
        yield f"{FOLDER_VARIABLE} is {folders!r}, which is no folder; it must name a folder of certificates"


def oddities(environment: Mapping[str, str]) -> Iterator[str]:
    """What is ignored."""
    extra = environment.get(EXTRA_VARIABLE)
    if extra and (reason := _problem_of_file(extra)):
        yield f"{EXTRA_VARIABLE} is {extra!r}, {reason}; it is ignored"
    if environment.get(KEY_LOG_VARIABLE):
        yield f"{KEY_LOG_VARIABLE} is ignored: the keys of connections are not written down"


def _problem_of_file(file: str) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return "which holds no certificate in PEM form"
    except OSError as error:
        return f"which cannot be read ({error.strerror})"
    return None
