"""The disk driver at every effect of every verb: killed there, cut off the power there, failing there.

Whatever was acknowledged is there afterwards, byte for byte; whatever was not is old, new or absent, and
whole; what is left lying about has a name by which `leftovers` finds it. Of a batch nothing is promised
before its sync returns: whoever puts one has written down beforehand what it is (the hold, in the catalog).
Every state is one that `LossyFiles` holds for possible, which is stricter than ext4.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.blobs import BytesBody, FileBody, PutOptions
from holdfast.drivers.disk.driver import DiskDriver
from holdfast.errors import AlreadyExists, NotFound, StoreError
from holdfast.keys import Key
from holdfast.seams import Files, SystemFiles
from holdfast.testing.failing import DyingFiles, FailingFiles, Killed
from holdfast.testing.lossy import LossyFiles

EFFECTS_MAX = 200
SEEDS = range(12)
OLD, NEW = b"old" * 3000, b"new" * 4000
KNOWN, FRESH = Key("000/dataset_1.dat"), Key("001/dataset_1001.dat")
BATCH = tuple(Key(f"{number // 4:03}/dataset_{number}.dat") for number in range(2, 14))


@dataclass
class Told:
    """What the driver has acknowledged: for each key its content, None for removed."""

    sure: dict[Key, bytes | None] = field(default_factory=lambda: {KNOWN: OLD})
    begun: dict[Key, tuple[bytes | None, bytes | None]] = field(default_factory=dict)
    loose: set[Key] = field(default_factory=set)

    def begin(self, key: Key, content: bytes | None) -> None:
        self.begun[key] = (self.sure.pop(key, None), content)

    def done(self, key: Key) -> None:
        self.sure[key] = self.begun.pop(key)[1]


def put_new(driver: DiskDriver, told: Told, room: Path) -> None:
    told.begin(FRESH, NEW)
    driver.put(FRESH, BytesBody(NEW))
    told.done(FRESH)


def put_if_absent(driver: DiskDriver, told: Told, room: Path) -> None:
    told.begin(FRESH, NEW)
    driver.put(FRESH, BytesBody(NEW), PutOptions(if_absent=True))
    told.done(FRESH)
    with pytest.raises(AlreadyExists):
        driver.put(FRESH, BytesBody(b"third"), PutOptions(if_absent=True))


def replace(driver: DiskDriver, told: Told, room: Path) -> None:
    told.begin(KNOWN, NEW)
    driver.put(KNOWN, BytesBody(NEW))
    told.done(KNOWN)


def delete(driver: DiskDriver, told: Told, room: Path) -> None:
    told.begin(KNOWN, None)
    driver.delete(KNOWN)
    told.done(KNOWN)


def give_away(driver: DiskDriver, told: Told, room: Path) -> None:
    upload = room / "upload"
    upload.write_bytes(NEW)
    told.begin(FRESH, NEW)
    driver.put(FRESH, FileBody(upload, len(NEW), consume=True))
    told.done(FRESH)


def few_together(driver: DiskDriver, told: Told, room: Path) -> None:
    _together(driver, told, BATCH[:5])


def many_together(driver: DiskDriver, told: Told, room: Path) -> None:
    _together(driver, told, BATCH)


def _together(driver: DiskDriver, told: Told, keys: tuple[Key, ...]) -> None:
    for key in keys:
        told.loose.add(key)
        driver.put(key, BytesBody(NEW), PutOptions(durable=False))
    driver.sync(keys)
    told.loose.clear()
    told.sure.update(dict.fromkeys(keys, NEW))


VERBS = pytest.mark.parametrize(
    "verb", [put_new, put_if_absent, replace, delete, give_away, few_together, many_together]
)
Verb = Callable[[DiskDriver, Told, Path], None]


@VERBS
def test_killed_at_any_effect(verb: Verb, tmp_path: Path) -> None:
    for at in range(1, EFFECTS_MAX):
        room = _room(tmp_path, f"{at}")
        told, files = Told(), DyingFiles(SystemFiles(), at=at)
        _run_until_killed(verb, files, told, room)
        _check(room, told)
        if not files.struck:
            return
    raise AssertionError(f"more than {EFFECTS_MAX} effects")


@VERBS
def test_power_cut_at_any_effect(verb: Verb, tmp_path: Path) -> None:
    for seed in SEEDS:
        for at in range(1, EFFECTS_MAX):
            room = _room(tmp_path, f"{seed}-{at}")
            lossy = LossyFiles(room)
            told, files = Told(), DyingFiles(lossy, at=at)
            _run_until_killed(verb, files, told, room)
            lost = lossy.crash(seed * 1000 + at)
            _check(room, told, f"seed {seed}, killed before effect {at} of {files.names}; {lost}")
            if not files.struck:
                break


def test_a_folder_that_a_dead_process_made_lasts_for_the_next_one(tmp_path: Path) -> None:
    for seed in SEEDS:
        for at in range(1, EFFECTS_MAX):
            room = _room(tmp_path, f"{seed}-{at}")
            lossy = LossyFiles(room)
            first, told, files = Told(), Told(), DyingFiles(lossy, at=at)
            _run_until_killed(put_new, files, first, room)
            driver = _driver(room, lossy)
            neighbour = Key(f"{FRESH.parent}/dataset_1002.dat")
            told.begin(neighbour, NEW)
            driver.put(neighbour, BytesBody(NEW))
            told.done(neighbour)
            told.begun = first.begun
            told.sure.update(first.sure)
            lost = lossy.crash(seed * 1000 + at)
            _check(room, told, f"seed {seed}, killed before effect {at} of {files.names}; {lost}")
            if not files.struck:
                break


@VERBS
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_failing_at_any_effect(verb: Verb, code: int, tmp_path: Path) -> None:
    stores = set()
    for at in range(1, EFFECTS_MAX):
        room = _room(tmp_path, f"{at}")
        told, files = Told(), FailingFiles(SystemFiles(), at=at, error=OSError(code, "injected"))
        try:
            verb(_driver(room, files), told, room)
        except StoreError as error:  # an OSError would end the test
            stores.add(error.store)
        _check(room, told, f"effect {at} of {files.names} failed")
        if not files.struck:
            break
    assert stores <= {"pool"}


def _run_until_killed(verb: Verb, files: Files, told: Told, room: Path) -> None:
    try:
        verb(_driver(room, files), told, room)
    except Killed:
        return


def _check(room: Path, told: Told, how: str = "") -> None:
    driver = _driver(room, SystemFiles())
    for key, content in told.sure.items():
        assert _read(driver, key) == content, f"{key}, acknowledged; {how}"
    for key, contents in told.begun.items():
        assert _read(driver, key) in contents, f"{key}, begun; {how}"
    known = {key for key in (*told.sure, *told.begun, *told.loose) if _read(driver, key) is not None}
    assert {found.key for found in driver.list()} == known, how
    for leftover in driver.leftovers():
        assert driver.discard(leftover), how
    pool = room / "pool"
    strangers = {str(path.relative_to(pool)) for path in pool.rglob("*") if path.is_file()}
    assert strangers == set(map(str, known)), how


def _read(driver: DiskDriver, key: Key) -> bytes | None:
    try:
        with driver.open(key) as reader:
            return reader.read()
    except NotFound:
        return None


def _driver(room: Path, files: Files) -> DiskDriver:
    return DiskDriver("pool", room / "pool", files=files)


def _room(tmp_path: Path, name: str) -> Path:
    room = tmp_path / name
    (room / "pool" / "000").mkdir(parents=True)
    (room / "pool" / KNOWN).write_bytes(OLD)
    return room
