"""One cache folder as one process sees it: its files, its index, whether it can be used now.

    <cache folder>/
      holdfast-cache            the format's version
      sessions                  a byte per process that uses the folder, locked while it lives
      index.sqlite              what is known (`index`)
      blobs/<2 hex>/<32 hex>    one sparse file per entry

Nothing is touched before `ready`. A folder that cannot be used (no such place, read-only, a full disk, an index that
does not answer) rests for ten seconds and is then tried again; meanwhile reads go past it. A folder that was deleted is
made anew, an index that cannot be read is set aside and begun anew. A folder on a network file system is refused: locks
and shared memory would not hold there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.layers.cached.blob_files import BlobFiles
from holdfast.layers.cached.entries import Entries, Entry
from holdfast.layers.cached.folder import CacheFolder, boot_id, refuse_network
from holdfast.layers.cached.index import Damaged, Index, inode_of, prepare
from holdfast.layers.cached.ledger import Ledger
from holdfast.layers.cached.locks import WHOLE, alone_in, is_held, try_alone
from holdfast.layers.cached.trouble import CacheTrouble, on_disk
from holdfast.seams import Clock, Entropy, Files

FORMAT = "1"
REST_S = 10.0
MIN_FREE_BYTES = 1024**3
MIN_FREE_PART = 0.05
_BLOCK_OF_STAT_BYTES = 512

_LOG = logging.getLogger(__name__)


class Taken(NamedTuple):
    """What was taken away, and which entries are left because somebody has them open."""

    freed_bytes: int
    entries: int
    left: list[Entry]


class Place:
    """A cache folder in one process. Safe from many threads."""

    def __init__(self, folder: CacheFolder, *, files: Files, clock: Clock, entropy: Entropy) -> None:
        self.folder = folder
        self.path = os.path.abspath(folder.path)
        self.files, self.clock = files, clock
        self.blobs = BlobFiles(self.path, files, entropy)
        self.boot = ""
        self.session = 0
        self.entries: Entries
        self.ledger: Ledger
        self.needs_sweep = False
        self._index_path = f"{self.path}/index.sqlite"
        self._index: Index | None = None
        self._inode: tuple[int, int] | None = None
        self._damaged: tuple[int, int] | None = None  # the index that was found to be damaged in use
        self._session_fd = -1
        self._opening = threading.Lock()
        self._resting_until_s: float | None = None
        self._reason = ""
        self._said: set[str] = set()

    # -- being used -------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        """Make and open what is not there yet; one system call when all is. `CacheTrouble` if it cannot be used now,
        `Unsupported` if it never can."""
        if self._resting_until_s is None and self._inode is not None and inode_of(self._index_path) == self._inode:
            return
        with self._opening:
            if self._resting_until_s is not None:
                if self.clock.monotonic_s() < self._resting_until_s:
                    raise CacheTrouble(self._reason)
                self._resting_until_s = None
            if self._inode is None or inode_of(self._index_path) != self._inode:
                try:
                    self._open()
                except CacheTrouble as trouble:
                    self._rest(trouble)
                    raise

    def is_away(self) -> bool:
        """Whether it could not be used lately, so that another folder is asked meanwhile."""
        until_s = self._resting_until_s
        return until_s is not None and self.clock.monotonic_s() < until_s

    def is_open(self) -> bool:
        """Whether it was used and not closed since."""
        return self._index is not None

    def rest(self, trouble: CacheTrouble) -> None:
        """It failed: leave it alone for a while; or open it anew, if its index is damaged or the folder was deleted."""
        with self._opening:
            if isinstance(trouble, Damaged) and self._inode is not None:
                self._damaged, self._inode = self._inode, None
                return
            if inode_of(self._index_path) != self._inode:
                self._inode = None
                return
            self._rest(trouble)

    def close(self) -> None:
        """Close the index and end the session; what is open stays open. May be used again."""
        with self._opening:
            index, self._index, self._inode = self._index, None, None
            if index is None:
                return
            if self._session_fd >= 0:
                os.close(self._session_fd)
                self._session_fd = -1
            index.close()

    def abandon(self) -> object:
        """In a forked child: forget the parent's connections and its session. What is returned must be kept alive."""
        if self._session_fd >= 0:
            os.close(self._session_fd)  # the parent's stays open, and with it its lock
        return self._index.abandon() if self._index is not None else None

    # -- files ------------------------------------------------------------------------------------------------------

    def bury(self, entries: Sequence[Entry]) -> int:
        """Forget these entries and remove their files; the bytes freed. What somebody has open is served to nobody
        else, and goes when its readers are done."""
        taken = self.take_away(entries)
        if taken.left:
            self.entries.disown(taken.left)
        return taken.freed_bytes

    def take_away(self, entries: Sequence[Entry], until_bytes: int | None = None) -> Taken:
        """Forget and remove those of these that nobody has open, until so many bytes are free."""
        locked: list[tuple[int, Entry]] = []
        left: list[Entry] = []
        sum_bytes = 0
        try:
            for entry in entries:
                if until_bytes is not None and sum_bytes >= until_bytes:
                    break
                fd = self.blobs.lock_alone(entry.file)
                if fd is None:
                    left.append(entry)
                else:
                    locked.append((fd, entry))
                    sum_bytes += entry.held_bytes
            gone = [file for file in self.entries.doom([entry for _, entry in locked]) if self.blobs.unlink(file)]
            return Taken(self.ledger.buried(gone) if gone else 0, len(gone), left)
        finally:
            for fd, _ in locked:
                if fd >= 0:
                    os.close(fd)

    def bury_doomed(self) -> int:
        """Remove the files of forgotten entries that a kill left behind; the bytes freed."""
        gone = [file for file in self.ledger.doomed() if self.blobs.unlink_unused(file)]
        return self.ledger.buried(gone) if gone else 0

    # -- room -------------------------------------------------------------------------------------------------------

    def free_bytes(self) -> int:
        """Free on the disk, for us."""
        with on_disk():
            found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def spare_bytes(self) -> int:
        """How much more the disk can take: what is free there, but for what is left free."""
        with on_disk():
            found = os.statvfs(self.path)
        least = self.folder.min_free_bytes
        if least is None:
            least = min(MIN_FREE_BYTES, int(found.f_blocks * found.f_frsize * MIN_FREE_PART))
        return found.f_bavail * found.f_frsize - least

    def alone_to_evict(self) -> int:
        """An open file on whose byte `WHOLE` the one evictor of the machine has a lock; close it."""
        return os.open(f"{self.path}/sessions", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def end_dead_sessions(self) -> None:
        """Give back what processes had reserved that are dead."""
        for session in self.ledger.sessions():
            if session == self.session or is_held(self._session_fd, session):
                continue
            self.needs_sweep = True  # it may have made a file that it did not come to record
            on_disk_bytes: dict[str, int] = {}
            for ticket in self.ledger.tickets_of(session):
                try:
                    found = os.stat(self.blobs.path_of(ticket.file))
                except OSError:
                    continue
                on_disk_bytes[ticket.file] = found.st_blocks * _BLOCK_OF_STAT_BYTES
            self.ledger.end_session(session, on_disk_bytes)
            for file in on_disk_bytes:
                if not self.ledger.is_known(file):
                    self.blobs.unlink_unused(file)

    def sweep(self) -> int:
        """Remove files that nobody knows: after a kill or a power cut, or from before an index that was set aside. How
        many."""
        self.needs_sweep = False
        removed = 0
        with on_disk():
            for file in self.blobs.names():
                if not self.ledger.is_known(file) and self.blobs.unlink_unused(file):
                    removed += 1
        return removed

    # -- inside -----------------------------------------------------------------------------------------------------

    def _make_folders(self, path: str) -> None:
        """The cache's folder, and those above it that are missing."""
        if os.path.isdir(path):
            return
        self._make_folders(os.path.dirname(path))
        with on_disk(), contextlib.suppress(FileExistsError):
            self.files.make_folder(path, 0o777)

    def _open(self) -> None:
        """Make what is missing, open the index, begin a session."""
        self._make_folders(self.path)
        refuse_network(self.path)
        with on_disk():
            if not os.path.isdir(f"{self.path}/blobs"):
                with contextlib.suppress(FileExistsError):
                    self.files.make_folder(f"{self.path}/blobs", 0o777)
            if self._session_fd >= 0:
                os.close(self._session_fd)
                self._session_fd = -1
            fd = self.alone_to_evict()
        try:
            with on_disk(), alone_in(fd, WHOLE, 1, self.clock):
                self._check_format()
                self._open_index()
                if self.ledger.begin_boot(self.boot):
                    self.needs_sweep = True
                self.session = self.ledger.begin_session()
                try_alone(fd, self.session, 1)
        except BaseException:
            os.close(fd)
            raise
        self._session_fd = fd
        self._inode = inode_of(self._index_path)
        self.end_dead_sessions()

    def _check_format(self) -> None:
        path = f"{self.path}/holdfast-cache"
        try:
            with open(path, encoding="ascii", errors="replace") as stream:
                found = stream.read(100).strip()
        except FileNotFoundError:
            fd = self.files.create(path, 0o666)
            try:
                self.files.write(fd, FORMAT.encode() + b"\n")
            finally:
                self.files.close(fd)
            return
        if found not in ("", FORMAT):
            raise CacheTrouble(f"{self.path} has the format {found} of another Holdfast; give this one a new folder")

    def _open_index(self) -> None:
        self.boot = boot_id()
        try:
            if self._damaged is not None and inode_of(self._index_path) == self._damaged:
                raise Damaged("the index is damaged")
            prepare(self._index_path)
            self._use(Index(self._index_path))
            self.ledger.totals()
        except Damaged as damage:
            aside = f"{self._index_path}.damaged"
            _LOG.warning("cache folder %s: %s; it is set aside as %s and begun anew", self.path, damage, aside)
            for suffix in ("-wal", "-shm"):
                if os.path.lexists(self._index_path + suffix):
                    self.files.unlink(self._index_path + suffix)
            self.files.replace(self._index_path, aside)
            self.needs_sweep = True
            prepare(self._index_path)
            self._use(Index(self._index_path))

    def _use(self, index: Index) -> None:
        self._index = index  # the one before it is closed when nobody uses it any more
        self.entries, self.ledger = Entries(index), Ledger(index)

    def _rest(self, trouble: CacheTrouble) -> None:
        self._resting_until_s = self.clock.monotonic_s() + REST_S
        self._reason = reason = str(trouble)
        if reason not in self._said and len(self._said) < 100:
            self._said.add(reason)
            _LOG.warning("cache folder %s cannot be used, reads go past it: %s", self.path, reason)
