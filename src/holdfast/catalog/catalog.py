"""`Catalog`: the ledgers over one database, opened and checked."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import bindparam, select

from holdfast.catalog import schema
from holdfast.catalog.adoptions import AdoptionLedger
from holdfast.catalog.counters import Counters
from holdfast.catalog.database import Database
from holdfast.catalog.datasets import DatasetLedger
from holdfast.catalog.events import EventLedger
from holdfast.catalog.fates import FateLedger
from holdfast.catalog.holders import HolderLedger
from holdfast.catalog.ids import IdLedger
from holdfast.catalog.leases import LeaseLedger
from holdfast.catalog.moves import MoveLedger
from holdfast.catalog.pools import PoolLedger
from holdfast.catalog.receipts import ReceiptLedger
from holdfast.catalog.repairs import RepairLedger
from holdfast.catalog.replaces import ReplaceLedger
from holdfast.catalog.reservations import ReservationLedger
from holdfast.catalog.transitions import Transitions
from holdfast.catalog.writes import WriteLedger
from holdfast.errors import CatalogError, Conflict, SchemaMismatch
from holdfast.seams import Clock, Entropy, SystemClock, SystemEntropy

SQLITE_FILE = "catalog.sqlite"


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is in all, from counters."""

    states: dict[str, int]

    @property
    def datasets(self) -> int:
        """Datasets that are neither deleted nor purged."""
        return sum(count for state, count in self.states.items() if state in ("new", "ok", "error"))


class Catalog:
    """What is where. Safe from many threads and processes; a fork is noticed."""

    def __init__(self, url: str, *, clock: Clock | None = None, entropy: Entropy | None = None) -> None:
        clock, entropy = clock or SystemClock(), entropy or SystemEntropy()
        self.db = Database(url)
        self.clock = clock
        self.counters = Counters(self.db)
        self.events = EventLedger(self.db)
        self.holders = HolderLedger(self.db, clock, entropy)
        self.leases = LeaseLedger(self.db)
        self.pools = PoolLedger(self.db)
        self.datasets = DatasetLedger(self.db)
        ids = IdLedger(self.db, datasets=self.datasets)
        self.writes = WriteLedger(
            self.db, clock, entropy, pools=self.pools, ids=ids, counters=self.counters,
            events=self.events, holders=self.holders,
        )  # fmt: skip
        transitions = Transitions(
            self.db, clock, datasets=self.datasets, counters=self.counters, events=self.events, leases=self.leases
        )
        self.fates = FateLedger(
            self.db, clock, transitions=transitions, counters=self.counters, events=self.events
        )
        self.replaces = ReplaceLedger(
            self.db, clock, entropy, transitions=transitions, counters=self.counters, events=self.events,
            holders=self.holders,
        )  # fmt: skip
        self.moves = MoveLedger(
            self.db, clock, entropy, pools=self.pools, datasets=self.datasets, writes=self.writes,
            transitions=transitions, counters=self.counters, events=self.events, holders=self.holders,
        )  # fmt: skip
        self.adoptions = AdoptionLedger(self.db, clock, ids=ids, counters=self.counters, events=self.events)
        self.receipts = ReceiptLedger(self.db)
        self.repairs = RepairLedger(
            self.db, clock, entropy, datasets=self.datasets, transitions=transitions, counters=self.counters,
            events=self.events, holders=self.holders,
        )  # fmt: skip
        self.reservations = ReservationLedger(self.db)
        setting = schema.setting
        self._entropy = entropy
        self._instance: str | None = None
        self._claim = self.db.statement(
            self.db.upsert(setting).on_conflict_do_nothing(), columns=["key", "value"]
        )
        self._get = self.db.statement(select(setting.c.value).where(setting.c.key == bindparam("key")))
        put = self.db.upsert(setting).values(key=bindparam("key"), value=bindparam("value"))
        self._set = self.db.statement(
            put.on_conflict_do_update(index_elements=["key"], set_={"value": put.excluded.value})
        )

    @classmethod
    def open(cls, url: str | None, state_dir: Path, *, clock: Clock | None = None) -> Catalog:
        """The catalog at `url`, or the SQLite file in `state_dir`; a new one gets its tables.

        `SchemaMismatch` if it has those of another version. `CatalogError` if there is none, although the state
        directory is not new.
        """
        from holdfast.catalog import migrate

        catalog = cls(url or f"sqlite:///{state_dir / SQLITE_FILE}", clock=clock)
        try:
            if catalog.db.is_sqlite and catalog.db.path.exists():
                _close_to_others(state_dir, catalog.db.path)  # before its log is made, which gets the same rights
            found = migrate.version(catalog.db)
            if found is None:
                if catalog.db.is_sqlite:
                    refuse_if_lost(catalog.db.path, state_dir)
                migrate.create(catalog.db)
            elif found != schema.HEAD:
                raise SchemaMismatch(
                    f"the catalog has schema {found}, this version of Holdfast wants {schema.HEAD}; "
                    + ("run: holdfast catalog upgrade" if found < schema.HEAD else "install a newer Holdfast")
                )
        except BaseException:
            catalog.close()
            raise
        return catalog

    @classmethod
    def create(cls, url: str | None, state_dir: Path) -> str:
        """Make an empty catalog there, also where the state directory has lost its own; its schema. `Conflict` if
        there is one."""
        from holdfast.catalog import migrate

        db = Database(url or f"sqlite:///{state_dir / SQLITE_FILE}")
        try:
            if migrate.version(db) is not None:
                where = db.path if db.is_sqlite else "in the database"
                raise Conflict(f"there is a catalog already ({where}); it stays as it is")
            return migrate.upgrade(db)[1]
        finally:
            db.close()

    @classmethod
    def upgrade(cls, url: str | None, state_dir: Path) -> tuple[str | None, str]:
        """Bring the catalog there to today's schema, or make it; (version before, version after)."""
        from holdfast.catalog import migrate

        db = Database(url or f"sqlite:///{state_dir / SQLITE_FILE}")
        try:
            if migrate.version(db) is None and db.is_sqlite:
                refuse_if_lost(db.path, state_dir)
            return migrate.upgrade(db)
        finally:
            db.close()

    def totals(self) -> Totals:
        """How many datasets there are, by state."""
        with self.db.read() as cursor:
            return Totals(self.counters.states(cursor))

    def setting(self, key: str) -> str | None:
        """A setting that was made at run time."""
        with self.db.read() as cursor:
            row = self._get.one(cursor, {"key": key})
        return None if row is None else str(row[0])

    def instance(self) -> str:
        """What this catalog is called among others, for ever: a uuid."""
        if self._instance is None:
            self._instance = self.setting("instance")
        if self._instance is None:
            with self.db.write() as cursor:
                self._claim.run(cursor, {"key": "instance", "value": self._entropy.uuid()})
            self._instance = self.setting("instance")
        assert self._instance is not None, "it was written a moment ago"
        return self._instance

    def set(self, key: str, value: str) -> None:
        """Make a setting."""
        with self.db.write() as cursor:
            self._set.run(cursor, {"key": key, "value": value})

    def close(self) -> None:
        """Give connections back. Idempotent."""
        self.db.close()


def refuse_if_lost(file: Path, state_dir: Path) -> None:
    """`CatalogError` if there is no catalog file although the state directory has been worked with: an empty one would
    hide that all is lost."""
    left = [name for name in _LEFT_BEHIND if _holds_something(state_dir / name)]
    if not left or file.exists():  # another process may have made it a moment ago
        return
    raise CatalogError(
        f"the state directory {state_dir} is not new (it has {', '.join(left)}), but its catalog is missing: restore "
        f"{file.name} from your backup, or, if there is none, make an empty one with: holdfast catalog create, and "
        "record what lies in the pools with: holdfast reconcile --adopt"
    )


def _close_to_others(state_dir: Path, file: Path) -> None:
    """The catalog holds password hashes, its folder the secret key: whoever is not meant to write may not read. A group
    that may write was meant to."""
    for path, group_writes, wanted in ((state_dir, 0o770, 0o700), *((one, 0o660, 0o600) for one in _files_of(file))):
        try:
            mode = path.stat().st_mode & 0o7777
            tight = mode & ~0o777 | mode & (group_writes if mode & 0o020 else wanted)
            if mode != tight:
                path.chmod(tight)
                _LOG.warning("%s could be read by others (mode %o); it is %o now", path, mode & 0o777, tight & 0o777)
        except OSError:
            continue  # it is another account's, which looks after it


def _files_of(file: Path) -> list[Path]:
    return [file, *(Path(f"{file}{more}") for more in ("-wal", "-shm"))]


_LOG = logging.getLogger("holdfast.catalog")
_LEFT_BEHIND = ("engine.sqlite", "jobs", "job_logs", "uploads")  # what a server and its jobs leave in there


def _holds_something(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
