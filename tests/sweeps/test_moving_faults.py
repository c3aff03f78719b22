"""A move that fails, or whose process dies, at any one of its effects: then nothing is lost and nothing lies about.

For each n the n-th effect of moving two datasets fails or is the last: effects on files, calls of both pools, write
transactions of the catalog. Then what was begun is reaped, all is moved again, and every byte is looked for by the
backdoor.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.contract.catalog_kit import execute, recount, rows_of

from holdfast.catalog.catalog import Catalog
from holdfast.catalog.database import Database
from holdfast.catalog.integrity import IntegrityLedger
from holdfast.catalog.moves import MoveWanted
from holdfast.drivers.disk import MARK_NAME, DiskDriver
from holdfast.errors import HoldfastError, OutcomeUnknown, Unavailable
from holdfast.hold import Hold, Pool, PoolFacts
from holdfast.hold import pools as pools_module
from holdfast.operations.reap import Reap, recover
from holdfast.placement.policy import Branch, Leaf
from holdfast.seams import SystemClock, SystemFiles
from holdfast.stores.base import Driver
from holdfast.testing.remote_bucket import MARK
from holdfast.testing.remote_like import RemoteLike

EFFECTS_MAX = 400
CONTENTS = {1: b"one" * 1000, 2: b"two" * 700}
EXTRA = {"sub/index": b"index", "other": b"o"}
STORE_EFFECTS = ("stat", "open", "put", "delete", "list", "sync")


class Killed(BaseException):
    """The process is gone. No `except Exception` sees it."""


@dataclass
class Strike:
    """Hits the `at`-th effect of its kind; all after it too, if it kills."""

    at: int
    kind: str  # files store catalog any
    how: Callable[[], BaseException]
    is_late: bool = False  # the effect happens, its answer is lost
    is_armed: bool = False
    seen: list[str] = field(default_factory=list)
    struck: bool = False

    def meet(self, kind: str, name: str, effect: Callable[[], Any]) -> Any:
        """An effect, or what becomes of it."""
        if not self.is_armed or self.kind not in (kind, "any"):
            return effect()
        if self.struck and isinstance(self.how(), Killed):
            raise self.how()
        self.seen.append(name)
        if len(self.seen) != self.at:
            return effect()
        self.struck = True
        if self.is_late:
            answer = effect()
            if hasattr(answer, "close"):
                answer.close()
        raise self.how()


class StruckFiles(SystemFiles):
    """The machine's files, with a strike among them. With `apart`, as if each pool lay on a file system of its own."""

    def __init__(self, strike: Strike, *, apart: bool) -> None:
        super().__init__()
        self._strike, self._apart = strike, apart

    def __getattribute__(self, name: str) -> Any:
        effect = object.__getattribute__(self, name)
        if name.startswith("_") or name == "start_writing_back":
            return effect

        def struck(*arguments: Any) -> Any:
            if name == "link" and self._apart:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            if name == "close":
                try:
                    return self._strike.meet("files", name, lambda: None)
                finally:
                    effect(*arguments)
            return self._strike.meet("files", name, lambda: effect(*arguments))

        return struck


def struck_driver(driver: Driver, strike: Strike) -> Driver:
    """A driver whose calls are effects, too."""
    for name in STORE_EFFECTS:
        call = getattr(driver, name)

        def struck(*arguments: Any, _name: str = name, _call: Any = call) -> Any:
            return strike.meet("store", f"{driver.name} {_name}", lambda: _call(*arguments))

        setattr(driver, name, struck)
    return driver


class LaterClock(SystemClock):
    """The machine's clock, some days later."""

    later_s = 0

    def now_us(self) -> int:
        return super().now_us() + self.later_s * 1_000_000


CLOCK = LaterClock()


@functools.cache
def compiled_catalog(folder: Path, number: int) -> Catalog:
    """Compiling its statements takes longer than a move: each is used again, as if by another process."""
    return Catalog(f"sqlite:///{folder / 'state' / 'catalog.sqlite'}", clock=CLOCK)


compiled_integrity = functools.cache(IntegrityLedger)
plain_write = Database.write


class Scene:
    """Two pools and a catalog in a folder, made anew; holds are opened on it again and again."""

    def __init__(self, folder: Path, shape: str, strike: Strike, template: bytes) -> None:
        self.folder, self.strike, self.clock, self.opened = folder, strike, CLOCK, 0
        self.clock.later_s = 0
        shutil.rmtree(folder, ignore_errors=True)
        self.apart = shape == "disk to disk"
        self.source = "cloud" if shape == "bucket to disk" else "a"
        self.target = "cloud" if shape == "disk to bucket" else "b"
        for name in ("a", "b", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "state" / "catalog.sqlite").write_bytes(template)
        self.url = f"sqlite:///{folder / 'state' / 'catalog.sqlite'}"

    def open(self) -> Hold:
        pools, files = [], StruckFiles(self.strike, apart=self.apart)
        for name, store_by in ((self.source, "id"), (self.target, "uuid")):
            kind = "boto3" if name == "cloud" else "disk"
            driver: Driver = (
                RemoteLike(name, self.folder / "bucket")
                if name == "cloud"
                else DiskDriver(name, self.folder / name, files=files)
            )
            facts = PoolFacts(name, kind, location=str(self.folder / name), store_by=store_by)  # type: ignore[arg-type]
            pools.append(Pool(facts, struck_driver(driver, self.strike)))
        tree = Branch("root", "hierarchical", tuple(Leaf(pool.object_store_id, Fraction(1)) for pool in pools))
        catalog = compiled_catalog(self.folder, self.opened)
        self.opened += 1
        catalog.holders._own.clear()
        catalog.holders._written.clear()
        catalog._instance = None

        @contextmanager
        def struck() -> Iterator[Any]:
            if not self.strike.is_late:
                self.strike.meet("catalog", "write", lambda: None)
            with plain_write(catalog.db) as cursor:
                yield cursor
            if self.strike.is_late:
                self.strike.meet("catalog", "write", lambda: None)

        catalog.db.write = struck  # type: ignore[method-assign]
        with mock.patch.object(pools_module, "IntegrityLedger", compiled_integrity):
            return Hold(
                catalog=catalog, pools=pools, tree=tree, state_dir=self.folder / "state", clock=self.clock
            )

    # -- the backdoor -----------------------------------------------------------------------------------------------

    def lying(self, pool: str) -> dict[str, bytes]:
        if pool == "cloud":
            bucket = RemoteLike(pool, self.folder / "bucket").bucket
            return {name: bucket.read(name) or b"" for name in bucket.names() - {MARK}}
        root = self.folder / pool
        files = (Path(at) / name for at, _, names in os.walk(root) for name in names if name != MARK_NAME)
        return {str(path.relative_to(root)): path.read_bytes() for path in files}

    def expected(self, pool: str) -> dict[str, bytes]:
        """What lies in a pool that has all of it."""
        found = {}
        for dataset_id, key in rows_of(
            self.url, f"SELECT dataset_id, key FROM replica WHERE object_store_id = '{pool}'"
        ):
            found[key] = CONTENTS[dataset_id]
            if dataset_id == 1:
                found |= {key.removesuffix(".dat") + "_files/" + path: content for path, content in EXTRA.items()}
        return found


SHAPES = ["one disk", "disk to disk", "disk to bucket", "bucket to disk"]
FAULTS: dict[str, tuple[str, Callable[[], BaseException], bool]] = {
    "EIO": ("files", lambda: OSError(errno.EIO, os.strerror(errno.EIO)), False),
    "ENOSPC": ("files", lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), False),
    "a pool is away": ("store", lambda: Unavailable("away", store="x"), False),
    "a pool's answer is lost": ("store", lambda: OutcomeUnknown("lost", store="x"), True),
    "the catalog is away": ("catalog", lambda: Unavailable("away", operation="catalog"), False),
    "the catalog's answer is lost": ("catalog", lambda: OutcomeUnknown("lost", operation="catalog"), True),
    "killed": ("any", lambda: Killed("killed"), False),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty catalog: making its tables takes longer than all the rest."""
    folder = tmp_path_factory.mktemp("template")
    Catalog.open(None, folder).close()
    return (folder / "catalog.sqlite").read_bytes()


@pytest.fixture(scope="module")
def stage() -> Iterator[Path]:
    """A folder in memory, where there is one."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="holdfast-faults-", dir=memory) as folder:
        yield Path(folder) / "scene"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a killed process closes nothing
@pytest.mark.parametrize(
    ("shape", "fault"),
    [(one, fault) for one in SHAPES for fault in FAULTS if (one, FAULTS[fault][0]) != ("disk to bucket", "files")],
)
def test_every_effect_of_a_move(shape: str, fault: str, template: bytes, stage: Path):
    kind, how, is_late = FAULTS[fault]
    for at in range(1, EFFECTS_MAX):
        strike = Strike(at, kind, how, is_late)
        scene = Scene(stage, shape, strike, template)
        prepare(scene)
        strike_a_move(scene)
        strike.is_armed = False
        try:
            afterwards(scene)
        except (AssertionError, HoldfastError) as error:
            raise AssertionError(f"effect {at} ({strike.seen[-1] if strike.seen else '-'}): {error}") from error
        if not strike.struck:
            assert at > 3, f"{shape}: there is hardly anything to fail"
            return
    pytest.fail("the sweep did not end")


def test_wrong_bytes_on_a_disk_are_taken_back_at_once(template: bytes, stage: Path):
    scene = Scene(stage, "disk to disk", Strike(0, "any", lambda: Killed("never")), template)
    prepare(scene)
    with scene.open() as hold:
        disk: Any = hold.poolset.configured("b").driver
        sync = disk.sync

        def spoil(keys: Any) -> None:
            sync(keys)
            path = Path(disk.root) / keys[-1]
            found = path.stat()
            path.write_bytes(b"?" * found.st_size)
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # the disk does it, nobody wrote

        disk.sync = spoil
        told = list(hold.moving.move([MoveWanted(1, "b"), MoveWanted(2, "b")], at_once=1))
        assert sorted(one.is_moved for one in told) == [False, True]
        [wrong] = [one for one in told if not one.is_moved]
        assert "other bytes" in wrong.why
        assert len(scene.lying("b")) == 3, "the other one and its extra files"
        nobodys(scene)
        recount(scene.url)


def prepare(scene: Scene) -> None:
    """Two datasets in the source, one with extra files."""
    folder = scene.folder / "state" / "extra"
    (folder / "sub").mkdir(parents=True)
    for path, content in EXTRA.items():
        (folder / path).write_bytes(content)
    with scene.open() as hold:
        for dataset_id, content in CONTENTS.items():
            more: dict[str, Any] = {"extra_files": folder} if dataset_id == 1 else {}
            assert hold.put(content, name="x", owner="u", pool=scene.source, **more).id == dataset_id
        hold.poolset.recognition.ready(scene.target)


def strike_a_move(scene: Scene) -> None:
    """Move both; whatever becomes of it, the process is gone then."""
    hold = scene.open()
    scene.strike.is_armed = True
    with suppress(Killed, Unavailable, OutcomeUnknown):
        for moved in hold.moving.move([MoveWanted(1, scene.target), MoveWanted(2, scene.target)], at_once=1):
            assert moved.is_moved or moved.error is not None or moved.code, moved
    was_killed = scene.strike.struck and isinstance(scene.strike.how(), Killed)
    scene.strike.is_armed = False
    if not was_killed:
        if not scene.strike.struck:
            nobodys(scene)
        elif scene.strike.kind == "files" or (scene.strike.kind == "store" and not scene.strike.is_late):
            recount(scene.url)
    hold.close()
    execute(scene.url, "UPDATE holder SET born = 'another'")


def nobodys(scene: Scene) -> None:
    assert rows_of(scene.url, "SELECT * FROM moving") == []


def afterwards(scene: Scene) -> None:
    """Everything can be read; reaped, moved again and reaped it is all in the target, and nothing else is anywhere."""
    with scene.open() as hold:
        for dataset_id, content in CONTENTS.items():
            read(hold, dataset_id, content)
        recover(hold)
        nobodys(scene)
        recount(scene.url)
        reap(hold, 86_400)  # with a grace: what is not recorded elsewhere stays
        for moved in hold.moving.move([MoveWanted(1, scene.target), MoveWanted(2, scene.target)], at_once=1):
            assert moved.is_moved or moved.code == "done", moved
        scene.clock.later_s = 3 * 86_400
        reap(hold, 0)
        for dataset_id, content in CONTENTS.items():
            read(hold, dataset_id, content)
        nobodys(scene)
        recount(scene.url)
        assert scene.lying(scene.source) == {}
        assert scene.lying(scene.target) == scene.expected(scene.target)
        reserved = "SELECT sum(reserved_bytes), sum(datasets) FROM pool"
        assert rows_of(scene.url, reserved) == [(0, 2)]


def read(hold: Hold, dataset_id: int, content: bytes) -> None:
    with hold.open(dataset_id) as stream:
        assert stream.read() == content
    if dataset_id == 1:
        for path, extra in EXTRA.items():
            with hold.open(dataset_id, extra_file=path) as stream:
                assert stream.read() == extra


class Progress:
    """Somebody who watches: nothing may fail."""

    def done(self, *, objects: int = 0, size_bytes: int = 0) -> None: ...

    def failed(self, item: object, error: object, why: str = "", *, object_store_id: str | None = None) -> None:
        raise AssertionError(f"{item}: {error} {why}")

    def count(self, name: str, number: int = 1) -> None: ...

    def note(self, text: str) -> None: ...

    def check(self) -> None: ...


def reap(hold: Hold, grace_s: int) -> None:
    for batch in Reap().batches(hold, {"grace_s": grace_s}, None):
        batch.apply(Progress())
