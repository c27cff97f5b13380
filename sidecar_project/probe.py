"""Asks a sidecar on this machine for its health, for images without a shell.

Django's apps are not loaded for it: a probe runs every few seconds, beside the sidecar and on its processor.
"""

import http.client
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TextIO

from entitlements.addresses import local_address_of
from entitlements.config import InvalidConfig, SidecarConfig, load

UP = 0
NOT_UP = 1
NOT_ASKED = 2
"""The question itself was wrong: another argument, or an environment that cannot be used."""
TIMEOUT_SECONDS = 3.0
"""A sidecar that says nothing for longer is not up."""


def main(arguments: Sequence[str], environ: Mapping[str, str], *, out: TextIO) -> int:
    """Asks what `manage.py probe ARGUMENTS` asks; says one line, and returns the exit code."""
    try:
        config = load(environ).config
    except InvalidConfig as invalid:
        out.writelines(f"{problem}\n" for problem in invalid.problems)
        return NOT_ASKED
    paths = {"live": config.health_endpoint_url, "ready": config.ready_endpoint_url}
    if len(arguments) != 1 or arguments[0] not in paths:
        out.write("usage: manage.py probe live|ready\n")
        return NOT_ASKED
    return _ask(config, paths[arguments[0]], out=out)


def _ask(config: SidecarConfig, path: str, *, out: TextIO) -> int:
    host = local_address_of(config.sidecar_listen_host)
    connection = http.client.HTTPConnection(host, config.metrics_port, timeout=TIMEOUT_SECONDS)
    try:
        with closing(connection):
            connection.request("GET", f"/{path}")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        out.write(f"no sidecar answers at {host} port {config.metrics_port}\n")
        return NOT_UP
    is_up = status == http.HTTPStatus.OK
    out.write(f"{'up' if is_up else 'not up'}: /{path} answered {status}\n")
    return UP if is_up else NOT_UP
