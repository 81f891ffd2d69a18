"""Opens the listener, and runs the application until a signal stops it."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import platform
import re
import secrets
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from medrega_edge.batch.process_pool import most_processes
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.images.medical_image import MAX_BYTES
from medrega_edge.inference.devices import available_threads
from medrega_edge.io.audit import AuditLog
from medrega_edge.package.registry import find_package
from medrega_edge.server.app import Opened, Server, ServerOptions
from medrega_edge.server.guard import GuardOptions
from medrega_edge.server.pool import Pool, PoolOptions
from medrega_edge.server.worker import WorkerOptions

TOKEN_VARIABLE = "MEDREGA_TOKEN"
LEAST_TOKEN = 16  # characters
MOST_CONNECTIONS = 512
HEADER_SECONDS = 10.0  # for the headers of the first request of a connection
IDLE_SECONDS = 30.0  # from an answer to the headers of the next request, whatever bytes come in between
TICK_SECONDS = 1.0
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on
_ORIGIN = re.compile(r"https?://[\w.\-\[\]:]+")
STOP_SECONDS = 20  # for the answers under way, after the signal to stop


@dataclass(frozen=True)
class ListenOptions:
    """Where to listen. Another address than this machine's own needs a token, a certificate and its key.

    `names` are further names by which clients call this server, with a port if it is not the listener's.
    """

    host: str = "127.0.0.1"
    port: int = 8484
    token: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    names: Sequence[str] = ()
    origins: Sequence[str] = ()


@dataclass(frozen=True)
class RunOptions:
    """Which package answers, and how much at a time. `deadline` is in seconds; `processes` None for what pays off."""

    model: str | None = None
    threads: int | None = None
    device: str = "cpu"
    cache: Path | None = None
    cache_bytes: int = 0
    processes: int | None = None
    queue: int = 64
    deadline: float = 120.0
    most_bytes: int = MAX_BYTES
    store_bytes: int = 1 << 30
    audit: Path | None = None
    logs: bool = True
    code: str | None = None
    files: Sequence[bytes] = ()
    opened: Opened = field(default_factory=Opened)


class _Protocol(H11Protocol):
    """Closes a connection whose request does not begin in time: else a few slow clients would take all of them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._quiet_since = self.loop.time()
        self._tick()

    def _tick(self) -> None:
        now = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            self._quiet_since = now
        elif now - self._quiet_since > (HEADER_SECONDS if self.cycle is None else IDLE_SECONDS):
            self.transport.abort()
        self._clock = self.loop.call_later(TICK_SECONDS, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._clock.cancel()
        super().connection_lost(exc)


def read_token(file: Path | None) -> str | None:
    """Return the token of a file, or of the environment; None without one. Raises UsageError for one that is too short."""
    if file is not None:
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UsageError("server.no_token_file") from None
    else:
        if TOKEN_VARIABLE not in os.environ:
            return None
        token = os.environ[TOKEN_VARIABLE].strip()  # an empty one is a mistake, and no wish to have none
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("server.weak_token", least=LEAST_TOKEN)
    return token


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listener(options: ListenOptions) -> socket.socket:
    """Open the socket; raises UsageError where guards are missing, ResourceError where the address cannot be used."""
    if not is_loopback(options.host) and not (options.token and options.tls_cert and options.tls_key):
        raise UsageError("server.needs_guards", host=options.host, variable=TOKEN_VARIABLE)
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("server.cert_and_key")
    if options.tls_cert is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls_cert, options.tls_key, _no_password)
        except (OSError, ValueError):  # SSLError is an OSError
            raise UsageError("server.bad_certificate") from None
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let a second server listen at the same time
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((options.host.strip("[]"), options.port))
        opened.listen(128)
    except OSError as error:
        opened.close()
        reason = error.strerror or "-"
        raise ResourceError("server.cannot_listen", host=options.host, port=options.port, reason=reason) from None
    return opened


def _no_password() -> str:
    """Refuse a key that has a password: nobody is there to type it."""
    raise ValueError


def address(options: ListenOptions, opened: socket.socket) -> str:
    """Return the URL of the server."""
    scheme = "https" if options.tls_cert else "http"
    host = platform.node() if options.host in _EVERYWHERE else options.host
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{opened.getsockname()[1]}"


def guard_of(options: ListenOptions, run: RunOptions, port: int) -> GuardOptions:
    """Return the guards: the names by which this server may be called, and the pages that may call it."""
    is_local = is_loopback(options.host)
    own = {options.host, "localhost", "127.0.0.1", "[::1]"} | (set() if is_local else {platform.node()})
    if wrong := [origin for origin in options.origins if not _ORIGIN.fullmatch(origin)]:
        raise UsageError("server.bad_origin", origin=wrong[0][:80])
    names = {f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name for name in {*own, *options.names}}
    scheme = "https" if options.tls_cert else "http"
    usual = {"http": 80, "https": 443}[scheme]
    hosts = {name.lower() if _has_port(name) else f"{name}:{port}".lower() for name in names}
    hosts |= {name.lower() for name in names if port == usual or _has_port(name)}
    foreign = {origin.lower() for origin in options.origins}
    origins = {f"{scheme}://{host}" for host in hosts} | foreign
    return GuardOptions(
        hosts=hosts,
        origins=origins,
        token=options.token,
        most_bytes=run.most_bytes,
        most_in_all=2 * run.store_bytes,
        any_address=None if is_local else port,
        foreign=foreign,
        logs=run.logs,
    )


def _has_port(name: str) -> bool:
    return name.rpartition(":")[2].isdigit() and not name.endswith("]")


async def serve(opened: socket.socket, listen: ListenOptions, run: RunOptions, on_ready: Callable[[str], None]) -> None:
    """Run the server until it gets SIGINT or SIGTERM: it takes no more requests, and ends when its answers are sent.

    `on_ready` is called with the URL when the first worker is there. Raises PackageError or ResourceError where the package
    cannot be used.
    """
    package = find_package(run.model)
    count = run.processes or most_processes(package, run.threads, run.device)
    threads = max(1, (run.threads or available_threads()) // count)
    salt = secrets.token_bytes(16)
    worker = WorkerOptions(run.model, threads, run.device, salt, run.cache, run.cache_bytes)
    audit = None if run.audit is None else AuditLog(run.audit)
    pool = Pool(PoolOptions(count, run.queue, run.deadline, worker))
    guard = guard_of(listen, run, opened.getsockname()[1])
    server = Server(pool, ServerOptions(guard, run.store_bytes, run.code, run.opened), audit)
    for data in run.files:
        server.store.put(data)
    try:
        await pool.start()
        config = uvicorn.Config(
            server.app,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=int(IDLE_SECONDS),
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=listen.tls_cert,
            ssl_keyfile=listen.tls_key,
        )
        on_ready(address(listen, opened))
        await uvicorn.Server(config).serve(sockets=[opened])
    finally:
        await pool.stop()
        if audit is not None:
            audit.close()
