"""What the catalog has to do for moves, whatever database it lies on: begun, recorded, taken back, and everything that
may come in between. One suite, run on SQLite and on PostgreSQL.

A class that derives from `MovesContract` gives the fixture `url`, of an empty database that is the test's own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from tests.contract.catalog_kit import Placing, put, recount, register, rows_of, tree_of
from tests.contract.catalog_suite import ShiftedClock

from holdfast.catalog import migrate, schema
from holdfast.catalog.base import Dataset, ExtraFile, Finished, NewDataset, Prepared
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.database import Database
from holdfast.catalog.moves import MoveFinished, MovePrepared, MoveRefused, MoveWanted
from holdfast.errors import Conflict, SchemaMismatch
from holdfast.placement.policy import Request

THREE = {"a": 1, "b": 1, "c": 1}
NEW = "blake3:new"


class MovesContract:
    """Named tests; `url` comes from the class that derives from this one."""

    @pytest.fixture
    def clock(self) -> ShiftedClock:
        return ShiftedClock()

    @pytest.fixture
    def catalog(self, url: str, tmp_path: Path, clock: ShiftedClock) -> Iterator[Catalog]:
        catalog = Catalog.open(url, tmp_path, clock=clock)
        register(catalog, "a", "b", "c")
        yield catalog
        catalog.close()

    @pytest.fixture
    def placing(self) -> Placing:
        return Placing(tree_of("hierarchical", THREE))

    @pytest.fixture
    def one(self, catalog: Catalog, placing: Placing) -> int:
        return put(catalog, placing, 25, owner="alice").dataset_id

    # -- begin ----------------------------------------------------------------------------------------------------

    def test_begun_it_is_an_intent_with_its_room(self, catalog: Catalog, placing: Placing, url: str, one: int):
        before = _find(catalog, one)
        prepared = begin(catalog, placing, MoveWanted(one, "b"))
        assert (prepared.source.object_store_id, prepared.object_store_id, prepared.keep) == ("a", "b", False)
        now = _find(catalog, one)
        assert (now.state, now.object_store_id, now.checksum) == ("ok", "a", before.checksum)
        assert states(catalog, one) == {"a": "present", "b": "writing"}
        assert room(catalog, "b") == (0, 0, 25)
        assert [row.token for row in catalog.moves.unfinished(catalog.holders.own())] == [prepared.token]
        assert catalog.moves.unfinished("somebody else") == []
        catalog.moves.touch(prepared)
        recount(url)

    def test_what_cannot_begin_says_why_and_whether_later(self, catalog: Catalog, placing: Placing, url: str, one: int):
        said = {
            wanted: refused(catalog, placing, wanted)
            for wanted in (
                MoveWanted(999, "b"),
                MoveWanted(one, "a"),
                MoveWanted(one, "b", source="c"),
                MoveWanted(one, "nowhere"),
            )
        }
        assert [answer.code for answer in said.values()] == ["blocked", "done", "done", "blocked"]
        assert all(answer.why for answer in said.values())
        being_put = catalog.writes.begin([(NewDataset("x", 5), Request(5))], placing, placing)[0]
        assert refused(catalog, placing, MoveWanted(being_put.dataset_id, "b")).code == "later"
        replaced = catalog.replaces.begin(one, 5, "a")
        assert "replace" in refused(catalog, placing, MoveWanted(one, "b")).why
        assert refused(catalog, placing, MoveWanted(one, "b")).code == "later"
        catalog.replaces.abandon(replaced)
        catalog.fates.begin_purge(one, None)
        assert refused(catalog, placing, MoveWanted(one, "b")).code == "done"
        recount(url)

    def test_one_without_whole_bytes_is_named(self, catalog: Catalog, placing: Placing, url: str, one: int):
        catalog.fates.doubt(one, "a", "missing", "not there")
        answer = refused(catalog, placing, MoveWanted(one, "b"))
        assert answer.code == "blocked"
        assert "missing" in answer.why
        recount(url)

    def test_where_old_bytes_are_to_be_deleted_it_is_later(
        self, catalog: Catalog, placing: Placing, url: str, one: int
    ):
        move(catalog, placing, one, "b")
        answer = refused(catalog, placing, MoveWanted(one, "a"))
        assert (answer.code, "about to be deleted" in answer.why) == ("later", True)
        catalog.fates.replica_gone(one, "a")
        move(catalog, placing, one, "a")
        assert states(catalog, one) == {"a": "present", "b": "retiring"}
        recount(url)

    # -- commit ---------------------------------------------------------------------------------------------------

    def test_recorded_it_is_there_and_the_source_retires(self, catalog: Catalog, placing: Placing, url: str, one: int):
        prepared = begin(catalog, placing, MoveWanted(one, "b"))
        assert catalog.moves.commit([done(prepared)], actor="bob") == ["recorded"]
        now = _find(catalog, one)
        assert (now.object_store_id, now.state) == ("b", "ok")
        there = {replica.object_store_id: replica for replica in now.replicas}
        assert (there["b"].state, there["b"].version, there["b"].size_bytes) == ("present", "moved", 25)
        assert there["b"].verified_us is not None
        assert there["a"].state == "retiring"
        assert (room(catalog, "a"), room(catalog, "b")) == ((1, 25, 0), (1, 25, 0))
        newest = catalog.events.newest()[0]
        assert (newest.kind, newest.actor) == ("dataset.move", "bob")
        assert "moved from a" in now.placement[0].reason
        assert rows_of(url, "SELECT count(*) FROM moving") == [(0,)]
        recount(url)
        assert catalog.moves.commit([done(prepared)]) == ["lost"]
        assert not catalog.moves.abandon(one, "b", prepared.token)
        assert states(catalog, one) == {"a": "retiring", "b": "present"}
        recount(url)

    def test_kept_both_are_there(self, catalog: Catalog, placing: Placing, url: str, one: int):
        prepared = begin(catalog, placing, MoveWanted(one, "b", keep=True))
        assert catalog.moves.commit([done(prepared)]) == ["recorded"]
        assert states(catalog, one) == {"a": "present", "b": "present"}
        assert _find(catalog, one).object_store_id == "a"
        assert refused(catalog, placing, MoveWanted(one, "b", source="a")).code == "done"
        assert states(catalog, one) == {"a": "retiring", "b": "present"}
        assert _find(catalog, one).object_store_id == "b"
        recount(url)

    def test_a_link_keeps_the_date_of_the_last_proof(
        self, catalog: Catalog, placing: Placing, clock: ShiftedClock, one: int
    ):
        before = _find(catalog, one).replicas[0].verified_us
        clock.later_s = 3600
        catalog.moves.commit([done(begin(catalog, placing, MoveWanted(one, "b")), proved=False)])
        assert {one.verified_us for one in _find(catalog, one).replicas} == {before}

    def test_receipts_have_a_line_for_each_blob(self, catalog: Catalog, placing: Placing, url: str):
        own = catalog.writes.begin([(NewDataset("x", 13), Request(13))], placing, placing)[0]
        extra = ExtraFile("sub/index", 3, "blake3:extra")
        catalog.writes.commit([Finished(own, 10, "blake3:own", "v", (extra,))])
        for target, source in (("b", None), ("c", "b")):
            prepared = begin(catalog, placing, MoveWanted(own.dataset_id, target, source))
            assert prepared.extra_files == (extra,)
            catalog.moves.commit([done(prepared, extras=("blake3:extra",))], operation_id=7)
        lines = rows_of(url, "SELECT path, source, target, size_bytes, checksum, proved FROM receipt ORDER BY path")
        assert lines == [("", "b", "c", 10, "blake3:own", 1), ("sub/index", "b", "c", 3, "blake3:extra", 1)]
        recount(url)

    def test_removed_and_restored_meanwhile_it_moves_all_the_same(
        self, catalog: Catalog, placing: Placing, url: str, one: int
    ):
        for again in (False, True):
            prepared = begin(catalog, placing, MoveWanted(one, "c" if again else "b"))
            catalog.fates.remove(one, None)
            if again:
                catalog.fates.restore(one, None)
            assert catalog.moves.commit([done(prepared)]) == ["recorded"]
            assert _find(catalog, one).state == ("ok" if again else "deleted")
            recount(url)
            assert catalog.fates.restore(one, None).state == "ok"
        recount(url)

    def test_replaced_meanwhile_is_not_recorded(self, catalog: Catalog, placing: Placing, url: str, one: int):
        prepared = begin(catalog, placing, MoveWanted(one, "b"))
        replace(catalog, one, "a", 40)
        assert catalog.moves.commit([done(prepared)]) == ["changed"]
        assert states(catalog, one) == {"a": "present", "b": "writing"}
        assert catalog.moves.abandon(one, "b", prepared.token)
        assert (_find(catalog, one).checksum, room(catalog, "b")) == (NEW, (0, 0, 0))
        recount(url)

    def test_while_it_is_being_replaced_nothing_is_recorded(
        self, catalog: Catalog, placing: Placing, url: str, one: int
    ):
        """Or the source would retire, and `reap` would delete what the replace has just put there."""
        prepared = begin(catalog, placing, MoveWanted(one, "b"))
        replacing = catalog.replaces.begin(one, 40, "a")
        assert catalog.moves.commit([done(prepared)]) == ["changed"]
        assert states(catalog, one)["a"] == "present"
        catalog.replaces.stage(replacing, NEW, 40)
        catalog.replaces.commit(finished_by(replacing, 40), None)
        assert catalog.moves.commit([done(prepared)]) == ["changed"]
        assert catalog.moves.abandon(one, "b", prepared.token)
        assert (_find(catalog, one).checksum, states(catalog, one)) == (NEW, {"a": "present"})
        recount(url)

    def test_what_has_moved_is_not_replaced_where_it_was(self, catalog: Catalog, placing: Placing, url: str, one: int):
        """A replace that looked where the dataset is, and begins when that replica has retired."""
        move(catalog, placing, one, "b")
        with pytest.raises(Conflict, match="moved"):
            catalog.replaces.begin(one, 40, "a")
        catalog.fates.replica_gone(one, "a")
        with pytest.raises(Conflict, match="moved"):
            catalog.replaces.begin(one, 40, "a")
        with pytest.raises(Conflict, match="moved"):
            catalog.replaces.begin(one, 40, "c")
        replace(catalog, one, "b", 40)
        recount(url)

    def test_a_replace_retires_the_other_replicas_and_none_of_them_comes_back(
        self, catalog: Catalog, placing: Placing, url: str, one: int
    ):
        catalog.moves.commit([done(begin(catalog, placing, MoveWanted(one, "b", keep=True)))])
        move(catalog, placing, one, "c")  # a retires, b and c are whole
        replace(catalog, one, "b", 40)
        assert states(catalog, one) == {"a": "retiring", "b": "present", "c": "retiring"}
        assert _find(catalog, one).object_store_id == "b"
        catalog.fates.doubt(one, "b", "missing", "not there")
        for old in "ac":
            assert catalog.fates.last_look(one, old) == "delete", "it has the old bytes"
        recount(url)

    def test_the_last_look_before_a_replica_is_deleted(self, catalog: Catalog, placing: Placing, url: str, one: int):
        """Of two that reap, the slower one must not delete what has moved back meanwhile."""
        assert catalog.fates.last_look(one, "a") == "over"
        assert catalog.fates.last_look(one, "b") == "over"
        move(catalog, placing, one, "b")
        assert catalog.fates.last_look(one, "a") == "delete"
        catalog.fates.replica_gone(one, "a")
        move(catalog, placing, one, "a")
        assert catalog.fates.last_look(one, "a") == "over"
        catalog.fates.doubt(one, "a", "missing", "not there")
        assert catalog.fates.last_look(one, "b") == "keep"
        assert states(catalog, one) == {"a": "missing", "b": "present"}
        recount(url)
        catalog.fates.begin_purge(one, None)
        assert catalog.fates.last_look(one, "b") == "delete"
        recount(url)

    def test_whose_pool_does_not_answer_is_given_up_and_is_silent_at_once(
        self, catalog: Catalog, placing: Placing, clock: ShiftedClock, one: int
    ):
        begin(catalog, placing, MoveWanted(one, "b"))
        [found] = catalog.moves.unfinished(catalog.holders.own())
        assert catalog.moves.silent(clock.now_us() - 1_000_000) == []
        catalog.moves.give_up(found)
        assert catalog.moves.silent(clock.now_us() - 1_000_000) == [found]
        catalog.moves.confirm(found)
        taken = catalog.moves.claim(found)
        with pytest.raises(Conflict):
            catalog.moves.confirm(found)
        catalog.moves.give_up(found)
        assert catalog.moves.silent(clock.now_us() - 1_000_000) == []
        assert taken is not None
        catalog.moves.confirm(taken)

    # -- taken for dead -------------------------------------------------------------------------------------------

    def test_taken_for_dead_it_records_nothing_and_takes_nothing_back(
        self, catalog: Catalog, placing: Placing, url: str, one: int
    ):
        frozen = begin(catalog, placing, MoveWanted(one, "b"))
        assert catalog.moves.abandon(one, "b", frozen.token)
        assert states(catalog, one) == {"a": "present"}
        recount(url)
        with pytest.raises(Conflict, match="taken for dead"):
            catalog.moves.touch(frozen)
        assert catalog.moves.commit([done(frozen)]) == ["lost"]
        successor = begin(catalog, placing, MoveWanted(one, "b"))
        for _ in range(2):
            with pytest.raises(Conflict):
                catalog.moves.touch(frozen)
            assert not catalog.moves.abandon(one, "b", frozen.token)
            assert catalog.moves.commit([done(frozen)]) == ["lost"]
            recount(url)
        assert catalog.moves.commit([done(successor)]) == ["recorded"]
        assert catalog.moves.commit([done(frozen)]) == ["lost"]
        assert states(catalog, one) == {"a": "retiring", "b": "present"}
        recount(url)

    def test_only_one_takes_it_back(self, catalog: Catalog, placing: Placing, url: str, one: int):
        """Of two that found it dead, the one that comes later must not clear what a successor has made."""
        begin(catalog, placing, MoveWanted(one, "b"))
        [found] = catalog.moves.unfinished(catalog.holders.own())
        taken = catalog.moves.claim(found)
        assert taken is not None
        assert catalog.moves.claim(found) is None
        assert catalog.moves.abandon(one, "b", taken.token)
        assert catalog.moves.claim(taken) is None
        recount(url)

    def test_the_silent_are_those_that_gave_no_sign_since(
        self, catalog: Catalog, placing: Placing, clock: ShiftedClock
    ):
        old, young = (begin(catalog, placing, MoveWanted(put(catalog, placing).dataset_id, "b")) for _ in range(2))
        clock.later_s = 100
        catalog.moves.touch(young)
        found = catalog.moves.silent(clock.now_us() - 50 * 1_000_000)
        assert [(row.dataset_id, row.token, row.key) for row in found] == [(old.dataset.id, old.token, old.key)]

    # -- purged ---------------------------------------------------------------------------------------------------

    def test_purged_meanwhile_it_is_taken_back_by_its_owner_or_by_who_finds_it_dead(
        self, catalog: Catalog, placing: Placing, url: str, one: int
    ):
        """What is being copied cannot be deleted yet: so whoever copies it stays responsible for it."""
        prepared = begin(catalog, placing, MoveWanted(one, "b"))
        catalog.fates.begin_purge(one, None)
        recount(url)
        assert catalog.moves.commit([done(prepared)]) == ["changed"]
        assert [row.token for row in catalog.moves.unfinished(catalog.holders.own())] == [prepared.token]
        catalog.fates.replica_gone(one, "a")
        assert catalog.moves.abandon(one, "b", prepared.token)
        assert room(catalog, "b") == (0, 0, 0)
        assert states(catalog, one) == {"a": "gone"}
        recount(url)

    # -- many -----------------------------------------------------------------------------------------------------

    def test_two_movers_of_one_dataset_to_one_target(self, catalog: Catalog, placing: Placing, url: str, one: int):
        first, second = both(lambda _: catalog.moves.begin([MoveWanted(one, "b")], placing, placing)[0])
        begun = [answer for answer in (first, second) if isinstance(answer, MovePrepared)]
        [other] = [answer for answer in (first, second) if isinstance(answer, MoveRefused)]
        assert len(begun) == 1
        assert (other.code, "being copied" in other.why) == ("later", True)
        assert room(catalog, "b") == (0, 0, 25)
        assert catalog.moves.commit([done(begun[0])]) == ["recorded"]
        recount(url)

    def test_two_movers_of_one_dataset_to_two_targets(self, catalog: Catalog, placing: Placing, url: str, one: int):
        to_b, to_c = both(lambda at: begin(catalog, placing, MoveWanted(one, "bc"[at])))
        recount(url)
        said = both(lambda at: catalog.moves.commit([done((to_b, to_c)[at])]))
        assert sorted(said) == [["changed"], ["recorded"]], "the source has retired for one of them"
        loser = (to_b, to_c)[said.index(["changed"])]
        assert catalog.moves.abandon(one, loser.object_store_id, loser.token)
        assert sorted(states(catalog, one).values()) == ["present", "retiring"]
        recount(url)

    def test_copies_to_two_targets_are_both_recorded(self, catalog: Catalog, placing: Placing, url: str, one: int):
        answers = catalog.moves.begin([MoveWanted(one, name, keep=True) for name in "bc"], placing, placing)
        ready = [answer for answer in answers if isinstance(answer, MovePrepared)]
        assert catalog.moves.commit([done(own) for own in ready]) == ["recorded", "recorded"]
        assert states(catalog, one) == {"a": "present", "b": "present", "c": "present"}
        recount(url)

    def test_one_batch_may_take_a_dataset_only_once_from_its_source(
        self, catalog: Catalog, placing: Placing, url: str, one: int
    ):
        answers = catalog.moves.begin([MoveWanted(one, name) for name in "bc"], placing, placing)
        ready = [answer for answer in answers if isinstance(answer, MovePrepared)]
        assert catalog.moves.commit([done(own) for own in ready]) == ["recorded", "changed"]
        assert catalog.moves.abandon(one, "c", ready[1].token)
        recount(url)

    def test_room_is_never_overfilled(self, catalog: Catalog, url: str):
        placing = Placing(tree_of("hierarchical", THREE), {"b": 100})
        ids = [put(catalog, placing, 30, pool="a").dataset_id for _ in range(12)]

        def some(at: int) -> list[MovePrepared | MoveRefused]:
            wanted = [MoveWanted(one, "b") for one in ids[at * 3 : at * 3 + 3]]
            return catalog.moves.begin(wanted, placing, placing)

        with ThreadPoolExecutor(4) as threads:
            answers = [answer for some_of in threads.map(some, range(4)) for answer in some_of]
        begun = [answer for answer in answers if isinstance(answer, MovePrepared)]
        assert len(begun) == 3
        assert {answer.code for answer in answers if isinstance(answer, MoveRefused)} == {"blocked"}
        assert room(catalog, "b") == (0, 0, 90)
        recount(url)
        catalog.moves.commit([done(own) for own in begun])
        assert room(catalog, "b") == (3, 90, 0)
        recount(url)

    def test_where_nobody_says_whereto_the_room_of_a_batch_is_shared_out(self, catalog: Catalog, url: str):
        placing = Placing(tree_of("hierarchical", THREE), {"b": 100})
        ids = [put(catalog, placing, 30, pool="a").dataset_id for _ in range(5)]
        answers = catalog.moves.begin([MoveWanted(one, source="a") for one in ids], placing, placing)
        there = [answer.object_store_id for answer in answers if isinstance(answer, MovePrepared)]
        assert there == ["b", "b", "b", "c", "c"]
        recount(url)

    def test_batches_of_the_same_datasets_in_opposite_orders_do_not_block_each_other(
        self, catalog: Catalog, placing: Placing, url: str, tmp_path: Path
    ):
        ids = [put(catalog, placing, 10 + n, owner=f"u{n % 3}").dataset_id for n in range(20)]
        ledgers = [Catalog.open(url, tmp_path) for _ in range(2)]
        try:
            for turn in range(3):
                target = "bca"[turn]

                def run(at: int, target: str = target) -> list[str]:
                    order = ids if at == 0 else list(reversed(ids))
                    answers = ledgers[at].moves.begin([MoveWanted(one, target) for one in order], placing, placing)
                    ready = [answer for answer in answers if isinstance(answer, MovePrepared)]
                    return list(ledgers[at].moves.commit([done(own) for own in ready])) if ready else []

                said = both(run)
                assert sorted(said[0] + said[1]) == ["recorded"] * len(ids)
                recount(url)
                for one in ids:
                    for pool, state in states(catalog, one).items():
                        if state == "retiring":
                            catalog.fates.replica_gone(one, pool)
            recount(url)
        finally:
            for ledger in ledgers:
                ledger.close()

    def test_movers_users_and_reapers_at_once_leave_the_counters_right(
        self, catalog: Catalog, placing: Placing, url: str
    ):
        ids = [put(catalog, placing, 10 + n, owner="u").dataset_id for n in range(6)]
        stop = threading.Event()

        def mover(at: int) -> None:
            for turn in range(12):
                wanted = [MoveWanted(one, "abc"[(turn + at) % 3]) for one in (ids if at else reversed(ids))]
                answers = catalog.moves.begin(wanted, placing, placing)
                ready = [answer for answer in answers if isinstance(answer, MovePrepared)]
                if not ready:
                    continue
                for own, outcome in zip(ready, catalog.moves.commit([done(own) for own in ready]), strict=True):
                    if outcome == "changed":
                        catalog.moves.abandon(own.dataset.id, own.object_store_id, own.token)

        def reaper() -> None:
            while not stop.is_set():
                for one in ids:
                    for pool, state in states(catalog, one).items():
                        if state == "retiring" and catalog.fates.last_look(one, pool) == "delete":
                            catalog.fates.replica_gone(one, pool)

        def user() -> None:
            for turn in range(12):
                one = ids[turn % 6]
                replica = next(own for own in _find(catalog, one).replicas if own.state == "present")
                try:
                    replacing = catalog.replaces.begin(one, 40 + turn, replica.object_store_id)
                except Conflict:
                    continue
                catalog.replaces.stage(replacing, f"blake3:{turn}", 40 + turn)
                catalog.replaces.commit(Finished(replacing, 40 + turn, f"blake3:{turn}", f"r{turn}"), None)
                catalog.fates.remove(one, None)
                catalog.fates.restore(one, None)

        with ThreadPoolExecutor(4) as threads:
            reaping = threads.submit(reaper)
            try:
                for own in [threads.submit(mover, 0), threads.submit(mover, 1), threads.submit(user)]:
                    own.result(60)
            finally:
                stop.set()
            reaping.result(60)
        assert rows_of(url, "SELECT count(*) FROM moving") == [(0,)]
        for one in ids:
            assert list(states(catalog, one).values()).count("present") == 1
        recount(url)

    # -- the schema -----------------------------------------------------------------------------------------------

    def test_a_catalog_of_the_first_schema_is_brought_to_todays(self, url: str, tmp_path: Path):
        db = Database(url)
        make_first(db)
        filled = fill(url, db)
        assert len(filled) >= 20
        assert all(len(rows) == 2 for rows in filled.values() if rows is not None)
        with pytest.raises(SchemaMismatch, match="holdfast catalog upgrade"):
            Catalog.open(url, tmp_path)
        assert Catalog.upgrade(url, tmp_path) == ("0001", schema.HEAD)
        assert Catalog.upgrade(url, tmp_path) == (schema.HEAD, schema.HEAD)
        for table, rows in filled.items():
            assert all_of(url, table) == rows, table
        for table in ("moving", "receipt"):
            assert rows_of(url, f"SELECT count(*) FROM {table}") == [(0,)]
        catalog = Catalog.open(url, tmp_path)
        try:
            assert set(tables_of(url, db)) == {table.name for table in schema.metadata.sorted_tables}
            placing = Placing(tree_of("hierarchical", THREE))
            register(catalog, "a", "b", "c")
            move(catalog, placing, put(catalog, placing).dataset_id, "b")
        finally:
            catalog.close()


# -- steps ----------------------------------------------------------------------------------------------------------


def begin(catalog: Catalog, placing: Placing, wanted: MoveWanted) -> MovePrepared:
    [answer] = catalog.moves.begin([wanted], placing, placing)
    assert isinstance(answer, MovePrepared), answer
    return answer


def refused(catalog: Catalog, placing: Placing, wanted: MoveWanted) -> MoveRefused:
    [answer] = catalog.moves.begin([wanted], placing, placing)
    assert isinstance(answer, MoveRefused), answer
    return answer


def done(prepared: MovePrepared, *, extras: tuple[str, ...] = (), proved: bool = True) -> MoveFinished:
    return MoveFinished(prepared, prepared.dataset.checksum or "blake3:read", "moved", extras, proved)


def move(catalog: Catalog, placing: Placing, one: int, target: str) -> None:
    source = _find(catalog, one).object_store_id
    assert catalog.moves.commit([done(begin(catalog, placing, MoveWanted(one, target, source)))]) == ["recorded"]


def finished_by(prepared: Prepared, size: int) -> Finished:
    return Finished(prepared, size, NEW, "replaced")


def replace(catalog: Catalog, one: int, pool: str, size: int) -> None:
    prepared = catalog.replaces.begin(one, size, pool)
    catalog.replaces.stage(prepared, NEW, size)
    catalog.replaces.commit(finished_by(prepared, size), None)


def states(catalog: Catalog, one: int) -> dict[str, str]:
    return {replica.object_store_id: replica.state for replica in _find(catalog, one).replicas}


def room(catalog: Catalog, pool: str) -> tuple[int, int, int]:
    row = catalog.pools.find(pool)
    return row.datasets, row.used_bytes, row.reserved_bytes


def both(work: Any) -> list[Any]:
    """The same in two threads that begin at once."""
    barrier = threading.Barrier(2)

    def run(at: int) -> Any:
        barrier.wait(30)
        return work(at)

    with ThreadPoolExecutor(2) as threads:
        return [future.result(60) for future in [threads.submit(run, at) for at in range(2)]]


def _find(catalog: Catalog, one: int) -> Dataset:
    dataset = catalog.datasets.find(one)
    assert dataset is not None
    return dataset


# -- the first schema -----------------------------------------------------------------------------------------------


class _UpTo:
    """The migration scripts, as if they ended with `head`."""

    def __init__(self, script: Any, head: str) -> None:
        self._script, self._head = script, head

    def get_current_head(self) -> str:
        return self._head

    def __getattr__(self, name: str) -> Any:
        return getattr(self._script, name)


def make_first(db: Database) -> None:
    """What the first version of Holdfast would have made."""
    from alembic.script import ScriptDirectory

    first = _UpTo(ScriptDirectory(str(migrate._HERE)), "0001")
    if db.is_sqlite:
        migrate._make_sqlite(db.path, first)
    else:
        migrate._run(migrate._engine_url(db), first, sqlite=False)
    assert migrate.version(db) == "0001"
    db.close()


def tables_of(url: str, db: Database) -> dict[str, sqlalchemy.Table]:
    engine = sqlalchemy.create_engine(migrate._engine_url(db))
    try:
        found = sqlalchemy.MetaData()
        found.reflect(engine)
        return {table.name: table for table in found.sorted_tables if table.name != "alembic_version"}
    finally:
        engine.dispose()


def fill(url: str, db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Two rows more in every table, each column with a value of its own; all rows of each table then."""
    engine = sqlalchemy.create_engine(migrate._engine_url(db))
    tables = tables_of(url, db)
    try:
        with engine.begin() as connection:
            for table in tables.values():
                if table.name != "sequence":
                    connection.execute(table.insert(), [_row(table, number) for number in (1, 2)])
    finally:
        engine.dispose()
    return {name: all_of(url, name) for name in tables if name != "sequence"}


def _row(table: sqlalchemy.Table, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.columns:
        if (table.name, column.name) == ("event", "id"):  # the database numbers them
            continue
        is_number = isinstance(column.type, sqlalchemy.Integer)
        home = next((key.column for key in column.foreign_keys), column)
        default = str(column.server_default.arg) if column.server_default is not None else ""  # type: ignore[attr-defined]
        if not is_number and ("{}" in default or "[]" in default):
            continue
        row[column.name] = number if is_number else f"{home.table.name}.{home.name}.{number}"
    return row


def all_of(url: str, table: str) -> list[tuple[Any, ...]]:
    return sorted(rows_of(url, f"SELECT * FROM {table}"), key=repr)
