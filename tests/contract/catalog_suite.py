"""What every catalog has to do, whatever database it lies on: one suite, run on SQLite and on PostgreSQL.

A class that derives from `CatalogContract` gives the fixture `url`, of an empty database that is the test's own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from tests.contract.catalog_kit import (
    Placing,
    adopt,
    begin,
    execute,
    finished,
    found,
    in_children,
    put,
    recount,
    register,
    rows_of,
    tree_of,
)

from holdfast.catalog import holders as holders_module
from holdfast.catalog import migrate, schema
from holdfast.catalog.base import Dataset, ExtraFile, Filter, Finished, NewDataset, Prepared
from holdfast.catalog.catalog import Catalog
from holdfast.catalog.database import Statement
from holdfast.catalog.datasets import _listing
from holdfast.catalog.holders import SILENT_S
from holdfast.errors import Conflict, HoldfastError, InvalidKey, NoSpace, NotFound, SchemaMismatch
from holdfast.placement.policy import Request
from holdfast.seams import SystemClock

EVEN = {"a": 1, "b": 1}


class ShiftedClock(SystemClock):
    """The machine's clock, some seconds later."""

    later_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.later_s * 1_000_000)


class CatalogContract:
    """Named tests; `url` comes from the class that derives from this one."""

    @pytest.fixture
    def catalog(self, url: str, tmp_path: Path) -> Iterator[Catalog]:
        catalog = Catalog.open(url, tmp_path)
        register(catalog, "a", "b")
        yield catalog
        catalog.close()

    @pytest.fixture
    def placing(self) -> Placing:
        return Placing(tree_of("hierarchical", EVEN))

    # -- one put --------------------------------------------------------------------------------------------------

    def test_a_begun_put_is_an_intent_with_its_room_and_its_reasons(self, catalog: Catalog, placing: Placing, url: str):
        prepared = begin(catalog, placing, 25, owner="alice")
        dataset = _find(catalog, prepared)
        assert (dataset.state, dataset.object_store_id, dataset.size_bytes) == ("new", "a", 25)
        assert [replica.state for replica in dataset.replicas] == ["writing"]
        assert catalog.pools.find("a").reserved_bytes == 25
        assert [(one.object_store_id, one.chosen) for one in dataset.placement] == [("a", True), ("b", False)]
        assert "order 0" in dataset.placement[0].reason
        assert catalog.events.newest() == []
        recount(url)

    def test_a_committed_put_is_recorded_once(self, catalog: Catalog, placing: Placing, url: str):
        prepared = begin(catalog, placing, 25, owner="alice")
        done = Finished(prepared, 20, "blake3:00", "v1", (ExtraFile("x/y", 3, "blake3:01"),))
        catalog.writes.commit([done], "bob")
        dataset = _find(catalog, prepared)
        assert (dataset.state, dataset.size_bytes, dataset.total_bytes, dataset.checksum) == ("ok", 20, 23, "blake3:00")
        assert [(one.state, one.size_bytes, one.version) for one in dataset.replicas] == [("present", 23, "v1")]
        assert catalog.datasets.extra_files(prepared.dataset_id) == [ExtraFile("x/y", 3, "blake3:01")]
        [event] = catalog.events.newest()
        assert (event.kind, event.dataset_id, event.actor) == ("dataset.put", prepared.dataset_id, "bob")
        with pytest.raises(Conflict, match="given up"):
            catalog.writes.commit([done])
        recount(url)

    def test_an_abandoned_put_never_was(self, catalog: Catalog, placing: Placing, url: str):
        prepared = begin(catalog, placing)
        catalog.writes.abandon(prepared)
        catalog.writes.abandon(prepared)
        assert catalog.datasets.find(prepared.dataset_id) is None
        with pytest.raises(Conflict):
            catalog.writes.commit([finished(prepared)])
        recount(url)

    def test_a_put_that_was_given_up_keeps_its_room_until_its_blob_is_gone(
        self, catalog: Catalog, placing: Placing, url: str
    ):
        prepared = begin(catalog, placing, 40)
        catalog.writes.extend(prepared, 60, Request(60, pool="a"), placing)
        catalog.writes.give_up(prepared, "the disk went away")
        catalog.writes.give_up(prepared, "the disk went away")
        dataset = _find(catalog, prepared)
        assert (dataset.state, dataset.note) == ("purged", "the disk went away")
        assert [replica.state for replica in dataset.replicas] == ["retiring"]
        pool = catalog.pools.find("a")
        assert (pool.datasets, pool.used_bytes, pool.reserved_bytes) == (1, 100, 0)
        recount(url)
        catalog.fates.replica_gone(prepared.dataset_id, "a")
        catalog.fates.replica_gone(prepared.dataset_id, "a")
        pool = catalog.pools.find("a")
        assert (pool.datasets, pool.used_bytes, pool.reserved_bytes) == (0, 0, 0)
        recount(url)

    def test_a_failed_put_gives_its_turn_back(self, catalog: Catalog, url: str):
        placing = Placing(tree_of("distributed", EVEN))
        first = begin(catalog, placing)
        catalog.writes.abandon(first)
        second = begin(catalog, placing)
        catalog.writes.give_up(second, "the disk went away")
        third = begin(catalog, placing)
        assert first.object_store_id == second.object_store_id == third.object_store_id
        recount(url)

    def test_all_of_a_batch_or_nothing(self, catalog: Catalog, url: str):
        placing = Placing(tree_of("hierarchical", EVEN), {"a": 100, "b": 50})
        wanted = [(NewDataset("x", 60), Request(60)) for _ in range(2)]
        with pytest.raises(NoSpace, match=r"no pool can take 60 bytes: a: .*; b: "):
            catalog.writes.begin(wanted, placing, placing)
        recount(url)
        assert rows_of(url, "SELECT count(*) FROM dataset") == [(0,)]
        prepared = catalog.writes.begin([(NewDataset("x", 50), Request(50)) for _ in range(3)], placing, placing)
        assert [one.object_store_id for one in prepared] == ["a", "a", "b"]
        catalog.writes.abandon(prepared[1])
        with pytest.raises(Conflict):
            catalog.writes.commit([finished(one, 50) for one in prepared])
        assert [_find(catalog, one).state for one in (prepared[0], prepared[2])] == ["new", "new"]
        catalog.writes.commit([finished(prepared[0], 50), finished(prepared[2], 50)])
        recount(url)

    def test_more_room_only_where_there_is_some(self, catalog: Catalog, url: str):
        placing = Placing(tree_of("hierarchical", EVEN), {"a": 100, "b": 1000})
        prepared = begin(catalog, placing, 60)
        with pytest.raises(NoSpace):
            catalog.writes.extend(prepared, 41, Request(41, pool="a"), placing)
        catalog.writes.extend(prepared, 40, Request(40, pool="a"), placing)
        assert catalog.pools.find("a").reserved_bytes == 100
        recount(url)
        catalog.writes.abandon(prepared)
        with pytest.raises(Conflict):
            catalog.writes.extend(prepared, 1, Request(1, pool="a"), placing)
        with pytest.raises(Conflict):
            catalog.writes.touch(prepared)
        recount(url)

    # -- ids ------------------------------------------------------------------------------------------------------

    def test_ids_are_given_out_once(self, catalog: Catalog, placing: Placing):
        ids = []
        for number in range(10):
            prepared = begin(catalog, placing)
            ids.append(prepared.dataset_id)
            if number % 2:
                catalog.writes.abandon(prepared)
        assert ids == list(range(1, 11))

    def test_new_ids_go_round_what_is_known_and_what_lies_in_pools(self, catalog: Catalog, url: str):
        placing = Placing(tree_of("hierarchical", EVEN), taken=set(range(1, 400)))
        adopt(catalog, [found("a", number) for number in range(400, 900)])
        given = [put(catalog, placing).dataset_id for _ in range(5)]
        assert min(given) >= 900
        assert len(set(given)) == 5
        assert placing.asked < 60, "every taken id was looked at"
        recount(url)

    def test_uuid_data_gets_an_id_quickly_and_none_that_lies_in_a_pool(self, catalog: Catalog, url: str):
        placing = Placing(tree_of("hierarchical", EVEN), taken=set(range(2001, 2100)))
        adopt(catalog, [found("a", number) for number in range(1, 2001)])
        uuids = [f"aaaaaaaa-0000-4000-8000-{number:012x}" for number in range(3)]
        with _counting() as ran:
            ids = catalog.adoptions.adopt([found("b", None, uuid=uuid) for uuid in uuids], is_taken=placing.is_taken)
        assert len(set(ids)) == 3
        assert min(ids) >= 2100
        assert len(ran) < 100
        recount(url)

    # -- adopting -------------------------------------------------------------------------------------------------

    def test_adopting_twice_records_once(self, catalog: Catalog, url: str):
        assert adopt(catalog, [found("a", 5), found("a", 6)]) == [5, 6]
        assert adopt(catalog, [found("a", 5), found("b", 6), found("a", 7)]) == [7]
        assert catalog.pools.find("a").datasets == 3
        assert catalog.pools.find("b").datasets == 0
        dataset = catalog.datasets.find(5)
        assert dataset is not None
        assert (dataset.state, dataset.checksum, dataset.origin) == ("ok", None, "adopted")
        assert dataset.object_store_id == "a"
        assert dataset.created_us == 1_600_000_000_000_000
        recount(url)

    def test_a_key_that_is_recorded_already_is_not_recorded_twice(self, catalog: Catalog, placing: Placing, url: str):
        put(catalog, placing)
        other = found("a", 9)
        clash = type(other)("a", layout_key(1), 9, other.uuid, 7, "v", 0)
        assert adopt(catalog, [clash, found("a", 10)]) == [10]
        assert catalog.datasets.find(9) is None
        recount(url)

    # -- fates ----------------------------------------------------------------------------------------------------

    def test_remove_restore_purge(self, catalog: Catalog, placing: Placing, url: str):
        which = put(catalog, placing, 30, owner="alice").dataset_id
        assert catalog.fates.remove(which, "bob").state == "deleted"
        first = catalog.datasets.find(which)
        assert catalog.fates.remove(which, "bob") == first
        recount(url)
        assert catalog.fates.restore(which, "bob").state == "ok"
        recount(url)
        purged = catalog.fates.begin_purge(which, "bob")
        assert purged.state == "purged"
        assert [replica.state for replica in purged.replicas] == ["retiring"]
        assert catalog.pools.find("a").used_bytes == 30, "until the blob is gone"
        recount(url)
        with pytest.raises(Conflict, match="cannot be restored"):
            catalog.fates.restore(which, None)
        catalog.fates.replica_gone(which, "a")
        assert catalog.pools.find("a").used_bytes == 0
        recount(url)

    def test_what_does_not_exist_is_not_found(self, catalog: Catalog):
        for act in (catalog.fates.remove, catalog.fates.restore, catalog.fates.begin_purge):
            with pytest.raises(NotFound, match="there is no dataset 77"):
                act(77, None)
        with pytest.raises(NotFound):
            catalog.pools.find("nowhere")

    def test_a_dataset_that_is_being_written_is_left_alone(self, catalog: Catalog, placing: Placing, url: str):
        which = begin(catalog, placing).dataset_id
        for act in (catalog.fates.remove, catalog.fates.begin_purge):
            with pytest.raises(Conflict, match="being written"):
                act(which, None)
        with pytest.raises(Conflict):
            catalog.replaces.begin(which, 5, "a")
        recount(url)

    def test_a_leased_dataset_is_neither_purged_nor_replaced(self, catalog: Catalog, placing: Placing):
        which = put(catalog, placing).dataset_id
        with catalog.db.write() as cursor:
            catalog.leases.add(cursor, which, "job:12")
            catalog.leases.add(cursor, which, "job:12")
            catalog.leases.add(cursor, which, "job:13", until_us=1)
        for act in (lambda: catalog.fates.begin_purge(which, None), lambda: catalog.replaces.begin(which, 1, "a")):
            with pytest.raises(Conflict, match="in use by job 12;"):
                act()
        catalog.fates.remove(which, None)
        catalog.fates.restore(which, None)
        with catalog.db.write() as cursor:
            catalog.leases.release(cursor, "job:12")
        catalog.fates.begin_purge(which, None)

    def test_what_was_damaged_when_it_was_removed_is_damaged_when_it_is_back(
        self, catalog: Catalog, placing: Placing, url: str
    ):
        which = put(catalog, placing).dataset_id
        catalog.fates.remove(which, None)
        catalog.fates.doubt(which, "a", "suspect", "three bytes differ")
        back = catalog.fates.restore(which, None)
        assert back.state == "error"
        assert back.note == "three bytes differ"
        recount(url)

    def test_words(self, catalog: Catalog, placing: Placing):
        which = put(catalog, placing).dataset_id
        assert catalog.fates.describe(which, name="Straße 50%", labels=None).name == "Straße 50%"
        described = catalog.fates.describe(which, name=None, labels={"k": "ü\\"})
        assert (described.name, described.labels) == ("Straße 50%", {"k": "ü\\"})
        assert [one.id for one in catalog.datasets.page(Filter(name_has="STRASSE 50%"))] == [which]
        assert catalog.datasets.page(Filter(name_has="5_%")) == []

    # -- replacing ------------------------------------------------------------------------------------------------

    def test_replace(self, catalog: Catalog, placing: Placing, url: str):
        first = begin(catalog, placing, 30, owner="alice")
        catalog.writes.commit([Finished(first, 30, "blake3:00", "v1", (ExtraFile("x", 4),))])
        prepared = catalog.replaces.begin(first.dataset_id, 50, "a")
        assert catalog.pools.find("a").reserved_bytes == 50
        recount(url)
        with pytest.raises(Conflict):
            catalog.replaces.begin(first.dataset_id, 50, "a")
        catalog.replaces.stage(prepared, "blake3:11", 44)
        assert catalog.replaces.staged(first.dataset_id, "a") == ("blake3:11", 44)
        now = catalog.replaces.commit(Finished(prepared, 44, "blake3:11", "v2"), "bob")
        assert (now.checksum, now.size_bytes, now.total_bytes) == ("blake3:11", 44, 48)
        assert [(one.version, one.size_bytes) for one in now.replicas] == [("v2", 48)]
        assert catalog.replaces.staged(first.dataset_id, "a") is None
        recount(url)

    def test_an_abandoned_replace_leaves_everything(self, catalog: Catalog, placing: Placing, url: str):
        which = put(catalog, placing).dataset_id
        before = catalog.datasets.find(which)
        prepared = catalog.replaces.begin(which, 50, "a")
        catalog.replaces.stage(prepared, "blake3:11", 44)
        catalog.replaces.abandon(prepared)
        catalog.replaces.abandon(prepared)
        assert catalog.datasets.find(which) == before
        assert catalog.replaces.staged(which, "a") is None
        recount(url)

    def test_a_replace_taken_for_dead_cannot_stage_in_anothers_name(self, catalog: Catalog, placing: Placing, url: str):
        which = put(catalog, placing).dataset_id
        dead = catalog.replaces.begin(which, 50, "a")
        catalog.replaces.abandon(dead)
        living = catalog.replaces.begin(which, 60, "a")
        with pytest.raises(Conflict, match="taken for dead"):
            catalog.replaces.stage(dead, "blake3:dead", 50)
        catalog.replaces.stage(living, "blake3:11", 60)
        catalog.replaces.commit(Finished(living, 60, "blake3:11", "v2"), None)
        with pytest.raises(Conflict):
            catalog.replaces.commit(Finished(dead, 50, "blake3:dead", "v3"), None)
        assert _find(catalog, living).checksum == "blake3:11"
        recount(url)

    def test_a_replace_settled_by_somebody_else_is_recorded_once(self, catalog: Catalog, placing: Placing, url: str):
        which = put(catalog, placing, 10, owner="alice").dataset_id
        prepared = catalog.replaces.begin(which, 50, "a")
        catalog.replaces.stage(prepared, "blake3:11", 44)
        settled = Prepared(which, prepared.uuid, "a", prepared.key, "", "alice")
        catalog.replaces.commit(Finished(settled, 44, "blake3:11", "v2"), None)
        catalog.replaces.commit(Finished(prepared, 44, "blake3:11", "v2"), None)
        assert (_find(catalog, prepared).total_bytes, catalog.pools.find("a").used_bytes) == (44, 44)
        assert catalog.pools.find("a").reserved_bytes == 0
        recount(url)

    # -- health ---------------------------------------------------------------------------------------------------

    def test_doubt_and_proof(self, catalog: Catalog, placing: Placing, url: str):
        which = put(catalog, placing).dataset_id
        catalog.fates.doubt(which, "a", "suspect", "three bytes differ")
        dataset = catalog.datasets.find(which)
        assert dataset is not None
        assert (dataset.state, dataset.note, dataset.replicas[0].state) == ("error", "three bytes differ", "suspect")
        recount(url)
        catalog.fates.verified(which, "a", "v10", dataset.checksum or "")
        dataset = catalog.datasets.find(which)
        assert dataset is not None
        assert (dataset.state, dataset.note, dataset.replicas[0].state) == ("ok", None, "present")
        recount(url)

    def test_the_first_reading_gives_an_adopted_dataset_its_checksum(self, catalog: Catalog):
        adopt(catalog, [found("a", 5)])
        catalog.fates.verified(5, "a", "v", "blake3:55")
        dataset = catalog.datasets.find(5)
        assert dataset is not None
        assert dataset.checksum == "blake3:55"
        assert dataset.replicas[0].verified_us is not None

    @pytest.mark.parametrize("say", ["verified", "suspect", "missing"])
    def test_nothing_that_was_seen_before_a_purge_brings_a_replica_back(
        self, catalog: Catalog, placing: Placing, url: str, say: str
    ):
        one, other = put(catalog, placing), put(catalog, placing)
        for which in (one.dataset_id, other.dataset_id):
            catalog.fates.begin_purge(which, None)
        catalog.fates.replica_gone(other.dataset_id, "a")
        for which in (one.dataset_id, other.dataset_id):
            if say == "verified":
                catalog.fates.verified(which, "a", "v10", f"blake3:{which:064x}")
            else:
                catalog.fates.doubt(which, "a", say, "it was looked for while it was purged")
        assert [_find(catalog, which).replicas[0].state for which in (one, other)] == ["retiring", "gone"]
        recount(url)

    def test_an_old_reading_proves_nothing_of_new_bytes(self, catalog: Catalog, placing: Placing):
        which = put(catalog, placing).dataset_id
        old = catalog.datasets.find(which)
        assert old is not None
        prepared = catalog.replaces.begin(which, 50, "a")
        catalog.replaces.stage(prepared, "blake3:11", 44)
        new = catalog.replaces.commit(Finished(prepared, 44, "blake3:11", "v2"), None)
        catalog.fates.verified(which, "a", "v1", old.checksum or "")
        assert catalog.datasets.find(which) == new

    # -- pools ----------------------------------------------------------------------------------------------------

    def test_a_renamed_pool_takes_everything_along(self, catalog: Catalog, placing: Placing, url: str):
        one, other = put(catalog, placing), begin(catalog, placing, 33)
        catalog.replaces.begin(one.dataset_id, 4, "a")
        register(catalog, "c")
        with catalog.db.write() as cursor:
            catalog.pools.set_state(cursor, "a", "draining")
        catalog.pools.rename("a", "c")
        assert catalog.pools.find("c").state == "draining", "what was said of it stands"
        assert _find(catalog, one).object_store_id == "c"
        assert {row.object_store_id for row in catalog.pools.all()} == {"b", "c"}
        recount(url)
        moved = Prepared(other.dataset_id, other.uuid, "c", other.key, other.token, other.owner)
        catalog.writes.commit([finished(moved, 33)])
        recount(url)
        with pytest.raises(NotFound):
            catalog.pools.rename("a", "b")
        with pytest.raises(NotFound, match="write it into the configuration first"):
            catalog.pools.rename("b", "nowhere")

    def test_a_wrong_counter_is_counted_anew(self, catalog: Catalog, placing: Placing, url: str):
        put(catalog, placing)
        begin(catalog, placing, 5)
        assert catalog.fates.recount("a") is False
        execute(url, "UPDATE pool SET datasets = 9, used_bytes = 9, reserved_bytes = 9 WHERE object_store_id = 'a'")
        assert catalog.fates.recount("a") is True
        recount(url)

    # -- looking --------------------------------------------------------------------------------------------------

    def test_pages_tell_every_dataset_once(self, catalog: Catalog, placing: Placing):
        ids = [put(catalog, placing, owner="alice" if number % 3 else "bob").dataset_id for number in range(23)]
        catalog.fates.remove(ids[4], None)
        begun = begin(catalog, placing).dataset_id
        shown = [which for which in [*ids, begun] if which != ids[4]]
        assert _pages(catalog, limit=5) == shown[::-1]
        assert _pages(catalog, limit=5, oldest_first=True) == shown
        assert _pages(catalog, limit=4, owner="bob") == [which for which in shown[::-1] if which in ids[::3]]
        assert _pages(catalog, state="deleted") == [ids[4]]
        assert _pages(catalog, state="new", pool="a") == [begun]
        assert _pages(catalog, pool="b") == []

    def test_datasets_are_found_by_their_labels(self, catalog: Catalog, placing: Placing, url: str):
        def put_labelled(**labels: str) -> int:
            wanted = NewDataset("n", 1, labels=labels), Request(1)
            [prepared] = catalog.writes.begin([wanted], placing, placing)
            catalog.writes.commit([finished(prepared, 1)])
            return prepared.dataset_id

        def found(*labels: tuple[str, str], **more: Any) -> list[int]:
            return _pages(catalog, labels=labels, **more)

        apollo = [put_labelled(project="apollo", run=str(at % 2)) for at in range(7)]
        gemini = put_labelled(project="gemini", run="0")
        put(catalog, placing)
        assert found(("project", "apollo"), limit=3) == apollo[::-1]
        assert found(("project", "apollo"), limit=3, oldest_first=True) == apollo
        assert found(("project", "apollo"), ("run", "1"), limit=2) == apollo[1::2][::-1]
        assert found(("run", "0"), limit=2) == [gemini, *apollo[::2][::-1]]
        assert found(("project", "Apollo")) == found(("project", "")) == found(("pro", "apollo")) == []
        assert found(("a\0b", "\ud800")) == []
        catalog.fates.describe(gemini, name=None, labels={"project": "apollo", "né": "größer 'x' \"y\""})
        catalog.fates.describe(apollo[0], name="another", labels=None)
        assert found(("project", "apollo")) == [gemini, *apollo[::-1]]
        assert found(("project", "gemini")) == found(("run", "0"), ("project", "gemini")) == []
        assert found(("né", "größer 'x' \"y\"")) == [gemini]
        catalog.fates.remove(gemini, None)
        assert found(("né", "größer 'x' \"y\"")) == []
        assert found(("né", "größer 'x' \"y\""), state="deleted") == [gemini]
        wanted = NewDataset("n", 1, labels={"project": "given up"}), Request(1)
        [prepared] = catalog.writes.begin([wanted], placing, placing)
        catalog.writes.abandon(prepared)
        assert found(("project", "given up")) == []
        with pytest.raises(InvalidKey, match="8 labels at most"):
            found(*[("k", str(at)) for at in range(9)])
        recount(url)

    def test_a_label_is_found_by_its_index(self, catalog: Catalog, url: str):
        """Whatever the number of datasets: nothing is scanned, nothing sorted."""
        asked = {"key_of_label0": "'project'", "label0": "'apollo'", "after": "99", "limit": "50"}
        text = str(_listing(frozenset({"label0", "after"})))
        for name, value in asked.items():
            text = text.replace(f":{name}", value)
        text = text.replace(":hidden_1", "0").replace(":param_1", "50")
        if catalog.db.is_sqlite:
            plan = [row[-1] for row in rows_of(url, f"EXPLAIN QUERY PLAN {text}")]
            by_index = "SEARCH l0 USING COVERING INDEX label_by_value (key=? AND value=? AND dataset_id<?)"
            assert plan[0].startswith(by_index), plan
            assert all(line.startswith("SEARCH") for line in plan), plan
            return
        _fill_labels(url, 20_000)
        plan = [row[0] for row in rows_of(url, f"EXPLAIN {text}")]
        assert any("label_by_value" in line for line in plan), plan
        scanned = ("Seq Scan on dataset", "Seq Scan on label", "Sort")
        assert not any(text in line for text in scanned for line in plan), plan

    def test_labels_from_before_are_found_after_the_upgrade(self, catalog: Catalog, placing: Placing, url: str):
        first, second, third = (put(catalog, placing).dataset_id for _ in range(3))
        catalog.close()
        execute(url, "DROP TABLE label")
        execute(url, "UPDATE alembic_version SET version_num = '0002'")
        said = '{"project": "apollo 11", "né": "größer \'\'x\'\' \\"y\\"", "empty": ""}'
        execute(url, f"UPDATE dataset SET labels = '{said}' WHERE id = {first}")
        execute(url, f"UPDATE dataset SET labels = '{{\"project\": \"gemini\"}}' WHERE id = {third}")
        assert migrate.upgrade(catalog.db) == ("0002", schema.HEAD)
        recount(url)
        assert _pages(catalog, labels=(("project", "apollo 11"), ("empty", ""))) == [first]
        assert _pages(catalog, labels=(("né", "größer 'x' \"y\""),)) == [first]
        assert _pages(catalog, labels=(("project", "gemini"),)) == [third]
        assert second not in {row[0] for row in rows_of(url, "SELECT dataset_id FROM label")}

    def test_the_largest_page_works(self, catalog: Catalog, placing: Placing):
        size = 1000
        wanted = [(NewDataset(f"n{number}", 1), Request(1)) for number in range(size)]
        prepared = catalog.writes.begin(wanted, placing, placing)
        catalog.writes.commit([finished(one, 1) for one in prepared])
        page = catalog.datasets.page(Filter(limit=size))
        assert [one.id for one in page] == [one.dataset_id for one in prepared][::-1]
        assert all(len(one.replicas) == 1 for one in page)

    def test_extra_files_stand_in_the_order_of_their_names_bytes(self, catalog: Catalog, placing: Placing):
        names = ["B", "a", "_", "ä", "Z/a", "Z.a", "a b", "ab"]
        prepared = begin(catalog, placing)
        catalog.writes.commit([Finished(prepared, 1, "blake3:0", "v", tuple(ExtraFile(name, 0) for name in names))])
        told = [one.path for one in catalog.datasets.extra_files(prepared.dataset_id)]
        assert told == sorted(names, key=str.encode)

    def test_a_walk_tells_every_replica_once_in_order(self, catalog: Catalog, placing: Placing):
        ids = [put(catalog, placing).dataset_id for _ in range(7)]
        catalog.fates.begin_purge(ids[3], None)
        assert [which for which, _ in catalog.datasets.walk(page=2)] == [one for one in ids if one != ids[3]]
        assert [which for which, _ in catalog.datasets.walk(page=3, pool="a", after=ids[4])] == ids[5:]

    def test_finding_costs_one_query_whatever_the_number_of_pools(self, catalog: Catalog, placing: Placing):
        which = put(catalog, placing)
        costs = []
        for pools in (2, 50):
            register(catalog, *(f"p{number}" for number in range(pools)))
            for look in (
                lambda: catalog.datasets.find(which.dataset_id),
                lambda: catalog.datasets.find_uuid(which.uuid),
                lambda: catalog.datasets.locate(which.dataset_id),
            ):
                with _counting() as ran:
                    look()
                costs.append(len(ran))
        assert costs == [1] * 6

    def test_a_page_costs_two_queries_and_counters_one(self, catalog: Catalog, placing: Placing):
        for _ in range(30):
            put(catalog, placing)
        for limit in (1, 5, 30):
            with _counting() as ran:
                catalog.datasets.page(Filter(limit=limit))
            assert len(ran) == 2
        with _counting() as ran:
            catalog.pools.all()
            catalog.totals()
        assert len(ran) == 2

    def test_a_put_costs_the_same_among_many(self, catalog: Catalog, placing: Placing):
        costs = []
        for _ in range(3):
            with _counting() as ran:
                put(catalog, placing)
            costs.append(len(ran))
            wanted = [(NewDataset("x", 1), Request(1)) for _ in range(200)]
            catalog.writes.commit([finished(one, 1) for one in catalog.writes.begin(wanted, placing, placing)])
        assert costs[1] == costs[2]

    # -- events ---------------------------------------------------------------------------------------------------

    def test_events_page_both_ways(self, catalog: Catalog, placing: Placing):
        which = [put(catalog, placing).dataset_id for _ in range(9)]
        newest = catalog.events.newest(4)
        assert [event.dataset_id for event in newest] == which[:4:-1]
        assert [event.dataset_id for event in catalog.events.newest(4, before=newest[-1].id)] == which[4:0:-1]
        assert [event.dataset_id for event in catalog.events.since(newest[-1].id)] == which[6:]
        assert [event.kind for event in catalog.events.newest(dataset_id=which[0])] == ["dataset.put"]

    def test_a_follower_of_the_events_misses_none(self, catalog: Catalog, placing: Placing, url: str):
        """Ids are seen in their order, also when the transactions end in another."""
        stop, seen = threading.Event(), list[int]()

        def follow() -> None:
            last = 0
            while True:
                ended = stop.is_set()
                for event in catalog.events.since(last):
                    last = event.id
                    seen.append(event.id)
                if ended:
                    return

        follower = threading.Thread(target=follow)
        follower.start()
        try:
            with ThreadPoolExecutor(6) as pool:
                for done in [pool.submit(_slow_event, catalog, number) for number in range(36)]:
                    done.result()
        finally:
            stop.set()
            follower.join()
        assert seen == [row[0] for row in rows_of(url, "SELECT id FROM event ORDER BY id")]
        assert len(seen) == 36

    # -- many at once ---------------------------------------------------------------------------------------------

    def test_concurrent_begins_never_overfill(self, catalog: Catalog, url: str, tmp_path: Path):
        placing = Placing(tree_of("distributed", EVEN), {"a": 1000, "b": 555})

        def fill(at: Catalog, number: int) -> int:
            for turn in range(200):
                try:
                    prepared = begin(at, placing, 7 + (turn + number) % 5)
                except NoSpace:
                    return turn
                if turn % 3:
                    at.writes.commit([finished(prepared, 3)])
            raise AssertionError("it never became full")

        def child(number: int) -> int:
            own = Catalog.open(url, tmp_path)
            with ThreadPoolExecutor(3) as pool:
                return sum(pool.map(lambda at: fill(own, number + at), range(3)))

        catalog.close()
        assert sum(in_children(3, child)) > 100
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: fill(catalog, number), range(8)))
        for name, limit in placing.capacities.items():
            row = catalog.pools.find(name)
            assert limit - 11 < row.used_bytes + row.reserved_bytes <= limit
        recount(url)

    def test_concurrent_puts_are_split_within_one(self, catalog: Catalog, url: str, tmp_path: Path):
        weights = {"a": 3, "b": 1, "c": 2}
        register(catalog, "c")
        catalog.close()

        def child(number: int) -> int:
            own = Catalog.open(url, tmp_path)
            placing = Placing(tree_of("distributed", weights))
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda _: [put(own, placing) for _ in range(6)], range(3)))
            return 18

        total = sum(in_children(3, child))
        counts = dict(rows_of(url, "SELECT object_store_id, count(*) FROM replica GROUP BY object_store_id"))
        for name, weight in weights.items():
            assert abs(counts[name] - total * weight / 6) < 1, counts
        ids = [row[0] for row in rows_of(url, "SELECT id FROM dataset")]
        assert sorted(ids) == list(range(1, total + 1))
        recount(url)

    def test_everything_at_once_ends_and_counts_right(self, catalog: Catalog, url: str, tmp_path: Path):
        """Transactions that touch the same rows in other orders neither block each other for ever nor fail."""
        placing = Placing(tree_of("distributed", EVEN))
        shared = [put(catalog, placing, 10, owner="alice").dataset_id for _ in range(6)]
        catalog.close()

        def churn(at: Catalog, number: int) -> list[str]:
            conflicts = []
            for turn in range(25):
                which = shared[(turn * 7 + number * 5) % len(shared)]
                kind = (turn + number) % 8
                try:
                    if kind == 0:
                        put(at, placing, 5, owner=f"u{number % 2}")
                    elif kind == 1:
                        at.writes.abandon(begin(at, placing, 8, owner="alice"))
                    elif kind == 2:
                        at.writes.give_up(begin(at, placing, 8), "why not")
                    elif kind == 3:
                        adopt(at, [found("ab"[turn % 2], None, uuid=_uuid(number, turn))])
                    elif kind == 4:
                        adopt(at, [found("a", 5000 + turn), found("b", 4000 - turn)])
                    elif kind == 5:
                        pool = at.datasets.find(which).object_store_id
                        prepared = at.replaces.begin(which, 9, pool)
                        at.replaces.stage(prepared, "blake3:1", 9)
                        at.replaces.commit(Finished(prepared, 9, "blake3:1", "v"), "bob")
                    elif kind == 6:
                        at.fates.remove(which, None)
                        at.fates.restore(which, None)
                    else:
                        at.fates.doubt(which, at.datasets.find(which).object_store_id, "suspect", "who knows")
                        at.fates.verified(which, at.datasets.find(which).object_store_id, "v", "blake3:1")
                except Conflict as error:
                    conflicts.append(str(error))
            return conflicts

        def child(number: int) -> list[str]:
            own = Catalog.open(url, tmp_path)
            with ThreadPoolExecutor(4) as pool:
                return list(chain(*pool.map(lambda at: churn(own, number * 4 + at), range(4))))

        for conflict in chain(*in_children(2, child)):
            assert "dataset" in conflict
            assert "same time" not in conflict, "a deadlock"
        recount(url)

    def test_one_of_32_wins(self, catalog: Catalog, placing: Placing, url: str):
        which = put(catalog, placing, 10, owner="alice").dataset_id
        acts: list[tuple[str, Callable[[], Any]]] = [
            ("replace", lambda: catalog.replaces.begin(which, 5, "a")),
            ("purge", lambda: catalog.fates.begin_purge(which, None)),
        ]
        barrier = threading.Barrier(32)

        def attempt(number: int) -> str:
            name, act = acts[number % 2]
            barrier.wait()
            try:
                act()
            except Conflict:
                return "conflict"
            return name

        with ThreadPoolExecutor(32) as pool:
            said = list(pool.map(attempt, range(32)))
        if said.count("replace"):
            assert said.count("replace") == 1
            assert said.count("purge") == 0
        else:
            assert said.count("purge") == 16, "a purge of what is purged is no conflict"
        recount(url)
        assert len(catalog.events.newest(dataset_id=which)) == (1 if said.count("replace") else 2)

    # -- who is at work -------------------------------------------------------------------------------------------

    def test_a_dead_process_is_noticed_and_what_it_began_is_known(self, catalog: Catalog, placing: Placing, url: str):
        catalog.close()

        def child(_: int) -> list[int]:
            put(catalog, placing)
            one = begin(catalog, placing, 12).dataset_id
            replaced = catalog.replaces.begin(1, 3, "a").dataset_id
            return [one, replaced]

        [[begun, replaced]] = in_children(1, child)
        mine = begin(catalog, placing)
        [dead] = catalog.holders.dead()
        unfinished = {prepared.dataset_id: kind for prepared, kind in catalog.reservations.unfinished(dead.id)}
        assert unfinished == {begun: "put", replaced: "replace"}
        [(prepared, _)] = [one for one in catalog.reservations.unfinished(dead.id) if one[1] == "put"]
        catalog.writes.abandon(prepared)
        assert catalog.datasets.find(begun) is None
        catalog.writes.commit([finished(mine)])
        with catalog.db.write() as cursor:
            catalog.holders.forget(cursor, dead.id)
        assert catalog.holders.dead() == []
        recount(url)

    def test_another_process_with_the_same_pid_is_not_the_same(self, catalog: Catalog, url: str):
        own = catalog.holders.own()
        assert catalog.holders.dead() == []
        execute(url, f"UPDATE holder SET born = '17' WHERE id = '{own}'")
        assert [holder.id for holder in catalog.holders.dead()] == [own]

    def test_a_process_elsewhere_is_dead_when_it_is_silent(self, url: str, tmp_path: Path):
        clock = ShiftedClock()
        catalog = Catalog.open(url, tmp_path, clock=clock)
        own = catalog.holders.own()
        execute(url, f"UPDATE holder SET machine = 'elsewhere boot space' WHERE id = '{own}'")
        assert catalog.holders.dead() == []
        clock.later_s = SILENT_S - 5
        assert catalog.holders.dead() == []
        clock.later_s = SILENT_S + 5
        assert [holder.id for holder in catalog.holders.dead()] == [own]
        catalog.holders.touch()
        assert catalog.holders.dead() == []
        with catalog.db.write() as cursor:
            catalog.holders.forget(cursor, own)
        catalog.holders.touch()
        assert rows_of(url, "SELECT id FROM holder") == [(own,)], "one that was forgotten shows itself again"
        catalog.close()

    def test_a_machine_started_anew_has_lost_its_processes(self, catalog: Catalog, url: str):
        own = catalog.holders.own()
        host, _, space = holders_module.this_machine().split(" ", 2)
        execute(url, f"UPDATE holder SET machine = '{host} before-the-power-cut {space}' WHERE id = '{own}'")
        assert [holder.id for holder in catalog.holders.dead()] == [own]

    # -- processes ------------------------------------------------------------------------------------------------

    def test_a_fork_of_a_warm_catalog_goes_on_in_both(self, catalog: Catalog, placing: Placing, url: str):
        for _ in range(3):
            put(catalog, placing)
        assert in_children(3, lambda number: [put(catalog, placing).dataset_id for _ in range(4)])
        for _ in range(3):
            put(catalog, placing)
        assert catalog.totals().datasets == 18
        assert rows_of(url, "SELECT count(*) FROM holder") == [(4,)]
        recount(url)

    def test_a_child_outlives_the_parents_catalog(self, catalog: Catalog, placing: Placing, url: str):
        """As a daemon does: what the child acknowledges after its parent has closed is there for good."""
        put(catalog, placing)
        go, wait = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(wait)
                put(catalog, placing)
                os.read(go, 1)
                for _ in range(20):
                    put(catalog, placing)
                code = 0
            finally:
                os._exit(code)
        os.close(go)
        deadline = time.monotonic() + 20
        while len(rows_of(url, "SELECT id FROM dataset WHERE state = 'ok'")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        put(catalog, placing)
        catalog.close()
        rows_of(url, "SELECT count(*) FROM dataset")
        os.write(wait, b"x")
        os.close(wait)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert rows_of(url, "SELECT count(*) FROM dataset WHERE state = 'ok'") == [(23,)]
        assert catalog.totals().datasets == 23
        recount(url)

    def test_a_fork_in_the_middle_of_anothers_transaction(self, catalog: Catalog, placing: Placing, url: str):
        inside, leave = threading.Event(), threading.Event()

        def hold_a_transaction() -> None:
            with catalog.db.write():
                inside.set()
                leave.wait(20)

        thread = threading.Thread(target=hold_a_transaction)
        thread.start()
        inside.wait(20)
        threading.Timer(0.5, leave.set).start()
        try:
            assert in_children(1, lambda _: put(catalog, placing).dataset_id) == [1]
        finally:
            leave.set()
            thread.join()
        assert catalog.totals().datasets == 1
        recount(url)

    def test_a_fork_inside_ones_own_transaction(self, catalog: Catalog, placing: Placing, url: str):
        with catalog.db.write() as cursor:
            catalog.events.add(cursor, 1, "test", "before the fork")
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
        assert [event.text for event in catalog.events.newest()] == ["before the fork"]

    # -- the schema -----------------------------------------------------------------------------------------------

    def test_the_migrations_make_the_tables_of_the_schema(self, catalog: Catalog, url: str):
        import sqlalchemy
        from alembic.autogenerate import compare_metadata
        from alembic.runtime.migration import MigrationContext

        engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                # alembic takes SQLite's '' for another default than ""
                opts={"compare_type": True, "compare_server_default": not catalog.db.is_sqlite},
            )
            assert compare_metadata(context, schema.metadata) == []
        engine.dispose()
        assert migrate.version(catalog.db) == schema.HEAD

    def test_two_processes_make_the_catalog_at_once(self, url: str, tmp_path: Path):
        def child(number: int) -> int:
            own = Catalog.open(url, tmp_path)
            register(own, "a")
            return put(own, Placing(tree_of("hierarchical", {"a": 1}))).dataset_id

        assert sorted(in_children(6, child)) == [1, 2, 3, 4, 5, 6]
        recount(url)

    def test_many_threads_make_the_catalog_at_once(self, url: str, tmp_path: Path):
        with ThreadPoolExecutor(8) as pool:
            catalogs = list(pool.map(lambda _: Catalog.open(url, tmp_path), range(8)))
        assert [migrate.version(one.db) for one in catalogs] == [schema.HEAD] * 8
        for one in catalogs:
            one.close()

    def test_opening_again_changes_nothing(self, catalog: Catalog, placing: Placing, url: str, tmp_path: Path):
        put(catalog, placing)
        again = Catalog.open(url, tmp_path)
        assert again.totals().datasets == 1
        assert migrate.upgrade(again.db) == (schema.HEAD, schema.HEAD)
        again.close()

    def test_a_schema_from_the_future_is_refused(self, catalog: Catalog, url: str, tmp_path: Path):
        catalog.close()
        execute(url, "UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(SchemaMismatch, match="newer Holdfast"):
            Catalog.open(url, tmp_path)
        with pytest.raises(SchemaMismatch, match="newer Holdfast"):
            migrate.upgrade(catalog.db)

    def test_an_old_schema_asks_to_be_upgraded(self, catalog: Catalog, url: str, tmp_path: Path):
        catalog.close()
        execute(url, "UPDATE alembic_version SET version_num = '0000'")
        with pytest.raises(SchemaMismatch, match="holdfast catalog upgrade"):
            Catalog.open(url, tmp_path)

    def test_somebody_elses_tables_are_left_alone(self, url: str, tmp_path: Path):
        execute(url, "CREATE TABLE history_dataset_association (id integer)")
        with pytest.raises(SchemaMismatch, match=r"history_dataset_association.*a database of its own"):
            Catalog.open(url, tmp_path)
        execute(url, "CREATE TABLE alembic_version (version_num varchar(32))")
        execute(url, "INSERT INTO alembic_version VALUES ('d4a650f47a3c')")
        with pytest.raises(SchemaMismatch, match=r"history_dataset_association.*a database of its own"):
            Catalog.open(url, tmp_path)
        assert len(rows_of(url, "SELECT * FROM alembic_version")) == 1

    def test_settings(self, catalog: Catalog):
        assert catalog.setting("x") is None
        catalog.set("x", "1")
        catalog.set("x", "2")
        assert catalog.setting("x") == "2"

    # -- transactions ---------------------------------------------------------------------------------------------

    def test_what_raises_inside_is_not_kept_and_passes_unchanged(self, catalog: Catalog):
        class Ours(Exception):
            pass

        for error in (Ours("x"), NotFound("y"), KeyboardInterrupt()):
            with pytest.raises(type(error)) as caught, catalog.db.write() as cursor:  # noqa: PT012
                catalog.events.add(cursor, 1, "test", "never")
                raise error
            assert caught.value is error
            assert caught.value.__cause__ is None
            with pytest.raises(type(error)) as caught, catalog.db.read():
                raise error
            assert caught.value.__cause__ is None
        assert catalog.events.newest() == []
        catalog.set("x", "still works")

    def test_a_snapshot_does_not_move(self, catalog: Catalog, placing: Placing):
        put(catalog, placing)
        with catalog.db.snapshot() as cursor:
            before = catalog.counters.states(cursor)
            thread = threading.Thread(target=lambda: put(catalog, placing))
            thread.start()
            thread.join()
            assert catalog.counters.states(cursor) == before
        assert catalog.totals().datasets == 2

    def test_connections_kept_are_few(self, catalog: Catalog):
        barrier = threading.Barrier(40)

        def read(_: int) -> None:
            with catalog.db.read():
                barrier.wait()

        with ThreadPoolExecutor(40) as pool:
            list(pool.map(read, range(40)))
        assert 1 <= catalog.db.connections_kept <= 32


# -- small things ---------------------------------------------------------------------------------------------------


def layout_key(dataset_id: int) -> Any:
    from holdfast import layout

    return layout.primary_key("id", dataset_id, "")


def _find(catalog: Catalog, prepared: Prepared) -> Dataset:
    dataset = catalog.datasets.find(prepared.dataset_id)
    assert dataset is not None
    assert catalog.datasets.find_uuid(prepared.uuid) == dataset
    return dataset


def _pages(catalog: Catalog, **which: Any) -> list[int]:
    ids: list[int] = []
    after = None
    while page := catalog.datasets.page(Filter(after=after, **which)):
        ids += [one.id for one in page]
        after = page[-1].id
    return ids


def _slow_event(catalog: Catalog, number: int) -> None:
    with catalog.db.write() as cursor:
        catalog.events.add(cursor, number, "test", "slow")
        time.sleep(0.002 * (number % 5))


def _uuid(number: int, turn: int) -> str:
    return f"bbbbbbbb-{number:04x}-4000-8000-{turn:012x}"


class _counting:  # noqa: N801 - reads like a function
    """Counts the statements that are run while the block lasts, transactions' own words left out."""

    def __enter__(self) -> list[str]:
        self.ran: list[str] = []
        self._kept = {name: getattr(Statement, name) for name in ("run", "run_many", "one", "all")}
        for name, inner in self._kept.items():
            setattr(Statement, name, self._wrapped(inner))
        return self.ran

    def __exit__(self, *_: object) -> None:
        for name, inner in self._kept.items():
            setattr(Statement, name, inner)

    def _wrapped(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def counted(statement: Statement, *given: Any) -> Any:
            self.ran.append(statement.text)
            return inner(statement, *given)

        return counted


__all__ = ["CatalogContract", "HoldfastError"]


def _fill_labels(url: str, count: int) -> None:
    """So many datasets, every tenth of which has the label, and what PostgreSQL wants to know of them."""
    execute(
        url,
        "INSERT INTO dataset (id, uuid, name, name_key, state, origin, created_us, updated_us) "
        f"SELECT n, n::text, 'n', 'n', 'ok', 'put', 0, 0 FROM generate_series(1, {count}) AS n",
    )
    execute(
        url,
        "INSERT INTO label (dataset_id, key, value) SELECT id, 'project', "
        "CASE WHEN id % 10 = 0 THEN 'apollo' ELSE 'other' || id END FROM dataset",
    )
    execute(url, "ANALYZE")
