"""A small world: three pools, one catalog, processes that share them, and what must be true of it at any time.

Pool `a` is a disk that names blobs by id, `b` one that names them by uuid, `c` a bucket with little room. The catalog
is a real file in memory. Everything is looked at by the backdoor: the tables by a connection of their own, the blobs
where they lie.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import sqlite3
import tempfile
import uuid
from fractions import Fraction
from pathlib import Path
from unittest import mock

from blake3 import blake3
from tests.contract import catalog_kit
from tests.simulation.gates import GatedDriver, GatedFiles, Medium, gate, gate_catalog
from tests.simulation.remote import Bucket, InMemory

from holdfast.catalog.catalog import SQLITE_FILE, Catalog
from holdfast.catalog.database import Database
from holdfast.catalog.holders import Holder
from holdfast.catalog.integrity import IntegrityLedger
from holdfast.drivers.disk import MARK_NAME, DiskDriver
from holdfast.hold import Hold, Pool, PoolFacts
from holdfast.hold import pools as pools_module
from holdfast.placement.policy import Branch, Leaf

DISKS = {"a": "id", "b": "uuid"}
REMOTE = "c"
REMOTE_ROOM_BYTES = 2500
PROCESSES_MAX = 12
DAY_S = 86_400


class SimClock:
    """Time that passes when the scheduler says so."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.us = 1_700_000_000_000_000

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1_000_000

    def sleep(self, seconds: float) -> None:
        gate("sleep")
        self.us += int(seconds * 1_000_000)


class SimEntropy:
    """Randomness that a seed makes again."""

    def __init__(self) -> None:
        self.rng = random.Random(0)

    def token(self, size_bytes: int) -> str:
        return self.rng.randbytes(size_bytes).hex()

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.rng.randbytes(16), version=4))


class Process:
    """One process with a hold of its own."""

    def __init__(self, world: World, catalog: Catalog) -> None:
        self.world, self.catalog = world, catalog
        catalog.holders._own.clear()
        catalog.holders._written.clear()
        catalog.holders.alive = self._alive  # type: ignore[method-assign]
        files = GatedFiles(apart=world.is_apart)
        pools = []
        for name, store_by in DISKS.items():
            disk = DiskDriver(name, world.root / name, files=files, clock=world.clock, entropy=_ENTROPY)  # type: ignore[arg-type]
            facts = PoolFacts(name, "disk", location=str(world.root / name), store_by=store_by)
            pools.append(Pool(facts, GatedDriver(disk, world.media[name])))
        bucket = GatedDriver(InMemory(REMOTE, world.bucket), world.media[REMOTE])
        pools.append(Pool(PoolFacts(REMOTE, "boto3", capacity_bytes=REMOTE_ROOM_BYTES), bucket))
        leaves = tuple(Leaf(pool.object_store_id, Fraction(1)) for pool in pools)
        tree = Branch("root", world.kind, leaves)  # type: ignore[arg-type]
        with mock.patch.object(pools_module, "IntegrityLedger", _integrity):
            self.hold = Hold(
                catalog=catalog, pools=pools, tree=tree, state_dir=world.root / "state", clock=world.clock,
                entropy=_ENTROPY,
            )  # fmt: skip

    @property
    def holder(self) -> str | None:
        return self.catalog.holders._own.get(os.getpid())

    def _alive(self, holder: Holder) -> bool:
        return holder.id not in self.world.dead


class World:
    """What all processes share."""

    def __init__(self, rng: random.Random, *, is_apart: bool, kind: str = "hierarchical") -> None:
        self.rng, self.is_apart, self.kind = rng, is_apart, kind
        self.root, self.clock = _root(), _CLOCK
        self.clock.reset()
        _ENTROPY.rng = random.Random(rng.random())
        self.bucket = Bucket()
        self.media = {name: Medium(self._loser(name), self._spoiler(name)) for name in (*DISKS, REMOTE)}
        self.dead: set[str] = set()
        self.extras: dict[int, dict[str, bytes]] = {}
        self._free = list(_catalogs())
        _lay_out(self)
        self.url = f"sqlite:///{self.root / 'state' / SQLITE_FILE}"
        self._eye = _eye()

    def process(self) -> Process:
        """Another process."""
        return Process(self, self._free.pop())

    def has_room_for_a_process(self) -> bool:
        return len(self._free) > 1

    def ended(self, process: Process) -> None:
        """It is gone; what it held is a dead one's."""
        if process.holder is not None:
            self.dead.add(process.holder)
        self._free.append(process.catalog)

    # -- the backdoor -----------------------------------------------------------------------------------------------

    def read(self, pool: str, key: str) -> bytes | None:
        """What lies there."""
        if pool == REMOTE:
            found = self.bucket.blobs.get(key)
            return None if found is None else found[0]
        try:
            return (self.root / pool / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def lying(self, pool: str) -> set[str]:
        """Everything that lies there."""
        if pool == REMOTE:
            return set(self.bucket.blobs)
        root = str(self.root / pool)
        found = {os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names}
        return found - {MARK_NAME}

    def rows(self, statement: str) -> list[tuple]:
        return self._eye.execute(statement).fetchall()

    def _loser(self, pool: str):
        def lose(key: str) -> None:
            self.bucket.blobs.pop(key, None) if pool == REMOTE else (self.root / pool / key).unlink(missing_ok=True)

        return lose

    def _spoiler(self, pool: str):
        def spoil(key: str) -> None:
            content = self.read(pool, key)
            if not content:
                return
            wrong = bytes([content[0] ^ 0xFF]) + content[1:]
            if pool == REMOTE:
                self.bucket.put(key, wrong)
            else:
                (self.root / pool / key).write_bytes(wrong)

        return spoil

    # -- what must be true ------------------------------------------------------------------------------------------

    def check_step(self, possible: dict[int, set[bytes]]) -> None:
        """Every dataset has whole bytes that can be read, in a replica that says so; no pool is over its limit.

        `possible`: of datasets that are being replaced, what they may have just now.
        """
        found: dict[int, list[tuple]] = {}
        rows = self.rows(
            "SELECT d.id, d.checksum, r.object_store_id, r.key FROM dataset d JOIN replica r ON r.dataset_id = d.id "
            "WHERE d.state IN ('ok', 'error', 'deleted') AND "
            "(r.state = 'present' OR (r.state = 'retiring' AND r.version IS NOT NULL))"
        )
        for row in rows:
            found.setdefault(row[0], []).append(row)
        held = {row[0] for row in self.rows("SELECT id FROM dataset WHERE state IN ('ok', 'error', 'deleted')")}
        replaced = {row[0] for row in self.rows("SELECT dataset_id FROM reservation WHERE kind = 'replace'")}
        for dataset_id in held:
            replicas = found.get(dataset_id, [])
            good = [row for row in replicas if self._is_whole(row, possible, is_replaced=dataset_id in replaced)]
            assert good, f"dataset {dataset_id} has no whole bytes any more: {replicas}"
        [(used, reserved)] = self.rows(
            "SELECT used_bytes, reserved_bytes - (SELECT coalesce(sum(size_bytes), 0) FROM reservation "
            f"WHERE kind = 'replace' AND object_store_id = '{REMOTE}') FROM pool WHERE object_store_id = '{REMOTE}'"
        )
        assert used + reserved <= REMOTE_ROOM_BYTES, "the pool is over its limit"

    def _is_whole(self, row: tuple, possible: dict[int, set[bytes]], *, is_replaced: bool) -> bool:
        dataset_id, checksum, pool, key = row
        content = self.read(pool, key)
        if content is None:
            return False
        if _checksum(content) != checksum and not (is_replaced and content in possible.get(dataset_id, ())):
            return False
        prefix = key.removesuffix(".dat") + "_files/"
        return all(self.read(pool, prefix + path) == extra for path, extra in self.extras.get(dataset_id, {}).items())

    def check_end(self, *, strays: bool) -> None:
        """Counters, states, and what lies about. `strays`: a process that was taken for dead may have left some."""
        with mock.patch.object(catalog_kit, "rows_of", lambda _, statement: self.rows(statement)):
            catalog_kit.recount(self.url)
        assert self.rows("SELECT * FROM moving") == []
        assert self.rows("SELECT * FROM reservation") == []
        assert self.rows("SELECT id, note FROM dataset WHERE state IN ('new', 'error')") == []
        odd = self.rows("SELECT * FROM replica WHERE state NOT IN ('present', 'gone')")
        assert not odd, f"replicas that are neither here nor there: {odd}"
        expected: dict[str, set[str]] = {name: set() for name in self.media}
        extras: dict[int, list[str]] = {}
        for dataset_id, path in self.rows("SELECT dataset_id, path FROM extra_file"):
            extras.setdefault(dataset_id, []).append(path)
        for dataset_id, checksum, pool, key in self.rows(
            "SELECT d.id, d.checksum, r.object_store_id, r.key FROM dataset d JOIN replica r ON r.dataset_id = d.id "
            "WHERE r.state = 'present'"
        ):
            assert self._is_whole((dataset_id, checksum, pool, key), {}, is_replaced=False), (dataset_id, pool, key)
            prefix = key.removesuffix(".dat") + "_files/"
            expected[pool] |= {key, *(prefix + path for path in extras.get(dataset_id, ()))}
        for pool in self.media:
            left = self.lying(pool) - expected[pool]
            if strays:
                left = {name for name in left if name.endswith(".tmp")}
            assert not left, f"nobody's in pool {pool}: {sorted(left)}"


def _checksum(content: bytes) -> str:
    return f"blake3:{blake3(content).hexdigest()}"


# -- made once, used by every history -------------------------------------------------------------------------------

_CLOCK, _ENTROPY = SimClock(), SimEntropy()
_FOLDERS: dict[int, tempfile.TemporaryDirectory] = {}


def _root() -> Path:
    """A folder in memory that is this process's own, and always the same: a catalog knows where its pools lie."""
    if os.getpid() not in _FOLDERS:
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
        _FOLDERS[os.getpid()] = tempfile.TemporaryDirectory(prefix="holdfast-simulation-", dir=memory)
    return Path(_FOLDERS[os.getpid()].name)


@functools.cache
def _catalogs() -> tuple[Catalog, ...]:
    """Their statements are compiled once, not for each history."""
    url = f"sqlite:///{_root() / 'state' / SQLITE_FILE}"
    catalogs = tuple(Catalog(url, clock=_CLOCK, entropy=_ENTROPY) for _ in range(PROCESSES_MAX))
    for catalog in catalogs:
        gate_catalog(catalog)
    return catalogs


@functools.cache
def _integrity(db: Database) -> IntegrityLedger:
    """The same."""
    return IntegrityLedger(db)


@functools.cache
def _eye() -> sqlite3.Connection:
    """The backdoor to the tables."""
    return sqlite3.connect(_root() / "state" / SQLITE_FILE, check_same_thread=False, isolation_level=None)


_MARKS: dict[str, str] = {}
_ROWS: dict[str, list[tuple]] = {}


def _lay_out(world: World) -> None:
    """An empty catalog that knows its pools, and pools that carry their marks. The catalog's file stays the same, so
    that nobody has to be connected anew: its rows are made as they were."""
    root = world.root
    if not _ROWS:
        _make_first(world)
    for name in DISKS:
        shutil.rmtree(root / name)
        (root / name).mkdir(mode=0o700)
        (root / name / MARK_NAME).write_text(_MARKS[name])
    shutil.rmtree(root / "state" / "extra", ignore_errors=True)
    world.bucket.mark = _MARKS[REMOTE]
    eye = _eye()
    eye.execute("BEGIN IMMEDIATE")
    for table, rows in _ROWS.items():
        eye.execute(f"DELETE FROM {table}")
        for row in rows:
            eye.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    eye.execute("COMMIT")


def _make_first(world: World) -> None:
    """The catalog, and what it is like when the pools have been met."""
    for name in ("state", *DISKS):
        (world.root / name).mkdir(mode=0o700)
    Catalog.open(None, world.root / "state").close()
    first = Process(world, world._free[-1])
    first.hold.poolset.recognition.meet_strangers()
    first.hold.poolset.recognition.ready(REMOTE)
    first.hold.close()
    _MARKS[REMOTE] = world.bucket.mark or ""
    for name in DISKS:
        _MARKS[name] = (world.root / name / MARK_NAME).read_text()
    tables = [row[0] for row in _eye().execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        _ROWS[table] = _eye().execute(f"SELECT * FROM {table}").fetchall()
