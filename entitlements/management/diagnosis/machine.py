"""What this machine has to offer: files with their permissions, and ports."""

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from entitlements.addresses import addresses_of, family_of, local_address_of
from entitlements.composition import OUTBOX_FILE
from entitlements.config import SidecarConfig
from entitlements.domain.ports import Clock
from entitlements.management.diagnosis.finding import Finding, fault, ok, skipped, warning
from entitlements.outbox.outbox_file import set_aside
from entitlements.upstream.offline_document import InvalidOfflineFile, read_offline_file

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWOTH
_PROBE_SECONDS = 2.0


def examine_files(config: SidecarConfig, data_dir: Path, *, clock: Clock) -> Iterator[Finding]:
    """The data folder, what is private in it, and the files that variables name."""
    yield _data_dir(data_dir)
    secret = data_dir / "secret-key"
    if secret.exists():
        yield _private(secret, fault)
    if config.tls_key_file is not None:
        yield _private(config.tls_key_file, warning)  # as orchestrators mount secrets
    yield from _outbox_file(config, data_dir)
    yield from _offline_file(config, clock)


def examine_ports(config: SidecarConfig) -> Iterator[Finding]:
    """Whether the listeners can be opened, or a sidecar has opened them already."""
    ports = {"GRPC_PORT": config.grpc_port, "METRICS_PORT": config.metrics_port}
    if config.tls_cert_file is not None:
        ports["PORT"] = config.port
    fixed = [port for port in ports.values() if port]
    if len(set(fixed)) != len(fixed):
        yield fault(
            "ports", f"{', '.join(ports)} are not all different", fix="give each listener a port of its own"
        )
        return
    is_running = _a_sidecar_answers(config)
    for name, port in ports.items():
        yield _port(name, config.sidecar_listen_host, port, is_running=is_running)


def _data_dir(folder: Path) -> Finding:
    part = "data folder"
    fix = f"give this user a folder of its own to write to, or set SIDECAR_DATA_DIR (now {folder})"
    probe = folder / f".doctor-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch(mode=0o600)
        probe.unlink()
        mode = folder.stat().st_mode
    except OSError as error:
        return fault(part, f"{folder} cannot be written to ({error.strerror})", fix=fix)
    if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
        return fault(part, f"everybody may write to {folder}", fix=f"chmod o-w {folder}")
    return ok(part, f"{folder} can be written to")


def _private(file: Path, otherwise: Callable[..., Finding]) -> Finding:
    part = "file permissions"
    if file.stat().st_mode & _OTHERS:
        return otherwise(part, f"{file} is open to others than its owner", fix=f"chmod 600 {file}")
    return ok(part, f"{file} is its owner's alone")


def _outbox_file(config: SidecarConfig, data_dir: Path) -> Iterator[Finding]:
    """Only looked at: opened, a damaged file would be set aside while a sidecar may use it."""
    part = "outbox"
    file = data_dir / OUTBOX_FILE
    if config.sidecar_outbox == "off" or config.redis_environment_prefix is not None or config.offline:
        return
    for damaged in set_aside(file):
        message = f"{damaged} was damaged and set aside; what could be read of it went over"
        yield warning(part, message, fix="examine it for writes that you miss, and remove it")
    if not file.exists():
        return
    try:
        file.open("r+b").close()
    except OSError as error:
        message = f"{file} cannot be opened ({error.strerror}): no write is kept"
        yield fault(part, message, fix=f"give {file}* to the user that the sidecar runs as")
        return
    yield ok(part, f"{file} can be opened")


def _offline_file(config: SidecarConfig, clock: Clock) -> Iterator[Finding]:
    part = "offline file"
    path = config.sidecar_offline_file
    if path is None:
        return
    try:
        states = read_offline_file(path, now_ms=clock.now_ms())
    except InvalidOfflineFile as error:
        fix = "fix the file; `docs/commands.md` shows its form"
        yield from (fault(part, problem, fix=fix) for problem in error.problems)
    else:
        yield ok(part, f"{path} holds {len(states)} customers and resources")


def _port(name: str, host: str, port: int, *, is_running: bool) -> Finding:
    part = f"port {name}"
    if port == 0:
        return skipped(part, "0 lets the machine choose a free one")
    try:
        for address in addresses_of(host):
            socket.create_server(
                (address, port), family=family_of(address), dualstack_ipv6=address == "::"
            ).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and is_running:
            return ok(part, f"a sidecar listens on {port} already")
        message = f"{host} port {port} cannot be opened ({error.strerror})"
        return fault(part, message, fix=_fix_of_port(name, error.errno))
    return ok(part, f"{port} is free")


def _fix_of_port(name: str, code: int | None) -> str:
    if code == errno.EACCES:
        return f"a port below 1024 needs the right to it (CAP_NET_BIND_SERVICE): grant it, or change {name}"
    if code == errno.EADDRINUSE:
        return f"end what listens there (`ss -ltnp` shows it), or change {name}"
    return "SIDECAR_LISTEN_HOST must be an address of this machine"


def _a_sidecar_answers(config: SidecarConfig) -> bool:
    host = local_address_of(config.sidecar_listen_host)
    address = f"[{host}]" if ":" in host else host
    url = f"http://{address}:{config.metrics_port}/{config.ready_endpoint_url}?verbose"
    try:
        answer = httpx.get(url, timeout=_PROBE_SECONDS, trust_env=False).json()
    except (httpx.HTTPError, ValueError, httpx.InvalidURL):
        return False
    return isinstance(answer, dict) and "upstream" in answer.get("parts", {})
