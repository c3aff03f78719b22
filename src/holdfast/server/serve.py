"""Running the server: one process or several, a lock on the state directory, a graceful end.

    serve(lambda: open_hold(config), host="127.0.0.1", port=8080, on_ready=print)

The address is told when connections are really accepted. Only one server works on a state directory, unless
its catalog is PostgreSQL. SIGTERM and SIGINT let requests end (for `GRACE_S`), then stop. Services (jobs,
operations) run in the first process alone; a process that dies is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from holdfast.errors import Conflict, Denied, HoldfastError
from holdfast.hold.hold import Hold
from holdfast.server.app import HoldfastApp, Service, create_app
from holdfast.server.housekeeping import Housekeeping
from holdfast.server.settings import ServerSettings

LOCK_NAME = "server.lock"
GRACE_S = 10
KEEP_ALIVE_S = 30
BACKLOG = 1024

OpenHold = Callable[[], Hold]
MakeServices = Callable[[Hold], Sequence[Service]]

log = logging.getLogger("holdfast.server")


def no_services(_: Hold) -> Sequence[Service]:
    """A server that only serves."""
    return ()


def serve(
    open_hold: OpenHold,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    workers: int = 1,
    settings: ServerSettings | None = None,
    services: MakeServices = no_services,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM (returns) or SIGINT (`KeyboardInterrupt`). `port` 0 takes a free one.

    `open_hold` is called once in each process. `Conflict` if another server works on the state directory, or
    the port is taken. Call it from the main thread, before any other thread was started.
    """
    hold = open_hold()
    with contextlib.ExitStack() as stack:
        if hold.catalog.db.is_sqlite:
            stack.enter_context(locked(hold.state_dir))
        listener = stack.enter_context(contextlib.closing(listen(host, port)))
        url = address_of(listener)
        told = on_ready or (lambda _: None)
        _note_address(hold.state_dir, url)
        if workers <= 1:
            stack.callback(hold.close)
            _run(hold, listener, settings, services(hold), lambda: told(url))
            return
        hold.close()
        from holdfast.server.workers import run_workers

        def work(number: int, on_started: Callable[[], None]) -> None:
            with open_hold() as own:
                _run(own, listener, settings, services(own) if number == 0 else (), on_started)

        run_workers(work, workers, on_ready=lambda: told(url))


@contextlib.contextmanager
def locked(state_dir: Path) -> Iterator[None]:
    """The right to be the server of this state directory; `Conflict` while another has it."""
    fd = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(fd, 300, 0).decode(errors="replace").strip() or "a process unknown"
            raise Conflict(
                f"another server works on {state_dir} already ({who}); stop it first, or give this one a state "
                "directory of its own: --state DIR"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(fd)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `Conflict` if the port is taken, `Denied` if it may not be had."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Conflict(f"there is no address {host!r} on this machine: {error.strerror}") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"port {port} of {host} is taken; choose another one: --port PORT") from error
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise Denied(f"port {port} of {host} may not be used by this account; take one above 1023") from error
        raise Conflict(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    listener.setblocking(False)  # noqa: FBT003 - the socket's own method
    return listener


def address_of(listener: socket.socket) -> str:
    """The address of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def uvicorn_config(app: HoldfastApp) -> uvicorn.Config:
    """How uvicorn is to run the application."""
    return uvicorn.Config(
        app,
        http="holdfast.server.protocol:Protocol",
        loop="uvloop",
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the guard reads them, and only from proxies that were named
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        backlog=BACKLOG,
    )


# -- inside -----------------------------------------------------------------------------------------------


def _note_address(state_dir: Path, url: str) -> None:
    """For whoever is refused."""
    with contextlib.suppress(OSError), open(state_dir / LOCK_NAME, "r+", encoding="utf-8") as stream:
        stream.truncate(0)
        stream.write(f"process {os.getpid()}, {url}")


def _run(
    hold: Hold,
    listener: socket.socket,
    settings: ServerSettings | None,
    services: Sequence[Service],
    on_started: Callable[[], None],
) -> None:
    settings = settings or ServerSettings.of(hold.config)
    app = create_app(hold, settings=settings, services=services)
    app.add_service(Housekeeping(app.house))
    server = _Server(uvicorn_config(app), app, on_started)
    server.run([listener])
    if server.failed:
        raise HoldfastError("the server could not start; its log says why")
    if server.interrupted:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """Tells when it has started, and ends endless answers before it waits for the others."""

    def __init__(self, config: uvicorn.Config, app: HoldfastApp, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._on_started = on_started
        self._loop: asyncio.AbstractEventLoop | None = None
        self.interrupted = False

    @property
    def failed(self) -> bool:
        """Whether it never came to listen."""
        return not self.started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._on_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._app.stop_soon)
        self.interrupted = self.interrupted or sig == signal.SIGINT
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
