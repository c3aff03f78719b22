"""`LossyFiles` keeps what was synced, and of the rest anything that a file system may keep."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.testing.failing import Killed
from holdfast.testing.lossy import LossyFiles

SEEDS = range(60)
LONG = bytes(range(1, 251)) * 100  # 25,000 bytes without a zero


def test_a_synced_file_in_a_synced_folder_always_survives(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        _put(files, root / "a", LONG)
        files.sync_folder(str(root))

    assert _outcomes(tmp_path, work) == {(("a", LONG),)}


def test_a_synced_file_in_a_folder_that_is_not_may_lose_its_name_but_no_byte(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        _put(files, root / "a", LONG)

    assert _outcomes(tmp_path, work) == {(), (("a", LONG),)}


def test_content_that_was_not_synced_may_be_empty_cut_holed_or_whole(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        _put(files, root / "a", LONG, sync=False)
        files.sync_folder(str(root))

    contents = {dict(tree)["a"] for tree in _outcomes(tmp_path, work)}
    assert {b"", LONG} <= contents
    assert any(0 < len(content) < len(LONG) for content in contents)
    assert any(len(content) == len(LONG) and 0 in content for content in contents)
    assert all(a in (0, b) for content in contents for a, b in zip(content, LONG, strict=False))


def test_what_was_written_after_a_sync_is_at_risk_and_what_was_before_is_not(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        fd = files.create(str(root / "a"), 0o600)
        files.write(fd, b"firm")
        files.sync(fd)
        files.write(fd, b"loose")
        files.close(fd)
        files.sync_folder(str(root))

    contents = {dict(tree)["a"] for tree in _outcomes(tmp_path, work)}
    assert all(content.startswith(b"firm") for content in contents)
    assert {b"firm", b"firmloose"} <= contents


@pytest.mark.parametrize("synced", [True, False])
def test_a_replace_leaves_the_old_or_the_new_name(tmp_path: Path, synced: bool) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        (root / "a").write_bytes(b"old")
        _put(files, root / "a.new", LONG, sync=synced)
        files.replace(str(root / "a.new"), str(root / "a"))

    trees = [dict(tree) for tree in _outcomes(tmp_path, work)]
    contents = {tree["a"] for tree in trees}  # a KeyError here: neither old nor new
    assert {b"old", LONG} <= contents
    if synced:
        assert contents == {b"old", LONG}
        assert {tree.get("a.new") for tree in trees if tree["a"] == LONG} == {None}
    else:
        assert b"" in contents, "an unsynced rename has to lose content for some seed"


def test_a_replace_and_a_synced_folder_is_the_new_one(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        (root / "a").write_bytes(b"old")
        _put(files, root / "a.new", LONG)
        files.replace(str(root / "a.new"), str(root / "a"))
        files.sync_folder(str(root))

    assert _outcomes(tmp_path, work) == {(("a", LONG),)}


def test_a_removed_file_may_come_back_whole_until_its_folder_is_synced(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        (root / "a").write_bytes(LONG)
        files.unlink(str(root / "a"))

    def work_and_sync(files: LossyFiles, root: Path) -> None:
        work(files, root)
        files.sync_folder(str(root))

    assert _outcomes(tmp_path / "loose", work) == {(), (("a", LONG),)}
    assert _outcomes(tmp_path / "firm", work_and_sync) == {()}


def test_one_sync_of_everything_makes_everything_durable(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        files.make_folder(str(root / "000"), 0o755)
        for name in ("a", "b"):
            _put(files, root / "000" / name, LONG, sync=False)
        fd = os.open(root, os.O_RDONLY)
        files.sync_all(fd)
        os.close(fd)

    assert _outcomes(tmp_path, work) == {(("000/a", LONG), ("000/b", LONG))}


def test_a_new_folder_needs_its_parent_synced(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        files.make_folder(str(root / "000"), 0o755)
        _put(files, root / "000" / "a", LONG)
        files.sync_folder(str(root / "000"))

    def work_and_sync(files: LossyFiles, root: Path) -> None:
        work(files, root)
        files.sync_folder(str(root))

    assert _outcomes(tmp_path / "loose", work) == {(), (("000/a", LONG),)}
    assert _outcomes(tmp_path / "firm", work_and_sync) == {(("000/a", LONG),)}


@pytest.mark.parametrize("synced", ["source", "target", "neither"])
def test_a_rename_to_another_folder_never_loses_the_file(tmp_path: Path, synced: str) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        for name in ("source", "target"):
            (root / name).mkdir()
        (root / "source" / "a").write_bytes(LONG)
        files.rename_new(str(root / "source" / "a"), str(root / "target" / "a"))
        if synced != "neither":
            files.sync_folder(str(root / synced))

    trees = [dict(tree) for tree in _outcomes(tmp_path, work)]
    assert all(set(tree.values()) == {LONG} for tree in trees)
    if synced == "neither":
        assert {"source/a"} in [tree.keys() for tree in trees]
    else:
        assert all("target/a" in tree for tree in trees)


def test_a_folder_may_move_back_with_all_that_is_in_it(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        (root / "old" / "deep").mkdir(parents=True)
        (root / "old" / "deep" / "a").write_bytes(LONG)
        files.rename_new(str(root / "old"), str(root / "new"))

    assert _outcomes(tmp_path, work) == {(("old/deep/a", LONG),), (("new/deep/a", LONG),)}


def test_hard_links_stay_links_of_one_file(tmp_path: Path) -> None:
    for seed in SEEDS:
        root = tmp_path / str(seed)
        root.mkdir()
        files = LossyFiles(root)
        _put(files, root / "a", LONG, sync=False)
        files.link(str(root / "a"), str(root / "b"))
        files.sync_folder(str(root))
        files.crash(seed)
        assert os.path.samefile(root / "a", root / "b")


def test_renaming_one_name_of_a_file_to_another_changes_nothing(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        _put(files, root / "a", LONG)
        files.link(str(root / "a"), str(root / "b"))
        files.replace(str(root / "a"), str(root / "b"))

    assert (("a", LONG), ("b", LONG)) in _outcomes(tmp_path / "loose", work)
    assert () in _outcomes(tmp_path / "loose again", work)


def test_a_name_taken_again_is_never_the_one_before_a_sync(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        (root / "other").mkdir()
        _put(files, root / "a", b"first")
        files.rename_new(str(root / "a"), str(root / "other" / "a"))
        _put(files, root / "a", b"second")
        files.replace(str(root / "a"), str(root / "other" / "a"))
        files.sync_folder(str(root))

    assert _outcomes(tmp_path, work) == {(("other/a", b"second"),)}


def test_what_came_by_other_ways_stays(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        (root / "catalog.sqlite").write_bytes(b"database")
        files.make_folder(str(root / "000"), 0o755)

    assert {dict(tree)["catalog.sqlite"] for tree in _outcomes(tmp_path, work)} == {b"database"}


def test_the_same_seed_is_the_same_crash(tmp_path: Path) -> None:
    def work(files: LossyFiles, root: Path) -> None:
        for number in range(10):
            _put(files, root / f"{number}", LONG, sync=number % 3 == 0)

    first, again = (_trees(tmp_path / name, work) for name in ("first", "again"))
    assert first == again
    assert len(set(first)) > 10


def test_after_the_crash_nothing_happens_any_more(tmp_path: Path) -> None:
    files = LossyFiles(tmp_path)
    fd = files.create(str(tmp_path / "a"), 0o600)
    files.crash(0)
    for effect in (
        lambda: files.create(str(tmp_path / "b"), 0o600),
        lambda: files.write(fd, b"late"),
        lambda: files.close(fd),
        lambda: files.unlink(str(tmp_path / "a")),
    ):
        with pytest.raises(Killed):
            effect()
    assert not (tmp_path / "b").exists()


def test_it_tells_what_was_lost(tmp_path: Path) -> None:
    told = set()
    for seed in SEEDS:
        root = tmp_path / str(seed)
        root.mkdir()
        files = LossyFiles(root)
        _put(files, root / "a", LONG, sync=False)
        told.update(files.crash(seed))
    assert "names: +a" in told
    assert any("content of" in line for line in told)


NAMES = st.sampled_from(["a", "b", "000/a", "000/b", "001/a"])
EFFECTS = st.one_of(
    st.tuples(st.just("put"), NAMES),
    st.tuples(st.sampled_from(["replace", "link", "rename_new"]), NAMES, NAMES),
    st.tuples(st.just("unlink"), NAMES),
    st.tuples(st.sampled_from(["make_folder", "remove_folder", "sync_folder"]), st.sampled_from(["000", "001"])),
    st.tuples(st.just("sync_root")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(effects=st.lists(EFFECTS, max_size=25), seed=st.integers(0, 2**32), everything=st.booleans())
def test_any_work_ends_in_files_that_somebody_wrote(
    tmp_path_factory: pytest.TempPathFactory, effects: list[tuple[str, ...]], seed: int, everything: bool
) -> None:
    root = tmp_path_factory.mktemp("any")
    files = LossyFiles(root)
    written = set()
    for number, (name, *given_names) in enumerate(effects):
        paths = [str(root / given_name) for given_name in given_names]
        try:
            if name == "put":
                content = b"%d" % number * 2000
                _put(files, Path(paths[0]), content)
                written.add(content)
            elif name == "sync_root":
                files.sync_folder(str(root))
            elif name == "make_folder":
                files.make_folder(paths[0], 0o755)
            else:
                getattr(files, name)(*paths)
        except OSError:
            pass  # what the real file system refuses did not happen
    before = _tree(root)
    if everything:
        fd = os.open(root, os.O_RDONLY)
        files.sync_all(fd)
        os.close(fd)
    files.crash(seed)
    after = _tree(root)
    assert {content for _, content in after} <= written, "all content was synced, so none may be damaged"
    if everything:
        assert after == before


Work = Callable[[LossyFiles, Path], None]
Tree = tuple[tuple[str, bytes], ...]


def _put(files: LossyFiles, path: Path, content: bytes, *, sync: bool = True) -> None:
    fd = files.create(str(path), 0o600)
    files.write(fd, content)
    if sync:
        files.sync(fd)
    files.close(fd)


def _outcomes(room: Path, work: Work) -> set[Tree]:
    """Every state that some seed leaves."""
    return set(_trees(room, work))


def _trees(room: Path, work: Work) -> list[Tree]:
    trees = []
    for seed in SEEDS:
        root = room / str(seed)
        root.mkdir(parents=True)
        files = LossyFiles(root)
        work(files, root)
        files.crash(seed)
        trees.append(_tree(root))
    return trees


def _tree(root: Path) -> Tree:
    return tuple(sorted(_files(root)))


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in root.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(root)), path.read_bytes()
