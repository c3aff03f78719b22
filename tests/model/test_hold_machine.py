"""Random histories of a hold against a model in memory; after every step the folders and counters are audited.

Pools are small, change their state, vanish and come back; the hold is closed and opened with the same folders in
another order. What the hold refuses, the model has to refuse for the same reason.
"""

from __future__ import annotations

import io
import itertools
import random
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.unit.hold_kit import audit, lay, make_hold, root_of

from holdfast.blobs import ByteRange, StreamBody
from holdfast.errors import (
    Conflict,
    Corrupt,
    Denied,
    HoldfastError,
    NoSpace,
    NotFound,
    Unavailable,
)
from holdfast.hold import Hold, PutItem
from holdfast.layout import primary_key

POOLS: dict[str, dict[str, Any]] = {
    "a": {"capacity_bytes": 3000, "weight": 2},
    "b": {"capacity_bytes": 6000, "weight": 1},
    "c": {"capacity_bytes": 60000, "weight": 1},
}
SIZES = st.integers(0, 900)


def content_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


class HoldMachine(RuleBasedStateMachine):
    """The model: what each dataset holds, where it is, in which state; and which pools answer."""

    room: ClassVar[Path]
    numbers: ClassVar[Any]

    @initialize(kind=st.sampled_from(["hierarchical", "distributed"]))
    def start(self, kind: str) -> None:
        self.folder = type(self).room / str(next(type(self).numbers))
        self.folder.mkdir()
        self.kind = kind
        self.hold: Hold = make_hold(self.folder, POOLS, kind=kind)
        self.content: dict[int, bytes] = {}
        self.extras: dict[int, dict[str, bytes]] = {}
        self.where: dict[int, str] = {}
        self.state: dict[int, str] = {}
        self.damaged: set[int] = set()
        self.unrecorded: dict[int, tuple[str, bytes]] = {}
        self.pool_state = dict.fromkeys(POOLS, "active")
        self.gone: set[str] = set()
        self.seeds = itertools.count()
        self.next_laid = 5000

    def teardown(self) -> None:
        if hasattr(self, "hold"):
            self.hold.close()
            shutil.rmtree(self.folder)

    # -- bytes in -----------------------------------------------------------------------------------------------

    @rule(size=SIZES, pool=st.sampled_from([None, *POOLS]), way=st.sampled_from(["bytes", "stream", "extra files"]))
    def put(self, size: int, pool: str | None, way: str) -> None:
        content = content_of(next(self.seeds), size)
        extras = {"sub/x": content[:7], "y": b""} if way == "extra files" else {}
        folder = self.folder / "extra"
        for name, extra in extras.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(extra)
        source: Any = StreamBody(io.BytesIO(content), size) if way == "stream" else content
        takers = self._takers(size + sum(map(len, extras.values())), pool)
        try:
            dataset = self.hold.put(source, name="x", pool=pool, owner="u", extra_files=folder if extras else None)
        except Denied:
            assert pool is not None
            assert self.pool_state[pool] in ("read-only", "draining")
            return
        except (NoSpace, Unavailable):
            assert not takers
            return
        assert dataset.object_store_id in takers, "it was stored where there was no room"
        assert pool in (None, dataset.object_store_id)
        assert dataset.id not in self.state
        assert dataset.id not in self.unrecorded
        self._stored(dataset.id, dataset.object_store_id, content, extras)

    @rule(sizes=st.lists(SIZES, min_size=2, max_size=5), bad=st.booleans())
    def put_many(self, sizes: list[int], bad: bool) -> None:
        contents = [content_of(next(self.seeds), size) for size in sizes]
        items = [PutItem(content, name=str(at)) for at, content in enumerate(contents)]
        if bad:
            items[-1] = PutItem(contents[-1], name="bad", digest="blake3:00")
        stored: list[Any] = []
        try:
            self.hold.put_many(items, on_stored=stored.append)
        except HoldfastError:
            assert len(stored) < len(items)
        else:
            assert not bad
            assert len(stored) == len(items)
        for dataset, content in zip(stored, contents, strict=False):
            self._stored(dataset.id, dataset.object_store_id, content, {})

    @precondition(lambda self: self.state)
    @rule(data=st.data(), size=SIZES)
    def replace(self, data: st.DataObject, size: int) -> None:
        which = data.draw(st.sampled_from(sorted(self.state)))
        content = content_of(next(self.seeds), size)
        try:
            self.hold.replace(which, content)
        except NoSpace:
            return
        except Conflict:
            assert self.state[which] not in ("ok", "error")
            return
        except (Unavailable, NotFound):
            assert self._unusable(self.where[which]) or self.state[which] not in ("ok", "error")
            return
        assert self.state[which] in ("ok", "error")
        assert not self._unusable(self.where[which])
        self.content[which] = content
        self.damaged.discard(which)
        self.state[which] = "ok"

    # -- what becomes of them -----------------------------------------------------------------------------------

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.state)))
        self.hold.remove(which)
        if self.state[which] in ("ok", "error"):
            self.state[which] = "deleted"

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.state)))
        try:
            now = self.hold.restore(which)
        except Conflict:
            assert self.state[which] == "purged"
            return
        assert now.state in ("ok", "error")
        self.state[which] = now.state

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.state)))
        purged = self.hold.remove(which, purge=True)
        assert purged.state == "purged"
        if not self._unusable(self.where[which], writing=False):
            assert purged.replicas[0].state == "gone"
        self.state[which] = "purged"

    @rule()
    def finish_purges(self) -> None:
        for which, state in self.state.items():
            if state == "purged":
                self.hold.finish_purge(self.hold.find(which))

    # -- data that others lay there -----------------------------------------------------------------------------

    @precondition(lambda self: len(self.gone) < len(POOLS))
    @rule(data=st.data(), size=SIZES)
    def lay(self, data: st.DataObject, size: int) -> None:
        pool = data.draw(st.sampled_from([name for name in POOLS if name not in self.gone]))
        self.next_laid += data.draw(st.integers(1, 3))
        content = content_of(next(self.seeds), size)
        lay(self.hold, pool, primary_key("id", self.next_laid, ""), content)
        self.unrecorded[self.next_laid] = pool, content

    @precondition(lambda self: self.unrecorded)
    @rule(data=st.data())
    def find_unrecorded(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.unrecorded)))
        pool, content = self.unrecorded[which]
        try:
            found = self.hold.find(which)
        except Unavailable:
            assert pool in self.gone or self.pool_state[pool] == "offline"
            return
        assert found.object_store_id == pool
        del self.unrecorded[which]
        self._stored(which, pool, content, {})

    # -- bytes out ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.state)
    @rule(data=st.data(), start=st.integers(0, 1000), size=st.integers(0, 1000))
    def read(self, data: st.DataObject, start: int, size: int) -> None:
        which = data.draw(st.sampled_from(sorted(self.state)))
        try:
            with self.hold.open(which, range=ByteRange(start, start + size)) as stream:
                content = stream.read()
        except NotFound:
            assert self.state[which] in ("deleted", "purged")
        except Unavailable:
            assert self._unreadable(self.where[which])
        except Corrupt:
            assert which in self.damaged
        else:
            if which not in self.damaged:
                assert content == self.content[which][start : start + size]

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def export(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(self.state)))
        target = self.folder / "exported"
        target.write_bytes(b"as it was")
        try:
            self.hold.export(which, target)
        except NotFound:
            assert self.state[which] in ("deleted", "purged")
        except Unavailable:
            assert self._unreadable(self.where[which])
        except Corrupt:
            assert which in self.damaged
            self.state[which] = "error"
        else:
            assert which not in self.damaged
            assert target.read_bytes() == self.content[which]
            return
        assert target.read_bytes() == b"as it was"

    @precondition(lambda self: any(self.state[which] == "ok" for which in self.state))
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(sorted(one for one, state in self.state.items() if state == "ok")))
        dataset = self.hold.find(which)
        if self.where[which] in self.gone or not self.content[which] or dataset.checksum is None:
            return  # what was adopted and never read cannot be told from damage
        path = Path(self.hold.full_path(dataset) or "")
        path.write_bytes(bytes([self.content[which][0] ^ 1]) + self.content[which][1:])
        self.damaged.add(which)

    # -- pools and processes ------------------------------------------------------------------------------------

    @rule(pool=st.sampled_from(sorted(POOLS)), state=st.sampled_from(["active", "read-only", "draining", "offline"]))
    def set_state(self, pool: str, state: Any) -> None:
        self.hold.set_pool_state(pool, state)
        self.pool_state[pool] = state

    @rule(pool=st.sampled_from(sorted(POOLS)))
    def vanish_or_come_back(self, pool: str) -> None:
        root = root_of(self.hold, pool)
        away = root.with_name(root.name + "-away")
        if pool in self.gone:
            assert list(root.iterdir()) == [], "something was written below the bare folder"
            root.rmdir()
            away.rename(root)
            self.gone.discard(pool)
        else:
            root.rename(away)
            root.mkdir()
            self.gone.add(pool)

    @rule(other=st.booleans())
    def reopen(self, other: bool) -> None:
        self.hold.close()
        if other:
            self.kind = "distributed" if self.kind == "hierarchical" else "hierarchical"
        self.hold = make_hold(self.folder, POOLS, kind=self.kind)

    # -- what holds ---------------------------------------------------------------------------------------------

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        if not hasattr(self, "hold"):
            return
        for pool in self.gone:
            root = root_of(self.hold, pool)
            assert list(root.iterdir()) == []
            root.rmdir()
            root.with_name(root.name + "-away").rename(root)
        whole = {which: Path(self.hold.full_path(self.hold.find(which)) or "") for which in self.damaged
                 if self.state[which] != "purged"}  # fmt: skip
        broken = {which: path.read_bytes() for which, path in whole.items()}
        for which, path in whole.items():
            path.write_bytes(self.content[which])
        try:
            audit(self.hold, strangers={primary_key("id", which, "") for which in self.unrecorded})
        finally:
            for which, path in whole.items():
                path.write_bytes(broken[which])
            for pool in self.gone:
                root = root_of(self.hold, pool)
                root.rename(root.with_name(root.name + "-away"))
                root.mkdir()

    @invariant()
    def the_catalog_says_what_the_model_says(self) -> None:
        if not hasattr(self, "hold"):
            return
        for which, state in self.state.items():
            dataset = self.hold.catalog.datasets.find(which)
            assert dataset is not None
            assert (dataset.state, dataset.size_bytes) == (state, len(self.content[which]))
            assert dataset.object_store_id == self.where[which]
        for pool, facts in POOLS.items():
            row = self.hold.catalog.pools.find(pool)
            assert row.reserved_bytes == 0
            assert row.state == self.pool_state[pool]
            laid = sum(len(self.content[which]) for which in self.state if which >= 5000 and self.where[which] == pool)
            assert row.used_bytes <= max(facts["capacity_bytes"] + laid, 0)

    # -- the model's own ----------------------------------------------------------------------------------------

    def _stored(self, which: int, pool: str | None, content: bytes, extras: dict[str, bytes]) -> None:
        self.content[which], self.extras[which] = content, extras
        self.where[which], self.state[which] = pool or "", "ok"

    def _takers(self, size: int, pool: str | None) -> list[str]:
        """The pools that have room for it now."""
        return [
            name
            for name, facts in POOLS.items()
            if pool in (None, name)
            and not self._unusable(name)
            and self.hold.catalog.pools.find(name).used_bytes + size <= facts["capacity_bytes"]
        ]

    def _unusable(self, pool: str, *, writing: bool = True) -> bool:
        states = ("active",) if writing else ("active", "draining")
        return pool in self.gone or self.pool_state[pool] not in states

    def _unreadable(self, pool: str) -> bool:
        return pool in self.gone or self.pool_state[pool] == "offline"


@pytest.mark.timeout(600)  # a history that fails is made shorter, for minutes
def test_random_histories(tmp_path: Path):
    machine = type("Machine", (HoldMachine,), {"room": tmp_path, "numbers": itertools.count()})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
