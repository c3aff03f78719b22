"""A pool that is a folder: the suite, and what only folders can do to one."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.catalog_kit import in_children, open_to_all

from holdfast.blobs import BytesBody, FileBody, PutOptions, StreamBody
from holdfast.drivers.disk import MARK_NAME, DiskDriver
from holdfast.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    HoldfastError,
    InvalidKey,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    Unavailable,
)
from holdfast.keys import Key
from holdfast.seams import SystemFiles
from holdfast.testing.failing import FailingFiles
from holdfast.testing.store_contract import DriverContract
from holdfast.testing.store_kit import KEY, every_method, listed, read

NEW = Key("000/100/dataset_100042.dat")
EXTRA = Key("000/dataset_1_files/sub/folder/x.txt")


class Folder:
    """The backdoor: the folder itself."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> bytes | None:
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, key: str, content: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(content)

    def names(self) -> set[str]:
        return {
            os.path.relpath(os.path.join(folder, name), self.root)
            for folder, _, names in os.walk(self.root)
            for name in names
        }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pool").mkdir()
    return tmp_path / "pool"


@pytest.fixture
def driver(root: Path) -> DiskDriver:
    return DiskDriver("pool", root)


@pytest.fixture
def backdoor(root: Path) -> Folder:
    return Folder(root)


class TestDiskDriver(DriverContract):
    @pytest.fixture
    def store(self, root: Path) -> DiskDriver:
        return DiskDriver("pool", root)

    @pytest.fixture
    def backdoor(self, root: Path) -> Folder:
        return Folder(root)


class TestDiskDriverWhoseOwnerAcceptsLess(DriverContract):
    """`durability: process`: the same, only without syncs."""

    @pytest.fixture
    def store(self, root: Path) -> DiskDriver:
        return DiskDriver("pool", root, durable=False)

    @pytest.fixture
    def backdoor(self, root: Path) -> Folder:
        return Folder(root)


# -- deleting ---------------------------------------------------------------------------------------------------------


def test_a_blob_that_is_read_is_not_deleted(driver: DiskDriver, backdoor: Folder):
    driver.put(KEY, BytesBody(b"x"))
    with driver.open(KEY) as reader, driver.open(KEY):
        with pytest.raises(Conflict, match="being read"):
            driver.delete(KEY)
        assert backdoor.read(KEY) == b"x"
        assert reader.local_path is not None
        assert reader.local_path.read_bytes() == b"x"
    driver.delete(KEY)
    assert backdoor.read(KEY) is None


def test_a_blob_that_another_process_reads_is_not_deleted(driver: DiskDriver):
    driver.put(KEY, BytesBody(b"x"))
    with driver.open(KEY):

        def child(_: int) -> str:
            try:
                driver.delete(KEY)
            except Conflict:
                return "conflict"
            return "deleted"

        assert in_children(1, child) == ["conflict"]
    assert in_children(1, child) == ["deleted"]


def test_opening_and_deleting_at_once(driver: DiskDriver):
    """Whoever got a reader has a blob that is there; whoever deleted found nobody reading."""
    stop = threading.Event()
    wrong: list[str] = []

    def look() -> None:
        while not stop.is_set():
            try:
                with driver.open(KEY) as reader:
                    if not os.path.exists(reader.local_path or ""):
                        wrong.append("deleted under its reader")
                    if reader.read() != b"x" * 100:
                        wrong.append("torn")
            except NotFound:
                pass
            time.sleep(0.0005)  # a moment in which nobody reads has to come on a busy machine too

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    deleted = conflicts = 0
    while deleted < 40 and conflicts < 100_000:
        try:
            driver.put(KEY, BytesBody(b"x" * 100), PutOptions(durable=False, if_absent=True))
        except AlreadyExists:
            conflicts += 1
        try:
            driver.delete(KEY)
            deleted += 1
        except Conflict:
            continue
    stop.set()
    for looker in lookers:
        looker.join()
    assert wrong == []
    assert deleted == 40


def test_folders_of_extra_files_go_with_the_last_of_them(driver: DiskDriver, root: Path):
    other = Key("000/dataset_1_files/y")
    for key in (EXTRA, other):
        driver.put(key, BytesBody(b"x"))
    driver.delete(EXTRA)
    assert sorted(path.name for path in (root / "000").rglob("*")) == ["dataset_1_files", "y"]
    driver.delete(other)
    assert list((root / "000").iterdir()) == [], "the hash folder stays"


def test_a_folder_is_no_blob(driver: DiskDriver, root: Path):
    (root / KEY).mkdir(parents=True)
    with pytest.raises(NotFound):
        driver.stat(KEY)
    with pytest.raises(NotFound):
        driver.open(KEY)
    driver.delete(KEY)
    assert (root / KEY).is_dir()
    with pytest.raises(InvalidKey):
        driver.put(KEY, BytesBody(b"x"))
    with pytest.raises((AlreadyExists, InvalidKey)):
        driver.put(KEY, BytesBody(b"x"), PutOptions(if_absent=True))
    assert driver.occupied(KEY)


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside" / "folder").mkdir(parents=True)
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (tmp_path / "outside" / "folder" / "secret").write_bytes(b"secret")
    return tmp_path / "outside"


def test_links_that_stay_inside_are_followed(driver: DiskDriver, root: Path):
    driver.put(Key("000/real.dat"), BytesBody(b"content"))
    (root / "000" / "relative.dat").symlink_to("real.dat")
    (root / "000" / "absolute.dat").symlink_to(root / "000" / "real.dat")
    (root / "001").symlink_to("000")
    for name in ("000/relative.dat", "000/absolute.dat", "001/real.dat"):
        assert read(driver, Key(name)) == b"content"
        assert driver.stat(Key(name)).size_bytes == 7
    assert listed(driver) == [
        "000/absolute.dat", "000/real.dat", "000/relative.dat", "001/absolute.dat", "001/real.dat", "001/relative.dat",
    ]  # fmt: skip


def test_links_that_leave_are_refused(driver: DiskDriver, root: Path, outside: Path):
    (root / "000" / "dataset_1_files").mkdir(parents=True)
    (root / "000" / "blob.dat").symlink_to(outside / "secret")
    (root / "000" / "up.dat").symlink_to("../../outside/secret")
    (root / "000" / "dataset_1_files" / "x").symlink_to(outside / "secret")
    (root / "000" / "dataset_1_files" / "folder").symlink_to(outside / "folder")
    (root / "001").symlink_to(outside / "folder")
    (root / "chain.dat").symlink_to("000/blob.dat")
    names = [
        "000/blob.dat", "000/up.dat", "000/dataset_1_files/x", "000/dataset_1_files/folder/secret", "001/secret",
        "chain.dat",
    ]  # fmt: skip
    for name in names:
        key = Key(name)
        for act in (driver.stat, driver.open, driver.delete):
            with pytest.raises(Denied, match="leads out of"):
                act(key)
        with pytest.raises(Denied):
            driver.copy(key, Key("stolen"))
    for name in ("001/new", "000/dataset_1_files/folder/new"):
        with pytest.raises(Denied):
            driver.put(Key(name), BytesBody(b"x"))
        with pytest.raises(Denied):
            driver.put(Key(name), BytesBody(b"x"), PutOptions(if_absent=True))
    assert listed(driver) == []
    assert sorted(path.name for path in outside.rglob("*")) == ["folder", "secret", "secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_put_replaces_a_link_and_not_what_it_leads_to(driver: DiskDriver, root: Path, outside: Path):
    (root / "000").mkdir()
    (root / "000" / "blob.dat").symlink_to(outside / "secret")
    driver.put(Key("000/blob.dat"), BytesBody(b"new"))
    assert (outside / "secret").read_bytes() == b"secret"
    assert read(driver, Key("000/blob.dat")) == b"new"


def test_extra_files_behind_a_folder_that_is_a_link(driver: DiskDriver, root: Path):
    """They are listed once; and deleting them deletes nothing that another name has too."""
    driver.put(Key("000/dataset_1_files/real/x"), BytesBody(b"mine"))
    driver.put(Key("000/dataset_2_files/x"), BytesBody(b"another dataset's"))
    driver.put(Key("elsewhere/x"), BytesBody(b"moved by hand"))
    one = root / "000" / "dataset_1_files"
    (one / "alias").symlink_to("real")
    (one / "loop").symlink_to(".")
    (one / "shared").symlink_to("../dataset_2_files")
    (root / "000" / "dataset_3_files").symlink_to(root / "elsewhere")
    prefixes = [f"000/dataset_{number}_files/" for number in (1, 2, 3)]
    assert [[stat.key for stat in driver.list(prefix)] for prefix in prefixes] == [
        ["000/dataset_1_files/real/x", "000/dataset_1_files/shared/x"],
        ["000/dataset_2_files/x"],
        ["000/dataset_3_files/x"],
    ]
    assert read(driver, Key("000/dataset_1_files/alias/x")) == b"mine"
    assert sorted(driver.refused()) == [
        (f"000/dataset_1_files/{name}", "it is a link to a folder beside it, whose files are known by their own names")
        for name in ("alias", "loop")
    ]
    for prefix in (prefixes[0], prefixes[2]):
        for stat in [*driver.list(prefix)]:
            driver.delete(stat.key)
    assert not one.exists()
    assert not os.path.lexists(root / "000" / "dataset_3_files")
    assert listed(driver) == ["000/dataset_2_files/x", "elsewhere/x"]
    assert read(driver, Key("000/dataset_2_files/x")) == b"another dataset's"


def test_broken_and_circular_links_are_absent(driver: DiskDriver, root: Path):
    driver.put(Key("000/real.dat"), BytesBody(b"content"))
    (root / "000" / "broken.dat").symlink_to("nothing")
    (root / "000" / "self.dat").symlink_to("self.dat")
    (root / "000" / "ping.dat").symlink_to("pong.dat")
    (root / "000" / "pong.dat").symlink_to("ping.dat")
    for name in ("broken", "self", "ping"):
        with pytest.raises(NotFound):
            driver.stat(Key(f"000/{name}.dat"))
        with pytest.raises(NotFound):
            driver.open(Key(f"000/{name}.dat"))
        driver.delete(Key(f"000/{name}.dat"))
    assert listed(driver) == ["000/real.dat"]


def test_folders_that_lead_back_to_themselves_end(driver: DiskDriver, root: Path):
    driver.put(Key("a/b/blob"), BytesBody(b"content"))
    for name in ("one", "two", "three"):
        (root / "a" / "b" / name).symlink_to("..")
        (root / "a" / name).symlink_to("b")
        (root / "a" / f"{name}-self").symlink_to(".")
        (root / "a" / f"{name}-top").symlink_to("..")
    started = time.monotonic()
    found = listed(driver)
    assert time.monotonic() - started < 5
    assert Key("a/b/blob") in found
    assert len(found) == len(set(found)) < 100
    assert list(driver.leftovers()) == []


# -- what else lies in folders ----------------------------------------------------------------------------------------


def test_special_files_are_absent(driver: DiskDriver, root: Path, monkeypatch: pytest.MonkeyPatch):
    (root / "000").mkdir()
    os.mkfifo(root / "000" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(root / "000")
        listener.bind("socket")
    names = ["fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(root / "000" / "device", 0o600 | 0o020000, os.makedev(1, 3))
        names.append("device")
    for name in names:
        for act in (driver.stat, driver.open):
            with pytest.raises(NotFound):
                act(Key(f"000/{name}"))
        driver.delete(Key(f"000/{name}"))
        assert driver.occupied(Key(f"000/{name}"))
        with pytest.raises(AlreadyExists):
            driver.put(Key(f"000/{name}"), BytesBody(b"x"), PutOptions(if_absent=True))
    assert listed(driver) == []


def test_names_that_are_no_keys_are_not_listed(driver: DiskDriver, root: Path):
    driver.put(KEY, BytesBody(b"x"))
    for name in (b"bad \xff bytes", b"new\nline", b"tab\t", b".holdfast.yml", b".holdfastfoo", b"esc\x1b[0m"):
        with open(os.path.join(os.fsencode(root), name), "wb") as stream:
            stream.write(b"x")
    assert listed(driver) == [KEY]
    assert list(driver.leftovers()) == []


def test_folders_apart_hold_no_blobs(root: Path):
    driver = DiskDriver("pool", root, apart=frozenset({"job_work", "a/temp"}))
    for name in ("job_work/000/1/x", "a/temp/y", "a/b", "a/temporary", "job_works"):
        Folder(root).write(name, b"x")
    (root / "job_work" / ".holdfast-0123456789abcdef.tmp").touch()
    assert listed(driver) == ["a/b", "a/temporary", "job_works"]
    assert list(driver.leftovers()) == []


# -- the medium -------------------------------------------------------------------------------------------------------


def test_a_vanished_mount_is_unavailable_and_nothing_is_written_below_it(root: Path, driver: DiskDriver):
    driver.put(KEY, BytesBody(b"x"))
    driver.mark("0a-first")
    away = root.with_name("away")
    root.rename(away)
    root.mkdir()
    for name, act in every_method(driver).items():
        with pytest.raises(Unavailable, match="is it mounted"):
            act()
        assert list(root.iterdir()) == [], name
    assert not driver.occupied(KEY)
    driver.prepare()
    assert driver.identity() is None
    assert list(root.iterdir()) == []
    root.rmdir()
    for act in every_method(driver).values():
        with pytest.raises(Unavailable):
            act()
    assert not root.exists()
    away.rename(root)
    assert read(driver, KEY) == b"x"
    driver.put(NEW, BytesBody(b"y"))


def test_a_folder_that_was_never_marked_and_is_gone(tmp_path: Path):
    driver = DiskDriver("pool", tmp_path / "not there")
    for name, act in every_method(driver).items():
        with pytest.raises(Unavailable, match="not there"):
            act()
        assert list(tmp_path.iterdir()) == [], name
    with pytest.raises(Unavailable):
        driver.identity()
    driver.prepare()
    assert (tmp_path / "not there").is_dir()
    driver.put(KEY, BytesBody(b"x"))
    deep = DiskDriver("pool", tmp_path / "a" / "b" / "c")
    deep.prepare()
    assert not (tmp_path / "a").exists(), "a mount point is not to be made up"


def test_another_disk_with_the_same_names_is_not_believed(root: Path, driver: DiskDriver, tmp_path: Path):
    driver.put(KEY, BytesBody(b"mine"))
    driver.mark("0a-first")
    assert read(driver, KEY) == b"mine"
    root.rename(tmp_path / "away")
    root.mkdir()
    other = DiskDriver("other", root)
    other.put(KEY, BytesBody(b"theirs"))
    other.mark("0b-second")
    before = Folder(root).names()
    for act in every_method(driver).values():
        with pytest.raises(Unavailable, match="another disk"):
            act()
    assert Folder(root).names() == before
    assert Folder(root).read(KEY) == b"theirs"
    (tmp_path / "stray").write_bytes(b"x")
    leftover = next(iter([*_leftover(root, other)]))
    with pytest.raises(Unavailable):
        driver.discard(leftover)


def test_another_disk_is_not_believed_though_its_mark_has_the_same_inode(root: Path, driver: DiskDriver):
    driver.put(KEY, BytesBody(b"mine"))
    driver.mark("0a-first")
    assert driver.stat(KEY).size_bytes == 4
    mark = root / MARK_NAME
    before = mark.stat()
    mark.write_bytes(b"0b-second\n")  # what two disks that were made alike look like: one number, another mark
    after = mark.stat()
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)
    for act in every_method(driver).values():
        with pytest.raises(Unavailable, match="another disk"):
            act()


def test_a_mark_that_cannot_be_read_is_unavailable(root: Path, driver: DiskDriver):
    driver.mark("0a-first")
    for damage in (b"", b"\xff\xfe", b"0b", os.urandom(4000)):
        (root / MARK_NAME).unlink()
        (root / MARK_NAME).write_bytes(damage)
        with pytest.raises(Unavailable):
            driver.stat(KEY)
    (root / MARK_NAME).unlink()
    (root / MARK_NAME).mkdir()
    with pytest.raises(Unavailable):
        driver.stat(KEY)


def test_a_real_disk_that_is_pulled_out(small_disk):
    disk = small_disk(16)
    driver = DiskDriver("pool", disk.folder)
    driver.put(KEY, BytesBody(b"x" * 1000))
    driver.mark("0a-first")
    reader = driver.open(KEY)
    disk.vanish()
    for act in every_method(driver).values():
        with pytest.raises(Unavailable):
            act()
    assert list(disk.folder.iterdir()) == []
    assert reader.read() == b"x" * 1000
    reader.close()
    disk.come_back()
    assert read(driver, KEY) == b"x" * 1000
    assert driver.usage().medium != DiskDriver("root", "/").usage().medium


def test_a_disk_that_vanishes_in_the_middle_of_a_put(small_disk):
    disk = small_disk(16)
    driver = DiskDriver("pool", disk.folder)
    driver.mark("0a-first")
    with pytest.raises((Unavailable, OutcomeUnknown)):
        driver.put(NEW, BytesBody(b"x"), PutOptions(on_staged=lambda _: disk.vanish()))
    assert list(disk.folder.iterdir()) == []
    disk.come_back()
    with pytest.raises(NotFound):
        driver.stat(NEW)
    driver.put(NEW, BytesBody(b"x"))


def test_a_full_disk_refuses_and_keeps_the_old(small_disk):
    disk = small_disk(16)
    driver, backdoor = DiskDriver("pool", disk.folder), Folder(disk.folder)
    driver.put(KEY, BytesBody(b"old" * 1000))
    driver.mark("0a-first")
    disk.fill(leave_bytes=100_000)
    before = backdoor.names()
    for key, options in ((KEY, PutOptions()), (NEW, PutOptions(if_absent=True)), (NEW, PutOptions(durable=False))):
        with pytest.raises(NoSpace) as caught:
            driver.put(key, BytesBody(os.urandom(1_000_000)), options)
        assert (caught.value.store, caught.value.key) == ("pool", key)
    assert read(driver, KEY) == b"old" * 1000
    assert backdoor.names() == before
    assert (driver.usage().free_bytes or 0) < 200_000
    driver.delete(KEY)
    disk.relieve()
    driver.put(KEY, BytesBody(b"new"))


def test_a_disk_without_names_left_refuses(small_disk):
    disk = small_disk(16, inodes=128)
    driver = DiskDriver("pool", disk.folder)
    driver.put(KEY, BytesBody(b"old"))
    disk.take_every_inode()
    with pytest.raises(NoSpace):
        driver.put(NEW, BytesBody(b"x"))
    assert read(driver, KEY) == b"old"


def test_a_read_only_disk_is_read(small_disk):
    disk = small_disk(16)
    driver, backdoor = DiskDriver("pool", disk.folder), Folder(disk.folder)
    driver.put(KEY, BytesBody(b"old"))
    driver.mark("0a-first")
    disk.become_read_only()
    before = backdoor.names()
    for act in (
        lambda: driver.put(KEY, BytesBody(b"new")),
        lambda: driver.put(NEW, BytesBody(b"new")),
        lambda: driver.delete(KEY),
        driver.probe,
    ):
        with pytest.raises(Denied, match="Read-only"):
            act()
    assert read(driver, KEY) == b"old"
    assert listed(driver) == [KEY]
    assert driver.usage().capacity_bytes
    assert list(driver.leftovers()) == []
    assert backdoor.names() == before
    fresh = DiskDriver("pool", disk.folder)
    fresh.mark("0a-first")
    disk.become_writable()
    driver.put(KEY, BytesBody(b"new"))


def test_an_aborted_disk_is_denied_or_unavailable_and_never_absent(small_disk):
    disk = small_disk(16, kind="ext4")
    driver = DiskDriver("pool", disk.folder)
    driver.put(KEY, BytesBody(b"old"))
    disk.abort()
    for act in (lambda: driver.put(NEW, BytesBody(b"x")), driver.probe, lambda: driver.sync([KEY] * 20)):
        with pytest.raises((Denied, Unavailable)):
            act()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else: run these tests as root")
def test_what_the_servers_user_may_not_do_is_denied():
    with open_to_all() as root:
        driver = DiskDriver("pool", root)
        driver.put(KEY, BytesBody(b"x"))
        driver.mark("0a-first")
        (root / KEY).chmod(0o600)
        closed = Key("closed/blob")
        driver.put(closed, BytesBody(b"x"))
        (root / "closed").chmod(0o700)

        def child(_: int) -> dict[str, str]:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            said = {}
            for name, act in {
                "stat": lambda: driver.stat(KEY).size_bytes,
                "open": lambda: driver.open(KEY),
                "put": lambda: driver.put(NEW, BytesBody(b"y")),
                "put over": lambda: driver.put(KEY, BytesBody(b"y")),
                "delete": lambda: driver.delete(KEY),
                "stat in a closed folder": lambda: driver.stat(closed),
                "open in a closed folder": lambda: driver.open(closed),
                "list": lambda: listed(driver),
                "probe": driver.probe,
            }.items():
                try:
                    act()
                    said[name] = "ok"
                except HoldfastError as error:
                    said[name] = type(error).__name__
            return said

        [said] = in_children(1, child)
        assert said.pop("stat") == "ok"
        assert set(said.values()) == {"Denied"}, said
        assert Folder(root).names() == {KEY, closed, MARK_NAME}


# -- unfinished pieces ------------------------------------------------------------------------------------------------

_DIES = """
import os, sys
from holdfast.blobs import BytesBody, PutOptions
from holdfast.drivers.disk import DiskDriver
from holdfast.keys import Key
driver = DiskDriver("pool", sys.argv[1])
driver.put(Key(sys.argv[2]), BytesBody(b"x" * 5000), PutOptions(on_staged=lambda stat: os.kill(os.getpid(), 9)))
"""


def test_a_killed_put_leaves_one_piece_that_is_named_and_taken_away(root: Path, driver: DiskDriver):
    driver.put(KEY, BytesBody(b"old"))
    for key in (KEY, NEW):
        killed = subprocess.run([sys.executable, "-c", _DIES, str(root), key], check=False)
        assert killed.returncode == -9
    assert read(driver, KEY) == b"old"
    assert listed(driver) == [KEY]
    pieces = list(driver.leftovers())
    assert [(piece.size_bytes, piece.in_use) for piece in pieces] == [(5000, False), (5000, False)]
    assert all(0 <= piece.age_s < 60 for piece in pieces)
    assert {piece.name for piece in pieces} == Folder(root).names() - {KEY}
    assert all(driver.discard(piece) for piece in pieces)
    assert all(driver.discard(piece) for piece in pieces), "it is gone: that was the wish"
    assert Folder(root).names() == {KEY}


def test_a_piece_that_is_being_written_is_left_alone(root: Path, driver: DiskDriver):
    looker = DiskDriver("pool", root)

    def look(_: object) -> None:
        [piece] = looker.leftovers()
        assert piece.in_use
        assert not looker.discard(piece)

        def child(_: int) -> list[bool]:
            [piece] = looker.leftovers()
            return [piece.in_use, looker.discard(piece)]

        assert in_children(1, child) == [[True, False]]

    driver.put(KEY, BytesBody(b"x"), PutOptions(on_staged=look))
    assert read(driver, KEY) == b"x"


def test_reaping_while_others_put_harms_nobody(root: Path, driver: DiskDriver):
    stop = threading.Event()

    def reap() -> None:
        reaper = DiskDriver("pool", root)
        while not stop.is_set():
            for piece in reaper.leftovers():
                reaper.discard(piece)

    reapers = [threading.Thread(target=reap) for _ in range(2)]
    for reaper in reapers:
        reaper.start()
    try:
        for turn in range(200):
            driver.put(Key(f"000/{turn}"), BytesBody(b"x" * turn), PutOptions(durable=False))
    finally:
        stop.set()
        for reaper in reapers:
            reaper.join()
    assert len(listed(driver)) == 200
    assert len(Folder(root).names()) == 200


def test_strange_files_are_no_pieces_of_ours(root: Path, driver: DiskDriver):
    for name in ("x.tmp", ".holdfast-x", "000/.hidden", ".holdfast-pool", "holdfast-1.tmp"):
        Folder(root).write(name, b"x")
    assert list(driver.leftovers()) == []


# -- files that are given away ----------------------------------------------------------------------------------------


def test_on_the_same_disk_it_is_renamed(driver: DiskDriver, root: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"content")
    number = source.stat().st_ino
    driver.put(NEW, FileBody(source, 7, consume=True))
    assert (root / NEW).stat().st_ino == number
    assert not source.exists()


def test_from_another_disk_it_is_copied_and_gone(small_disk, driver: DiskDriver, root: Path):
    disk = small_disk(16, kind="tmpfs")
    source = disk.folder / "source"
    source.write_bytes(b"content")
    stat = driver.put(NEW, FileBody(source, 7, consume=True))
    assert stat.checksum is not None
    assert Folder(root).read(NEW) == b"content"
    assert not source.exists()


def test_over_a_second_mount_of_the_same_disk_it_is_copied_and_gone(small_disk):
    """Two views of one file system have one device number, and still no rename between them."""
    disk = small_disk(16)
    source = disk._held / "source"
    source.write_bytes(b"content")
    driver = DiskDriver("pool", disk.folder)
    staged: list[object] = []
    driver.put(NEW, FileBody(source, 7, consume=True), PutOptions(on_staged=staged.append))
    assert read(driver, NEW) == b"content"
    assert not source.exists()
    assert len(staged) == 1


def test_a_checksum_that_is_known_is_believed_and_nothing_is_read(driver: DiskDriver, tmp_path: Path):
    source = tmp_path / "source"
    source.write_bytes(b"content")
    stat = driver.put(NEW, FileBody(source, 7, consume=True, checksum="blake3:known"))
    assert stat.checksum == "blake3:known"


def test_what_was_given_away_can_be_read_by_those_who_can_read_the_others(
    driver: DiskDriver, root: Path, tmp_path: Path
):
    source = tmp_path / "source"
    source.write_bytes(b"content")
    source.chmod(0o600)
    driver.put(KEY, BytesBody(b"x"))
    driver.put(NEW, FileBody(source, 7, consume=True))
    assert (root / NEW).stat().st_mode == (root / KEY).stat().st_mode


def test_a_link_that_is_given_away_is_not_taken(driver: DiskDriver, root: Path, tmp_path: Path):
    (tmp_path / "real").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    driver.put(NEW, FileBody(tmp_path / "link", 7, consume=True))
    assert Folder(root).read(NEW) == b"content"
    assert not (root / NEW).is_symlink()
    assert (tmp_path / "real").read_bytes() == b"content"


# -- effects ----------------------------------------------------------------------------------------------------------


def test_a_batch_costs_one_sync(root: Path):
    files = FailingFiles(SystemFiles(), at=None)
    driver = DiskDriver("pool", root, files=files)
    keys = [Key(f"000/{number}") for number in range(100)]
    for key in keys:
        driver.put(key, BytesBody(b"x"), PutOptions(durable=False))
    driver.sync(keys)
    assert [name for name in files.names if name.startswith("sync")] == ["sync_all"]


def test_a_single_put_syncs_its_bytes_and_its_name(root: Path):
    files = FailingFiles(SystemFiles(), at=None)
    driver = DiskDriver("pool", root, files=files)
    driver.put(Key("000/first"), BytesBody(b"x"))
    files.names.clear()
    driver.put(Key("000/second"), BytesBody(b"x"))
    assert files.names == ["create", "write", "sync", "replace", "sync_folder", "close"]


def test_replacing_by_version_is_one_step(root: Path):
    """Also when the disk is slow between the look and the rename, and the others are other processes."""

    class Slow(SystemFiles):
        def replace(self, source: str, target: str) -> None:
            time.sleep(0.05)
            super().replace(source, target)

    driver = DiskDriver("pool", root, files=Slow())
    version = driver.put(KEY, BytesBody(b"old")).version

    def child(number: int) -> bool:
        try:
            driver.put(KEY, BytesBody(b"new" * number), PutOptions(if_version=version, durable=False))
        except PreconditionFailed:
            return False
        return True

    assert sum(in_children(6, child)) == 1


def test_building_touches_nothing(tmp_path: Path):
    DiskDriver("pool", tmp_path / "nowhere").expect("0a-first")
    assert list(tmp_path.iterdir()) == []


def test_the_systems_errors_become_ours(root: Path):
    class Broken(SystemFiles):
        code = errno.EIO

        def create(self, path: str, mode: int) -> int:
            raise OSError(self.code, os.strerror(self.code), path)

    files = Broken()
    driver = DiskDriver("pool", root, files=files)
    for code, expected in {
        errno.EIO: Unavailable,
        errno.ESTALE: Unavailable,
        errno.ENOSPC: NoSpace,
        errno.EDQUOT: NoSpace,
        errno.EFBIG: NoSpace,
        errno.EROFS: Denied,
        errno.EACCES: Denied,
        errno.EPERM: Denied,
        errno.ENAMETOOLONG: InvalidKey,
        errno.EMFILE: Unavailable,
        errno.ETIMEDOUT: Unavailable,
    }.items():
        files.code = code
        with pytest.raises(expected) as caught:
            driver.put(KEY, BytesBody(b"x"))
        assert (caught.value.store, caught.value.key, caught.value.operation) == ("pool", KEY, "put")
        assert os.strerror(code) in str(caught.value)
        assert caught.value.retryable == (expected is Unavailable)


def test_a_once_body_is_opened_once(driver: DiskDriver):
    body = StreamBody(open("/dev/zero", "rb", buffering=0), None)  # noqa: SIM115 - the put ends it
    stop = Conflict("enough")

    def enough(done_bytes: int) -> None:
        if done_bytes > 3_000_000:
            raise stop

    with pytest.raises(Conflict) as caught:
        driver.put(KEY, body, PutOptions(on_progress=enough))
    assert caught.value is stop
    with pytest.raises(OSError, match="read already"):
        body.open()


def _leftover(root: Path, driver: DiskDriver) -> Iterator[object]:
    Folder(root).write(".holdfast-0123456789abcdef.tmp", b"x")
    yield from driver.leftovers()
