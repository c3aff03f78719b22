"""`FailingFiles`, `DyingFiles`: every effect of a scenario fails once, or is the first that never happens."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from pathlib import Path

import pytest

from holdfast.seams import Files, SystemFiles
from holdfast.testing.failing import DyingFiles, FailingFiles, Killed
from holdfast.testing.lossy import LossyFiles

EFFECTS = ["create", "write", "sync", "close", "link", "rename_new", "replace", "unlink", "sync_folder"]


def test_each_effect_fails_once_and_only_once(tmp_path: Path) -> None:
    struck = []
    for at in itertools.count(1):
        root = _fresh(tmp_path, at)
        files = FailingFiles(SystemFiles(), at=at, error=OSError(errno.EIO, "the disk is broken"))
        try:
            _scenario(files, root)
        except OSError as error:
            struck.append((files.names[at - 1], error.errno))
        if not files.struck:
            break
    assert struck == [(name, errno.EIO) for name in EFFECTS]


def test_counting_alone_changes_nothing(tmp_path: Path) -> None:
    files = FailingFiles(SystemFiles(), at=None)
    _scenario(files, tmp_path)
    assert files.names == EFFECTS
    assert not files.struck
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_failed_effect_did_not_happen(tmp_path: Path) -> None:
    files = FailingFiles(SystemFiles(), at=1)
    with pytest.raises(OSError, match="Input/output error"):
        files.create(str(tmp_path / "a"), 0o600)
    assert not (tmp_path / "a").exists()
    os.close(files.create(str(tmp_path / "a"), 0o600))


def test_a_close_that_fails_has_closed(tmp_path: Path) -> None:
    files = FailingFiles(SystemFiles(), at=2)
    fd = files.create(str(tmp_path / "a"), 0o600)
    with pytest.raises(OSError, match="Input/output error"):
        files.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_disk_that_is_full_from_then_on_still_lets_one_tidy_up(tmp_path: Path) -> None:
    files = FailingFiles(SystemFiles(), at=None, full_from=2)
    fd = files.create(str(tmp_path / "a"), 0o600)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            files.write(fd, b"x")
    files.close(fd)
    files.unlink(str(tmp_path / "a"))
    assert list(tmp_path.iterdir()) == []


def test_a_dead_process_tidies_nothing_up(tmp_path: Path) -> None:
    seen = []
    for at in itertools.count(1):
        root = _fresh(tmp_path, at)
        files = DyingFiles(SystemFiles(), at=at)
        try:
            _scenario_that_tidies_up(files, root)
        except Killed:
            seen.append(sorted(path.name for path in root.iterdir()))
        if not files.struck:
            break
    assert seen == [[], ["a"], ["a"], ["a"], ["b"], ["b"]]


def test_the_locks_of_a_dead_process_are_gone(tmp_path: Path) -> None:
    files = DyingFiles(SystemFiles(), at=2)
    fd = files.create(str(tmp_path / "a"), 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(Killed):
        files.write(fd, b"never")
    with (tmp_path / "a").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_death_and_then_a_power_cut(tmp_path: Path) -> None:
    survived = set()
    for seed in range(40):
        root = _fresh(tmp_path, seed)
        lossy = LossyFiles(root)
        with pytest.raises(Killed):
            _scenario(DyingFiles(lossy, at=5), root)  # a is written, synced, closed; its folder is not
        lossy.crash(seed)
        survived.add(tuple((path.name, path.read_bytes()) for path in root.iterdir()))
    assert survived == {(), (("a", b"content"),)}


def _scenario(files: Files, root: Path) -> None:
    a, b, c = (str(root / name) for name in "abc")
    fd = files.create(a, 0o600)
    closed = False
    try:
        files.write(fd, b"content")
        files.sync(fd)
        closed = True
        files.close(fd)
    finally:
        if not closed and not isinstance(files, DyingFiles):
            os.close(fd)
    files.link(a, b)
    files.rename_new(b, c)
    files.replace(a, c)  # two names of one file: the system does nothing, and `a` stays
    files.unlink(a)
    files.sync_folder(str(root))


def _scenario_that_tidies_up(files: Files, root: Path) -> None:
    fd = files.create(str(root / "a"), 0o600)
    try:
        files.write(fd, b"content")
        files.close(fd)
        files.rename_new(str(root / "a"), str(root / "b"))
        files.sync_folder(str(root))
    finally:
        for name in "ab":
            if (root / name).exists():
                files.unlink(str(root / name))


def _fresh(tmp_path: Path, number: int) -> Path:
    root = tmp_path / str(number)
    root.mkdir()
    return root
