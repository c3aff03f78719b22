"""Who is at work: the processes that hold reservations, jobs and operations, and whether they still live.

A process on this machine is dead when its pid is gone or belongs to another process (its start time differs),
or when the machine has been started anew since (a power cut). A process elsewhere, or in another process-id
space, cannot be asked: it is taken for dead when it has shown no sign of life for `SILENT_S`.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from holdfast.catalog import schema
from holdfast.catalog.database import Cursor, Database
from holdfast.seams import Clock, Entropy

SILENT_S = 15 * 60
_HOLDER = schema.holder


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds something."""

    id: str
    machine: str
    pid: int
    born: str
    kind: str
    seen_us: int


class HolderLedger:
    """Rows of `holder`. This process's own row is made at its first write, once per process id."""

    def __init__(self, db: Database, clock: Clock, entropy: Entropy) -> None:
        self._db = db
        self._clock = clock
        self._entropy = entropy
        self._own: dict[int, str] = {}  # by process id: a fork has one of its own
        self._written: set[int] = set()
        columns = (_HOLDER.c.id, _HOLDER.c.machine, _HOLDER.c.pid, _HOLDER.c.born, _HOLDER.c.kind, _HOLDER.c.seen_us)
        self._insert = db.statement(
            db.upsert(_HOLDER).on_conflict_do_nothing(),
            columns=["id", "machine", "pid", "born", "kind", "seen_us"],
        )
        self._all = db.statement(select(*columns))
        self._touch = db.statement(
            update(_HOLDER).where(_HOLDER.c.id == bindparam("which")).values(seen_us=bindparam("now"))
        )
        self._delete = db.statement(delete(_HOLDER).where(_HOLDER.c.id == bindparam("which")))

    def own(self, kind: str = "client") -> str:
        """This process's id. Its row is written, in a transaction of its own, when it is asked for first."""
        pid = os.getpid()
        known = self._own.get(pid) or self._own.setdefault(pid, self._entropy.token(12))
        if pid not in self._written:  # threads that meet here write the same row
            with self._db.write() as cursor:
                self._introduce(cursor, known, kind)
            self._written.add(pid)
        return known

    def touch(self) -> None:
        """Show a sign of life, also after having been taken for dead."""
        own = self.own()
        with self._db.write() as cursor:
            if self._touch.run(cursor, {"which": own, "now": self._clock.now_us()}) == 0:
                self._introduce(cursor, own, "client")

    def _introduce(self, cursor: Cursor, own: str, kind: str) -> None:
        pid = os.getpid()
        self._insert.run(
            cursor,
            {
                "id": own, "machine": this_machine(), "pid": pid, "born": born(pid) or "", "kind": kind,
                "seen_us": self._clock.now_us(),
            },
        )  # fmt: skip

    def living(self) -> list[Holder]:
        """The processes that live, as far as can be known from here."""
        with self._db.read() as cursor:
            known = [Holder(*row) for row in self._all.all(cursor, {})]
        return [holder for holder in known if self.alive(holder)]

    def dead(self) -> list[Holder]:
        """The processes that are known, or must be taken, to be gone."""
        with self._db.read() as cursor:
            known = [Holder(*row) for row in self._all.all(cursor, {})]
        return [holder for holder in known if not self.alive(holder)]

    def lives(self, holder_id: str) -> bool:
        """Whether a process of that id is known, and lives."""
        with self._db.read() as cursor:
            known = [Holder(*row) for row in self._all.all(cursor, {})]
        return any(holder.id == holder_id and self.alive(holder) for holder in known)

    def alive(self, holder: Holder) -> bool:
        """Whether that process still lives, as far as can be known from here."""
        here = this_machine()
        if holder.machine == here and not _is_hidden(holder.pid):
            return born(holder.pid) == holder.born
        host, boot, _ = here.split(" ", 2)
        its_host, its_boot, _ = holder.machine.split(" ", 2)
        if its_host == host and its_boot != boot:
            return False
        return self._clock.now_us() - holder.seen_us < SILENT_S * 1_000_000

    def forget(self, cursor: Cursor, holder_id: str) -> None:
        """A dead process holds nothing any more."""
        self._delete.run(cursor, {"which": holder_id})


def this_machine() -> str:
    """This host, since its last boot, in this process-id space: three words."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    # a name alone may be given twice, as `localhost` is
    host = f"{socket.gethostname()}/{_line_of('/etc/machine-id')}"
    return f"{host} {_line_of('/proc/sys/kernel/random/boot_id')} {space}"


def _is_hidden(pid: int) -> bool:
    """Whether that process exists, but is another user's and may not be looked at (/proc with `hidepid`)."""
    if os.path.exists(f"/proc/{pid}/stat"):
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _line_of(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.readline().strip()
    except OSError:
        return ""


def born(pid: int) -> str | None:
    """When the process started (the kernel's ticks since boot), or None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return fields[19].decode()
