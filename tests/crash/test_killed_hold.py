"""A hold killed at every effect of everything it does, and at random moments.

Effects are those on files and the steps of the catalog's transactions. A forked child does the work and says what
was acknowledged; it is killed by SIGKILL in front of its n-th effect, for every n. Then: what was acknowledged is
there, byte for byte; what was not is old, new or absent, and whole; after `reap` nothing lies about, no room is
reserved, and every counter is right.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.catalog_kit import execute, rows_of
from tests.unit.hold_kit import audit, lay, make_hold

from holdfast.catalog.database import Database
from holdfast.drivers.disk import MARK_NAME
from holdfast.errors import Conflict, HoldfastError, NotFound
from holdfast.hold import Hold, PutItem
from holdfast.operations.reap import recover
from holdfast.operations.runner import Operations
from holdfast.seams import SystemFiles
from holdfast.testing.failing import FailingFiles

EFFECTS_MAX = 400
ROUNDS = 20


class Countdown:
    """Kills this process in front of its n-th effect; 0 never."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def tick(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyFiles(FailingFiles):
    """The machine's files; each effect ticks."""

    def __init__(self, countdown: Countdown) -> None:
        super().__init__(SystemFiles(), at=None)
        self.countdown = countdown

    def _before(self, number: int) -> None:
        self.countdown.tick()


def deadly_catalog(countdown: Countdown) -> None:
    """In this process, transactions tick before they begin, before they are committed, and after."""
    inner = Database.write

    @contextlib.contextmanager
    def write(self: Database) -> Iterator[Any]:
        countdown.tick()
        with inner(self) as cursor:
            yield cursor
            countdown.tick()
        countdown.tick()

    Database.write = write  # type: ignore[method-assign]


Say = Callable[..., None]
Work = Callable[[Hold, Path, Say], None]


def killed_at(at: int, folder: Path, work: Work, **options: Any) -> tuple[list[dict[str, Any]], bool]:
    """What a child said that does the work and is killed at that effect, and whether it was."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            countdown = Countdown(at)
            deadly_catalog(countdown)
            hold = make_hold(folder, files=DeadlyFiles(countdown), **options)
            work(hold, folder, lambda **said: os.write(writer, json.dumps(said).encode() + b"\n") and None)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as stream:
        lines = [json.loads(line) for line in stream.read().splitlines()]
    _, status = os.waitpid(child, 0)
    was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert was_killed or status == 0, f"it failed by itself at {at}"
    return lines, was_killed


def reap(hold: Hold) -> None:
    """What an administrator does after a crash, with no grace."""
    operations = Operations(hold)
    row = operations.run(operations.submit("reap", {"grace_s": 0}).id)
    assert row.state == "done"
    assert operations.to_json(row)["failures"] == []


def read(hold: Hold, dataset: int) -> bytes:
    with hold.open(dataset) as stream:
        return stream.read()


def nothing_left(hold: Hold) -> None:
    """After reap: no intent, no room reserved, no piece, no stray file, no retired replica; counters right."""
    url = hold.catalog.db.url
    assert rows_of(url, "SELECT count(*) FROM reservation") == [(0,)]
    assert rows_of(url, "SELECT count(*) FROM dataset WHERE state = 'new'") == [(0,)]
    assert rows_of(url, "SELECT count(*) FROM replica WHERE state IN ('writing', 'retiring')") == [(0,)]
    assert [info.reserved_bytes for info in hold.pools()] == [0, 0]
    audit(hold)
    hold.put(b"goes on", name="x")


# -- what is done -----------------------------------------------------------------------------------------------------


def put(hold: Hold, folder: Path, say: Say) -> None:
    (folder / "extra" / "sub").mkdir(parents=True)
    (folder / "extra" / "sub" / "x").write_bytes(b"extra")
    say(done=hold.put(b"plain", name="x", owner="alice").id, content="plain")
    say(done=hold.put(b"extra", name="x", extra_files=folder / "extra").id, content="extra")
    source = folder / "given"
    source.write_bytes(b"given")
    say(done=hold.adopt_file(source, name="x").id, content="given")


def put_many(hold: Hold, folder: Path, say: Say) -> None:
    stored = hold.put_many(PutItem(b"%d" % at, name=str(at)) for at in range(10))
    for at, dataset in enumerate(stored):
        say(done=dataset.id, content=str(at))


def replace(hold: Hold, folder: Path, say: Say) -> None:
    hold.replace(1, b"newer")
    say(done=1, content="newer")


def purge(hold: Hold, folder: Path, say: Say) -> None:
    hold.remove(1, purge=True)
    say(purged=1)


def adopt(hold: Hold, folder: Path, say: Say) -> None:
    for dataset_id in (5000, 5001):
        hold.find(dataset_id)
        say(done=dataset_id, content=f"laid {dataset_id}")


@pytest.mark.parametrize("work", [put, put_many, replace, purge, adopt])
def test_killed_at_every_effect(tmp_path: Path, work: Work):
    for at in range(1, EFFECTS_MAX):
        room = tmp_path / str(at)
        room.mkdir()
        with make_hold(room, kind="distributed") as hold:
            hold.put(b"older", name="old", owner="alice")
            for dataset_id in (5000, 5001):
                lay(hold, "b", f"005/dataset_{dataset_id}.dat", b"laid %d" % dataset_id)
        said, was_killed = killed_at(at, room, work, kind="distributed")
        with make_hold(room, kind="distributed") as hold:
            acknowledged = {line["done"]: line["content"].encode() for line in said if "done" in line}
            for dataset_id, content in acknowledged.items():
                assert read(hold, dataset_id) == content, at
            _whole_whatever_happened(hold, work, acknowledged, [line["purged"] for line in said if "purged" in line])
            recover(hold)
            reap(hold)
            for dataset_id, content in acknowledged.items():
                assert read(hold, dataset_id) == content, at
            for dataset_id in (5000, 5001):
                assert read(hold, dataset_id) == b"laid %d" % dataset_id
            nothing_left(hold)
        if not was_killed:
            assert at > 5, "the work has effects"
            return
    raise AssertionError(f"more than {EFFECTS_MAX} effects")


def _whole_whatever_happened(hold: Hold, work: Work, acknowledged: dict[int, bytes], purged: list[int]) -> None:
    """Before anybody tidied up: everything that can be read is whole."""
    for which in range(1, 15):
        try:
            content = read(hold, which)
        except (NotFound, Conflict):
            assert which not in acknowledged
            assert which != 1 or work is purge, "a dataset that nobody touched"
            continue
        assert which not in purged
        assert content in (b"older", b"newer", b"plain", b"extra", b"given", *(b"%d" % at for at in range(10)))
        if which == 1 and work is not replace:
            assert content == b"older"


def test_killed_while_pools_are_made_known(tmp_path: Path):
    """Opening new pools: marking them, writing down who they are."""
    for at in range(1, EFFECTS_MAX):
        room = tmp_path / str(at)
        room.mkdir()
        _, was_killed = killed_at(at, room, lambda *_: None)
        with make_hold(room) as hold:
            marks = [(room / name / MARK_NAME).read_text().strip() for name in ("a", "b")]
            assert [hold.catalog.pools.find(name).identity for name in ("a", "b")] == marks
            assert hold.put(b"x", name="x").object_store_id == "a"
            assert hold.put(b"x", name="x", pool="b").object_store_id == "b"
            recover(hold)
            reap(hold)
            nothing_left(hold)
        if not was_killed:
            assert at > 8
            return
    raise AssertionError(f"more than {EFFECTS_MAX} effects")


def test_killed_while_tidying_up(tmp_path: Path):
    """Recovery and reap can be killed at any effect too, and done again."""
    for at in range(1, EFFECTS_MAX):
        room = tmp_path / str(at)
        room.mkdir()
        with make_hold(room) as hold:
            hold.put(b"older", name="old")
            hold.put(b"other", name="other")

        def die_in_a_put(own: Hold, folder: Path, say: Say) -> None:
            own.put(b"never", name="x", on_progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))

        def die_in_a_replace(own: Hold, folder: Path, say: Say) -> None:
            own.replace(1, b"newer", on_progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))

        def tidy_up(own: Hold, folder: Path, say: Say) -> None:
            with own.lease(2):
                own.remove(2, purge=True)
            recover(own)
            reap(own)

        for work in (die_in_a_put, die_in_a_replace):
            assert killed_at(0, room, work)[1]
        _, was_killed = killed_at(at, room, tidy_up)
        with make_hold(room) as hold:
            assert read(hold, 1) == b"older"
            recover(hold)
            reap(hold)
            assert read(hold, 1) == b"older"
            nothing_left(hold)
        if not was_killed:
            return
    raise AssertionError(f"more than {EFFECTS_MAX} effects")


# -- at random moments ------------------------------------------------------------------------------------------------


def at_random(hold: Hold, folder: Path, say: Say, seed: int) -> None:
    """Work for ever, saying what is begun and what is done."""
    chance = random.Random(seed)
    known: dict[int, bytes] = {}
    while True:
        content = chance.randbytes(chance.choice([0, 10, 5000, 300_000]))
        kind = chance.choice(["put", "put", "many", "replace", "remove", "purge", "find"])
        with contextlib.suppress(NotFound, Conflict):
            if kind == "put" or not known:
                which = hold.put(content, name="x", owner="alice").id
                known[which] = content
                say(done=which, content=content.hex())
            elif kind == "many":
                contents = [content + b"%d" % at for at in range(5)]
                for one, own in zip(hold.put_many([PutItem(c, name="x") for c in contents]), contents, strict=True):
                    known[one.id] = own
                    say(done=one.id, content=own.hex())
            else:
                which = chance.choice(sorted(known))
                say(begun=which, kind=kind, content=content.hex())
                if kind == "replace":
                    hold.replace(which, content)
                    known[which] = content
                elif kind == "remove":
                    hold.remove(which)
                    hold.restore(which)
                elif kind == "purge":
                    hold.remove(which, purge=True)
                    known.pop(which)
                else:
                    hold.find(which)
                say(ended=which, kind=kind, content=content.hex())


def test_killed_at_random_moments(tmp_path: Path):
    make_hold(tmp_path, kind="distributed").close()
    chance = random.Random(7)
    sure: dict[int, bytes | None] = {}
    for turn in range(ROUNDS):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                own = make_hold(tmp_path, kind="distributed")
                at_random(own, tmp_path, lambda w=writer, **said: os.write(w, json.dumps(said).encode() + b"\n"), turn)
            finally:
                os._exit(1)
        os.close(writer)
        time.sleep(0.15 + chance.random() * 0.25)
        os.kill(child, signal.SIGKILL)
        with open(reader, "rb") as stream:
            said = [json.loads(line) for line in stream.read().splitlines() if line.endswith(b"}")]
        os.waitpid(child, 0)
        unsure = _learn(said, sure)
        with make_hold(tmp_path, kind="distributed") as hold:
            _check(hold, sure, unsure)
            recover(hold)
            reap(hold)
            _check(hold, sure, unsure)
            for which in unsure:
                sure[which] = _read_or_none(hold, which)
            nothing_left(hold)
            scrub_and_reconcile_find_nothing(hold)
    assert len(sure) > ROUNDS // 2


def scrub_and_reconcile_find_nothing(hold: Hold) -> None:
    operations = Operations(hold)
    for kind in ("scrub", "reconcile"):
        row = operations.run(operations.submit(kind, {}).id)
        told = operations.to_json(row)
        assert (told["state"], told["failures"]) == ("done", [])
        assert "unknown" not in told["result"]
    audit(hold)


def _learn(said: list[dict[str, Any]], sure: dict[int, bytes | None]) -> dict[int, tuple[bytes | None, ...]]:
    """What is sure after all that was said; and of what was begun and not ended, what it may be."""
    unsure: dict[int, tuple[bytes | None, ...]] = {}
    for line in said:
        if "done" in line:
            sure[line["done"]] = bytes.fromhex(line["content"])
        elif "begun" in line:
            which, content = line["begun"], bytes.fromhex(line["content"])
            after = {"replace": content, "purge": None, "remove": None}.get(line["kind"], sure[which])
            unsure[which] = (sure[which], after)
        else:
            which = line["ended"]
            unsure.pop(which)
            if line["kind"] in ("replace", "purge"):
                sure[which] = bytes.fromhex(line["content"]) if line["kind"] == "replace" else None
    return unsure


def _check(hold: Hold, sure: dict[int, bytes | None], unsure: dict[int, tuple[bytes | None, ...]]) -> None:
    for which, content in sure.items():
        assert _read_or_none(hold, which) in unsure.get(which, (content,)), which


def _read_or_none(hold: Hold, which: int) -> bytes | None:
    try:
        return read(hold, which)
    except NotFound:
        return None


def test_two_that_recover_at_once(tmp_path: Path):
    make_hold(tmp_path).close()

    def die(own: Hold, folder: Path, say: Say) -> None:
        own.put(b"never", name="x", on_progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))

    for _ in range(3):
        killed_at(0, tmp_path, die)
    first, second = make_hold(tmp_path), make_hold(tmp_path)
    with first, second:
        assert recover(first) == 3
        assert recover(second) == 0
        reap(second)
        nothing_left(first)


def test_what_a_vanished_pool_holds_back_is_settled_when_it_is_back(tmp_path: Path):
    """A replace and a put died, and their pool does not answer: their room stays reserved, and is not forgotten."""
    with make_hold(tmp_path) as hold:
        hold.put(b"older", name="old")

    def die_in_a_put(own: Hold, folder: Path, say: Say) -> None:
        own.put(b"never", name="x", on_progress=lambda _: os.kill(os.getpid(), signal.SIGKILL))

    def die_in_a_replace(own: Hold, folder: Path, say: Say) -> None:
        stage = own.catalog.replaces.stage

        def stage_and_die(*given: Any) -> None:
            stage(*given)
            os.kill(os.getpid(), signal.SIGKILL)

        own.catalog.replaces.stage = stage_and_die  # type: ignore[method-assign]
        own.replace(1, b"newer")

    for work in (die_in_a_put, die_in_a_replace):
        assert killed_at(0, tmp_path, work)[1]
    (tmp_path / "a").rename(tmp_path / "away")
    with make_hold(tmp_path) as hold:
        recover(hold)
        with pytest.raises(HoldfastError):
            hold.replace(1, b"newest")
    (tmp_path / "a").rmdir()
    (tmp_path / "away").rename(tmp_path / "a")
    with make_hold(tmp_path) as hold:
        recover(hold)
        reap(hold)
        assert read(hold, 1) == b"older"
        assert hold.replace(1, b"newest").size_bytes == 6
        nothing_left(hold)


def test_a_write_that_was_silent_for_a_day_is_given_up(tmp_path: Path):
    """A thread of a living process failed while the catalog was away: it could not even say so."""
    with make_hold(tmp_path) as hold:
        hold.put(b"older", name="old")
        hold.catalog.replaces.begin(1, 100, "a")
        recover(hold)
        reap(hold)
        with pytest.raises(Conflict):
            hold.replace(1, b"newer")
        execute(hold.catalog.db.url, "UPDATE reservation SET touched_us = touched_us - 90000000000")
        reap(hold)
        assert hold.replace(1, b"newer").size_bytes == 5
        nothing_left(hold)
