"""serve and worker: what runs until it is stopped."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import demo as demonstration
from holdfast.cli import render
from holdfast.cli.commands.accounts import accounts_of
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.cli.demo import Demo, Login
    from holdfast.hold.hold import Hold
    from holdfast.jobs.worker import Worker

WORKERS_MAX = 64
ANY_PORT = 0


@command(example="holdfast serve\nholdfast serve --demo\nholdfast serve --host 0.0.0.0 --port 80 --workers 4")
def serve(
    call: Invocation,
    *,
    host: Annotated[str | None, typer.Option("--host", metavar="H", help="The address it listens on.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="P", min=0, max=65_535, help="The port; 0 takes a free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, max=WORKERS_MAX, help="So many processes.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Two local pools and a few files in a folder of their own, to try it.")
    ] = False,
    demo_dir: Annotated[str, typer.Option("--demo-dir", metavar="DIR", help="That folder.")] = demonstration.FOLDER,
) -> None:
    """Run the server, its pages and a worker.

    Prints the address when it answers, and runs until Ctrl-C or SIGTERM. What is not given here stands in
    the document under server. With --demo everything lies in one folder; a second start goes on with it.
    """
    _log_to_stderr()
    if demo:
        _serve_demo(call, Path(demo_dir), host, port, workers)
        return
    server = call.read_config().server

    def ready(address: str) -> None:
        with call.hold_or_begin() as hold:
            has_accounts = accounts_of(hold).has_any()
            for warning in hold.warnings:
                logging.getLogger("holdfast.server").warning("%s: %s", warning.where, warning.message)
        hint = [] if has_accounts else ["Nobody can sign in yet. In another terminal: holdfast user add EMAIL --admin"]
        _tell(call, {"address": address, "pid": os.getpid()}, f"Holdfast serves at {address}", *hint)

    from holdfast.server.serve import serve as run_server

    run_server(
        _opener(call),
        host=host or server.host,
        port=server.port if port is None else port,
        workers=workers or server.workers,
        services=_services,
        on_ready=ready,
    )


def _serve_demo(call: Invocation, folder: Path, host: str | None, port: int | None, workers: int | None) -> None:
    for option, given in (("--config", call.config_given), ("--state", call.state_given)):
        if given:
            raise UsageError(f"{option} is for your own document; --demo has one of its own (--demo-dir moves it)")
    demo = demonstration.prepare(folder)
    call = call.at(str(demo.document), str(demo.state_dir))
    with call.hold_or_begin() as hold:
        login = demonstration.furnish(hold, demo)
        link = accounts_of(hold).new_link(login.email)
    host = host or "127.0.0.1"
    wanted = 8080 if port is None else port
    chosen = wanted if port is not None or _is_free(host, wanted) else ANY_PORT

    def ready(address: str) -> None:
        lines = _demo_lines(demo, login, address, f"{address}/sign-in/{link}")
        if chosen != wanted:
            lines.insert(0, f"Port {wanted} is taken; this is another one.")
        shape = {
            "address": address, "pid": os.getpid(), "email": login.email, "password": login.password,
            "link": f"{address}/sign-in/{link}", "folder": str(demo.folder),
        }  # fmt: skip
        _tell(call, shape, *lines)

    from holdfast.server.serve import serve as run_server

    run_server(_opener(call), host=host, port=chosen, workers=workers or 1, services=_services, on_ready=ready)


def _demo_lines(demo: Demo, login: Login, address: str, link: str) -> list[str]:
    password = "(changed since)" if login.password is None else login.password
    return [
        f"Holdfast serves at {address}",
        f"  e-mail    {login.email}",
        f"  password  {password}",
        f"  or, once  {link}",
        f"Everything lies in {render.clean(str(demo.folder))}. Ctrl-C stops it; the same command goes on with it.",
    ]


def _is_free(host: str, port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


@command(example="holdfast worker --config /etc/holdfast/holdfast.yml")
def worker(call: Invocation) -> None:
    """Run one more worker, on this machine or another.

    It runs jobs and operations of a catalog on PostgreSQL, beside the worker that `holdfast serve` brings
    along. Runs until Ctrl-C or SIGTERM; what it was at is taken up by the others.
    """
    if call.read_config().catalog_url is None:
        raise UsageError(
            "more workers need a catalog on PostgreSQL (catalog: postgresql://...); with SQLite the worker "
            "in `holdfast serve` is the only one"
        )
    _log_to_stderr()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with call.hold_or_begin() as hold:
        [service] = _services(hold)
        service.start()
        try:
            _tell(call, {"pid": os.getpid()}, f"A worker runs (process {os.getpid()}).")
            while not ended.wait(1.0):
                pass
        finally:
            service.stop()


def _services(hold: Hold) -> Sequence[Worker]:
    from holdfast.jobs.worker import Worker

    return [Worker.of(hold)]


def _opener(call: Invocation) -> Any:
    """Opens the hold in whichever process asks."""
    import holdfast

    return lambda: holdfast.open(call.config_path, state=call.state_dir)


def _tell(call: Invocation, value: dict[str, Any], *lines: str) -> None:
    call.answer(value, *lines)
    sys.stdout.flush()


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
