"""Every weakness of Galaxy's caching object stores that is known to us, shown not to be one of Holdfast.

`test_cNN` are the mechanics of its caching stores, `test_eNN` what its users suffer from, numbered as in our list of
both; those that concern iRODS, Pithos, Rucio or Onedata alone, moving data between pools, rules by role, and pools of
the users' own are not here. Each goes through a whole hold over a server that speaks S3, and looks past it.

Shown elsewhere too: the bound, full disks and pins in tests/unit/cached/test_bound.py, what is not served in
test_truth.py, requests counted in test_budgets.py, kills in tests/crash/test_killed_cache.py, faults on the way in
test_faults_through_the_stack.py beside this.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.stack_kit import MARK, MIB, ONE, Document, Stack, at_once, content_of, s3_pool, stacked, texts_below

import holdfast
from holdfast.config.read import read_document
from holdfast.errors import Corrupt, Denied, NoSpace, NotFound, StoreError, Unauthenticated, Unavailable
from holdfast.jobs.jobs import Jobs
from holdfast.keys import Key
from holdfast.layout import extra_files_prefix_of, primary_key
from holdfast.testing.fault_proxy import ACCESS_DENIED, INTERNAL_ERROR, CutResponse, Truncate
from holdfast.testing.object_backdoors import AzureBucket, S3Bucket
from holdfast.testing.object_servers import ObjectServer

pytestmark = pytest.mark.needs("moto")

SMALL = {"cache": {"size_bytes": 8 * MIB}}


@pytest.fixture(scope="module")
def shared(moto: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stacked(tmp_path_factory.mktemp("stack") / "home", moto) as made:
        made.put(b"the first")
        yield made


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """One for all tests that need no document of their own; opened anew for each."""
    shared.proxy.clear()
    yield shared
    shared.proxy.clear()
    shared.proxy.accept()
    shared.close()


def key_of(dataset_id: int) -> Key:
    return primary_key("id", dataset_id, "")


def galaxy_xml(cache: str, *, kind: str = "hierarchical") -> Document:
    """As in the tutorial, with one disk."""

    def text(stack: Stack, host: str, port: int) -> str:
        home, server = stack.home, stack.server
        (home / "disk").mkdir(exist_ok=True)
        return f"""<?xml version="1.0"?>
<object_store type="{kind}">
  <backends>
    <backend id="disk" type="disk" order="1" weight="1"><files_dir path="{home}/disk"/>
      <extra_dir type="job_work" path="{home}/disk_work"/></backend>
    <object_store id="bucket" type="swift" order="0" weight="1">
      <auth access_key="{server.access_key}" secret_key="{server.secret_key}" />
      <bucket name="{stack.bucket.name}" use_reduced_redundancy="False" max_chunk_size="250"/>
      <connection host="{host}" port="{port}" is_secure="False" conn_path="" multipart="True"/>
      {cache.format(home=home)}
      <extra_dir type="job_work" path="{home}/work"/>
      <extra_dir type="temp" path="{home}/temp"/>
    </object_store>
  </backends>
</object_store>"""

    return text


def other_pool(stack: Stack, **more: object) -> tuple[dict, S3Bucket]:
    """A second remote pool, with its backdoor."""
    name = stack.server.fresh_bucket()
    backdoor = stack.server.backdoor(name)
    assert isinstance(backdoor, S3Bucket)
    return s3_pool(stack.server, name, stack.proxy.url, stack.home / "cache", order=2, **more), backdoor


# -- the cache's bound ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["-1", "0"])
def test_c01_e02_a_cache_without_a_bound_is_not_emptied(moto: ObjectServer, tmp_path: Path, size: str):
    document = galaxy_xml(f'<cache path="{{home}}/cache" size="{size}"/>')
    with stacked(tmp_path / "home", moto, document=document) as stack:
        ids = [stack.put_cold(content_of(MIB, seed)) for seed in range(3)]
        for seed, dataset_id in enumerate(ids):
            assert stack.leased(dataset_id) == content_of(MIB, seed)
        stack.operate("reap", grace_s=0)
        stack.close()
        assert sum(stack.cache_files().values()) >= 3 * MIB
        stack.proxy.clear()
        for seed, dataset_id in enumerate(ids):
            assert stack.leased(dataset_id) == content_of(MIB, seed)
        assert stack.proxy.exchanges() == []


def test_c02_e01_what_a_reader_or_a_queued_job_needs_is_not_evicted(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto, pool={"cache": {"size_bytes": 20 * MIB}}) as stack:
        ids = [stack.put_cold(content_of(4 * MIB, seed)) for seed in range(7)]
        jobs = Jobs(stack.hold)
        with stack.hold.lease(ids[0]) as path:
            job = jobs.submit(["sh", "-c", "cat {input1} > {output:o}"], inputs=[ids[1]], outputs=["o"])
            jobs.ahead.fetch(threading.Event())  # what an engine does while the job waits
            for seed in (*range(2, 7), *range(2, 7)):
                assert stack.leased(ids[seed]) == content_of(4 * MIB, seed)
            assert stack.moved() > 28 * MIB, "the others pushed each other out"
            assert path.read_bytes() == content_of(4 * MIB, 0)
            stack.proxy.clear()
            job = jobs.run(job.id)
            assert job.state == "ok", job.note
            assert stack.asked("GET") == [], "the input was still there"
        output = job.outputs[0].dataset_id
        assert output is not None
        assert stack.bucket.read(key_of(output)) == content_of(4 * MIB, 1)
        assert sum(stack.cache_files().values()) <= 20 * MIB


def test_c02_what_fits_into_the_room_that_is_left_can_be_leased(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto, pool=SMALL) as stack:
        in_use, wanted = (stack.put_cold(content_of(2 * MIB, seed)) for seed in range(2))
        with stack.hold.lease(in_use):
            assert stack.leased(wanted) == content_of(2 * MIB, 1)


def test_c03_eviction_survives_files_that_vanish(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto, pool=SMALL) as stack:
        ids = [stack.put_cold(content_of(2 * MIB, seed)) for seed in range(8)]
        for round_ in range(2):
            for seed, dataset_id in enumerate(ids):
                assert stack.leased(dataset_id) == content_of(2 * MIB, seed)
                if seed % 3 == round_:
                    for path in (stack.home / "cache" / "blobs").glob("*/*"):
                        path.unlink()
                assert sum(stack.cache_files().values()) <= 8 * MIB


def test_c04_a_hit_counts_as_use(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto, pool=SMALL) as stack:
        ids = [stack.put_cold(content_of(2 * MIB, seed)) for seed in range(6)]
        for _ in range(3):
            stack.leased(ids[0])
        for seed in range(1, 6):
            stack.leased(ids[seed])
        stack.proxy.clear()
        assert stack.leased(ids[0]) == content_of(2 * MIB, 0)
        assert stack.asked() == [], "the oldest file is the one that is used, and stayed"
        assert stack.leased(ids[1]) == content_of(2 * MIB, 1)
        assert stack.asked() != []


def test_c05_c06_the_bound_holds_without_any_monitor_when_many_pull_at_once(moto: ObjectServer, tmp_path: Path):
    """Full disks, and disks that are to be kept free: tests/unit/cached/test_bound.py."""
    cache = '<cache path="{home}/cache" size="0.0078125"/>'
    with stacked(tmp_path / "home", moto, document=galaxy_xml(cache)) as stack:
        ids = [stack.put_cold(content_of(3 * MIB, seed)) for seed in range(8)]
        over, most = threading.Event(), 0

        def look() -> None:
            nonlocal most
            while not over.wait(0.002):
                before, after = stack.cache_files(), stack.cache_files()
                together = before.keys() & after.keys()  # between the two looks; one look takes time itself
                most = max(most, sum(min(before[name], after[name]) for name in together))

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            assert at_once(8, lambda n: stack.read(ids[n])) == [content_of(3 * MIB, seed) for seed in range(8)]
        finally:
            over.set()
            watcher.join()
        assert 0 < most <= 8 * MIB


def test_c07_c08_two_pools_share_a_folder_its_bound_and_nothing_else(moto: ObjectServer, tmp_path: Path):
    backdoors: list[S3Bucket] = []

    def more(stack: Stack) -> dict:
        pool, backdoor = other_pool(stack)
        backdoors.append(backdoor)
        pool["cache"]["size_bytes"] = 8 * MIB
        return {"other": pool}

    with stacked(tmp_path / "home", moto, pool=SMALL, more=more) as stack:
        first = stack.put(content_of(MIB, 1), pool="bucket")
        assert stack.put(content_of(MIB, 2), pool="other") == 2
        [other] = backdoors
        other.write(ONE, b"somebody else's")  # the same name in the other pool, of which nobody knows
        stack.proxy.clear()
        assert stack.leased(first) == content_of(MIB, 1)
        assert stack.hold.stat(first).size_bytes == MIB
        assert other.read(ONE) == b"somebody else's"
        assert stack.asked("P*") == [], "nothing was written by looking"
        for seed in range(3, 7):
            for pool in ("bucket", "other"):
                stack.leased(stack.put_cold(content_of(2 * MIB, seed), pool=pool))
                assert sum(stack.cache_files().values()) <= 8 * MIB
        usage = [stack.hold.keeping.cache_of(pool).cache_usage() for pool in ("bucket", "other")]
        [one], [two] = usage
        assert (one.folder, one.held_bytes, one.entries) == (two.folder, two.held_bytes, two.entries), "counted once"
        assert one.bound_bytes == two.bound_bytes == 8 * MIB


# -- what the cache believes ----------------------------------------------------------------------------------------


def test_c09_e18_looking_writes_nothing_and_brings_nothing_back(stack: Stack):
    dataset_id = stack.put(b"gone soon")
    stack.bucket.remove(key_of(dataset_id))
    stack.proxy.clear()
    for _ in range(2):
        with pytest.raises(NotFound):
            stack.hold.stat(dataset_id)
    stack.operate("scrub", repair=False)
    assert stack.state(dataset_id) == "missing"
    assert stack.asked("P*") == []
    assert stack.bucket.read(key_of(dataset_id)) is None
    stack.hold.remove(dataset_id, purge=True)


def test_c10_what_another_process_replaced_is_not_served_old(stack: Stack):
    dataset_id = stack.put(b"old bytes")
    assert stack.leased(dataset_id) == b"old bytes"
    with holdfast.open(stack.document, state=stack.home / "state") as another:
        another.replace(dataset_id, b"new bytes")
    assert stack.leased(dataset_id) == b"new bytes"
    assert stack.read(dataset_id) == b"new bytes"
    stack.sound()


@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB])
def test_c10_what_a_stranger_changed_is_found_by_who_checks(stack: Stack, size_bytes: int):
    dataset_id = stack.put_cold(content_of(size_bytes, 1))
    stack.bucket.write(key_of(dataset_id), content_of(size_bytes, 2))
    with pytest.raises(Corrupt):
        stack.hold.export(dataset_id, stack.home / "exported")
    assert not (stack.home / "exported").exists()
    assert stack.state(dataset_id) == "suspect"
    stack.bucket.write(key_of(dataset_id), content_of(size_bytes, 1))
    stack.operate("scrub", pool="bucket")
    assert stack.leased(dataset_id) == content_of(size_bytes, 1)


@pytest.mark.parametrize("size_bytes", [1000, 3 * MIB])
def test_c10_e10_what_a_stranger_changed_is_not_taken_for_the_dataset(stack: Stack, size_bytes: int):
    dataset_id = stack.put_cold(content_of(size_bytes, 1))
    stack.bucket.write(key_of(dataset_id), content_of(size_bytes, 2))
    try:
        with pytest.raises(Corrupt):
            stack.leased(dataset_id)
    finally:
        stack.hold.remove(dataset_id, purge=True)


def test_c11_emptying_a_dataset_is_not_lost(stack: Stack):
    dataset_id = stack.put(b"something")
    stack.hold.replace(dataset_id, b"")
    assert stack.bucket.read(key_of(dataset_id)) == b""
    stack.cold(dataset_id)
    assert (stack.leased(dataset_id), stack.read(dataset_id), stack.hold.find(dataset_id).size_bytes) == (b"", b"", 0)
    stack.proxy.clear()
    assert stack.leased(dataset_id) == b""
    stack.sound()


def test_c12_without_kept_copies_size_and_bytes_are_right_from_the_start(moto: ObjectServer, tmp_path: Path):
    cache = '<cache path="{home}/cache" size="1" cache_updated_data="false"/>'
    with stacked(tmp_path / "home", moto, document=galaxy_xml(cache)) as stack:
        dataset_id = stack.put(b"ACGT")
        assert stack.cache_files() == {}
        assert (stack.hold.find(dataset_id).size_bytes, stack.hold.stat(dataset_id).size_bytes) == (4, 4)
        stack.proxy.clear()
        assert stack.read(dataset_id) == b"ACGT"
        assert [one.response_bytes for one in stack.asked("GET")] == [4]
        stack.sound()


def test_c13_an_upload_that_is_refused_is_no_success(stack: Stack):
    before = stack.hold.totals()
    stack.proxy.script(ACCESS_DENIED, method="PUT", target="*/dataset_*", times=None)
    held = stack.cache_files()
    with pytest.raises(Denied):
        stack.put(b"refused", pool="bucket")
    assert stack.hold.totals() == before
    assert stack.cache_files() == held, "no copy that would look like the dataset"
    elsewhere = stack.hold.find(stack.put(b"refused"))
    assert elsewhere.object_store_id == "disk"
    assert any(one.object_store_id == "bucket" and "does not allow" in one.reason for one in elsewhere.placement)
    stack.sound()


def test_c14_e10_missing_silent_and_too_large_are_three_errors(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto, pool=SMALL) as stack:
        ids = [stack.put(content_of(9 * MIB if seed == 3 else MIB, seed)) for seed in (0, 1, 3)]
        stack.cold(*ids)
        missing, silent, large = ids
        stack.bucket.remove(key_of(missing))
        stack.proxy.script(INTERNAL_ERROR, target=f"*{key_of(silent)}", times=None)
        for dataset_id, error in ((missing, NotFound), (silent, Unavailable), (large, NoSpace)):
            with pytest.raises(StoreError) as caught:
                stack.leased(dataset_id)
            assert type(caught.value) is error, caught.value
        with pytest.raises(Unavailable):
            stack.hold.stat(silent)
        assert [stack.state(one) for one in (missing, silent, large)] == ["missing", "present", "present"]
        assert stack.bucket.read(key_of(silent)) == content_of(MIB, 1), "it was not written over"
        assert stack.asked("P*") == []
        stack.proxy.clear()
        assert stack.leased(silent) == content_of(MIB, 1)


# -- writing --------------------------------------------------------------------------------------------------------


def test_c15_e04_an_upload_without_one_of_its_parts_is_none(stack: Stack):
    """More of it, with signatures and lost answers: test_faults_through_the_stack.py."""
    before, files = stack.blobs(), set(stack.home.rglob("*"))
    stack.proxy.script(INTERNAL_ERROR, method="PUT", target="*partNumber=2*", times=None)
    with pytest.raises(Unavailable):
        stack.put(content_of(24 * MIB, 1), pool="bucket")
    assert stack.blobs() == before
    left = {path for path in set(stack.home.rglob("*")) - files if path.is_file()}
    assert {path for path in left if "cache/index" not in str(path) and "catalog.sqlite" not in path.name} == set()
    stack.proxy.clear()
    dataset_id = stack.put(content_of(24 * MIB, 2), pool="bucket")
    assert stack.bucket.read(key_of(dataset_id)) == content_of(24 * MIB, 2), "no part of the first one in it"
    stack.sound()
    stack.hold.remove(dataset_id, purge=True)


def test_c16_extra_files_are_whole_however_many_are_cached(stack: Stack, tmp_path: Path):
    (tmp_path / "extra" / "sub").mkdir(parents=True)
    names = [f"sub/{number}.txt" if number % 2 else f"{number}.txt" for number in range(6)]
    for name in names:
        (tmp_path / "extra" / name).write_text(name)
    dataset_id = stack.put(b"composite", extra_files=tmp_path / "extra")
    prefix = extra_files_prefix_of(key_of(dataset_id))
    cache = stack.hold.keeping.cache_of("bucket")
    for name in names[:3]:
        assert cache.drop(Key(prefix + name)) > 0
    assert sorted(one.path for one in stack.hold.extra_files(dataset_id)) == sorted(names)
    for name in names:
        with stack.hold.lease(dataset_id, extra_file=name) as path:
            assert path.read_text() == name
    stack.sound()


def test_c21_who_reads_what_is_replaced_has_the_old_whole(stack: Stack):
    """What a kill or a power cut leaves: tests/crash/test_killed_cache.py, tests/unit/cached/test_truth.py."""
    dataset_id = stack.put(content_of(3 * MIB, 1))
    with stack.hold.lease(dataset_id) as path, stack.hold.open(dataset_id) as stream:
        begin = stream.read(10)
        stack.hold.replace(dataset_id, content_of(3 * MIB, 2))
        assert path.read_bytes() == content_of(3 * MIB, 1)
        assert begin + stream.read() == content_of(3 * MIB, 1)
    assert stack.leased(dataset_id) == content_of(3 * MIB, 2)
    stack.sound()


def test_c29_a_job_that_waits_or_fails_leaves_no_empty_object(stack: Stack):
    jobs, before = Jobs(stack.hold), stack.bucket.names()
    job = jobs.submit(["sh", "-c", "exit 3"], outputs=["o"])
    assert stack.asked() == []
    assert jobs.run(job.id).state == "failed"
    assert stack.asked() == []
    assert stack.bucket.names() == before
    stack.sound()


# -- deleting -------------------------------------------------------------------------------------------------------


def test_c22_e12_what_could_not_be_deleted_is_deleted_later(stack: Stack):
    dataset_id = stack.put(b"to be purged")
    stack.proxy.script(INTERNAL_ERROR, method="DELETE", times=None)
    stack.hold.remove(dataset_id, purge=True)
    assert stack.state(dataset_id) == "retiring", "it counts until it is gone"
    assert stack.bucket.read(key_of(dataset_id)) == b"to be purged"
    stack.proxy.clear()
    stack.close()
    stack.operate("reap", grace_s=0)
    assert (stack.bucket.read(key_of(dataset_id)), stack.state(dataset_id)) == (None, "gone")
    stack.sound()


def test_c22_all_that_lies_beside_a_dataset_goes_with_it(stack: Stack):
    """Listings of several pages: the contract of stores."""
    dataset_id = stack.put(b"many")
    prefix = extra_files_prefix_of(key_of(dataset_id))
    at_once(8, lambda n: [stack.bucket.write(f"{prefix}{n}-{at}", b"x") for at in range(16)])
    stack.hold.remove(dataset_id, purge=True)
    assert {name for name in stack.bucket.names() if f"dataset_{dataset_id}" in name} == set()
    stack.sound()


def test_e12_orphans_are_found_and_can_be_taken_in(stack: Stack):
    dataset_id = stack.put(b"known")
    orphan = key_of(dataset_id + 5)
    stack.bucket.write(orphan, b"an orphan")
    row = stack.operate("reconcile", pool="bucket")
    assert row.state == "done", row
    assert orphan in json.dumps([str(one) for one in vars_of(stack, row.id)])
    stack.operate("reconcile", pool="bucket", adopt=True)
    assert stack.leased(dataset_id + 5) == b"an orphan"
    stack.hold.remove(dataset_id + 5, purge=True)
    assert stack.bucket.read(orphan) is None


def vars_of(stack: Stack, operation_id: int) -> list:
    """All that an operation said, as it is kept."""
    from holdfast.operations.runner import Operations

    operations = Operations(stack.hold)
    return [operations.to_json(operations.get(operation_id))]


# -- reading --------------------------------------------------------------------------------------------------------


def test_c17_one_byte_moves_one_block(stack: Stack):
    content = content_of(24 * MIB, 17)
    dataset_id = stack.put_cold(content)
    assert stack.read(dataset_id, 13_000_000, 1) == content[13_000_000:13_000_001]
    assert 0 < stack.moved() <= 2 * MIB
    assert len(stack.asked()) <= 2
    stack.hold.remove(dataset_id, purge=True)


def test_c18_e11_many_readers_of_a_cold_dataset_move_it_once(stack: Stack):
    content = content_of(24 * MIB, 18)
    dataset_id = stack.put_cold(content)
    act = (stack.leased, stack.read)
    assert all(one == content for one in at_once(8, lambda n: act[n % 2](dataset_id)))
    assert stack.moved() <= 1.05 * len(content)
    stack.hold.remove(dataset_id, purge=True)


def test_e11_a_job_that_is_submitted_again_fetches_nothing_again(stack: Stack):
    dataset_id = stack.put_cold(content_of(3 * MIB, 11))
    assert stack.run("cat {input1} >/dev/null; false", dataset_id).state == "failed"
    assert stack.moved() == 3 * MIB
    stack.proxy.clear()
    stack.close()
    assert stack.run("cat {input1} >/dev/null", dataset_id).state == "ok"
    assert stack.asked() == []


def test_c19_a_fetch_that_broke_leaves_nothing_that_is_not_counted(stack: Stack):
    """A fetch that is killed: tests/crash/test_killed_cache.py."""
    dataset_id = stack.put_cold(content_of(5 * MIB, 19))
    stack.proxy.script(CutResponse(300_000), method="GET", target="*/dataset_*", times=None)
    with pytest.raises(Unavailable):
        stack.leased(dataset_id)
    held = stack.hold.keeping.look(stack.hold.find(dataset_id))
    assert held is None or not held.whole
    usage = stack.hold.keeping.cache_of("bucket").cache_usage()[0]
    assert len(stack.cache_files()) <= usage.entries
    top = {path.name for path in (stack.home / "cache").iterdir()}
    index = {f"index.sqlite{end}" for end in ("", "-wal", "-shm")}
    assert top <= {"holdfast-cache", "blobs", "doors", "sessions"} | index, top
    stack.proxy.clear()
    stack.close()
    assert stack.leased(dataset_id) == content_of(5 * MIB, 19)


def test_c20_a_fetch_walks_no_folders(stack: Stack, monkeypatch: pytest.MonkeyPatch):
    for seed in range(20):
        stack.leased(stack.put_cold(content_of(1000, seed)))
    dataset_id = stack.put_cold(b"one more")
    looked: list[str] = []
    for name in ("walk", "listdir", "chmod"):
        monkeypatch.setattr(os, name, lambda *given, _name=name, **_: looked.append(f"{_name} {given}"))
    assert stack.leased(dataset_id) == b"one more"
    assert looked == []


def test_e03_a_truncated_or_empty_answer_is_not_the_dataset(stack: Stack):
    for size_bytes in (1000, 3 * MIB):
        for to_bytes in (0, 500):
            content = content_of(size_bytes, to_bytes)
            dataset_id = stack.put_cold(content)
            stack.proxy.script(Truncate(to_bytes), method="GET", target="*/dataset_*", times=1)
            assert stack.leased(dataset_id) == content
            stack.cold(dataset_id)
            stack.proxy.script(Truncate(to_bytes), method="GET", target="*/dataset_*", times=None)
            for way in (stack.leased, stack.read):
                with pytest.raises(StoreError):
                    way(dataset_id)
            stack.proxy.clear()
            stack.close()
            assert (stack.state(dataset_id), stack.leased(dataset_id)) == ("present", content)


def test_e05_a_dataset_larger_than_the_cache_streams(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto, pool=SMALL) as stack:
        content = content_of(24 * MIB, 5)
        dataset_id = stack.put_cold(content)
        assert stack.read(dataset_id) == content
        assert stack.hold.export(dataset_id, tmp_path / "out") == len(content)
        assert (tmp_path / "out").read_bytes() == content
        assert stack.read(dataset_id, 20 * MIB, 100) == content[20 * MIB : 20 * MIB + 100]
        assert sum(stack.cache_files().values()) <= 8 * MIB
        with pytest.raises(NoSpace, match="cache"):
            stack.leased(dataset_id)


def test_e24_who_wants_the_object_itself_gets_an_address(stack: Stack):
    content = content_of(MIB, 24)
    dataset_id = stack.put_cold(content)
    url = stack.hold.sign_url(dataset_id, expires_s=60, filename="reads.fastq")
    request = urllib.request.Request(url, headers={"Range": "bytes=10-19"})
    with urllib.request.urlopen(request) as answer:
        assert answer.read() == content[10:20]
        assert "reads.fastq" in answer.headers["Content-Disposition"]


# -- starting, and pools that are away ------------------------------------------------------------------------------


def test_c28_e09_a_dead_server_delays_nothing(stack: Stack):
    in_bucket, on_disk = stack.put(b"in the bucket", pool="bucket"), stack.put(b"on disk", pool="disk")
    stack.cold(in_bucket)
    stack.close()
    stack.proxy.refuse()
    began_s = time.monotonic()
    hold = stack.hold
    assert time.monotonic() - began_s < 1.0
    assert stack.read(on_disk) == b"on disk"
    with pytest.raises(Unavailable):
        stack.leased(in_bucket)
    elsewhere = hold.find(stack.put(b"meanwhile"))
    assert elsewhere.object_store_id == "disk"
    assert any(one.object_store_id == "bucket" and "reached" in one.reason for one in elsewhere.placement)
    assert stack.state(in_bucket) == "present"
    stack.proxy.accept()
    stack.close()
    assert stack.leased(in_bucket) == b"in the bucket"


def test_c28_opening_asks_nobody_and_starts_no_thread(stack: Stack):
    stack.close()
    stack.proxy.clear()
    threads = threading.active_count()
    assert stack.hold.pools()
    stack.hold.datasets()
    assert (stack.proxy.exchanges(), threading.active_count()) == ([], threads)


def test_c28_a_server_that_never_was_there_delays_nothing(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto) as stack:
        stack.proxy.refuse()
        began_s = time.monotonic()
        dataset = stack.hold.find(stack.put(b"not there yet"))
        assert dataset.object_store_id == "disk"
        assert stack.hold.find(stack.put(b"nor now")).object_store_id == "disk"
        assert time.monotonic() - began_s < 10.0
        health = stack.hold.pool("bucket").health
        assert health is not None
        assert health.state != "ok"


def test_c27_nothing_of_the_process_is_changed(stack: Stack):
    environment, state = dict(os.environ), random.getstate()
    dataset_id = stack.put(content_of_without_random(100_000))
    stack.cold(dataset_id)
    stack.leased(dataset_id)
    assert (dict(os.environ), random.getstate()) == (environment, state)


def content_of_without_random(size_bytes: int) -> bytes:
    return bytes(at % 251 for at in range(size_bytes))


def test_c26_the_keys_are_written_nowhere(moto: ObjectServer, tmp_path: Path):
    secret = "VerySecretKeyOfTheBucket0123456789abcdef"
    pool = {"auth": {"access_key": "AKIDFORTHETEST", "secret_key": secret}}
    with stacked(tmp_path / "home", moto, pool=pool, jobs={"keep_failed_s": 86_400}) as stack:
        dataset_id = stack.put_cold(b"input")
        job = stack.run("env; cat {input1}; exit 1", dataset_id)
        assert job.state == "failed"
        assert stack.run("cat {input1} > {output:o}", dataset_id, outputs=["o"]).state == "ok"
        stack.proxy.script(ACCESS_DENIED, method="PUT", times=None)
        with pytest.raises(Denied) as caught:
            stack.put(b"refused", pool="bucket")
        said = [str(caught.value), repr(stack.hold.config), repr(stack.hold.pools()), *map(repr, stack.hold.events())]
        stack.close()
        assert [text for text in said if secret in text] == []
        assert texts_below(stack.home, secret.encode()) == [stack.document.name]


@pytest.mark.needs("azurite")
def test_c24_azure_says_what_is_missing_and_what_is_wrong(azurite: ObjectServer, tmp_path: Path):
    container = azurite.fresh_bucket()
    backdoor = azurite.backdoor(container)
    assert isinstance(backdoor, AzureBucket)

    def document(key: str) -> Path:
        auth = {"account_name": azurite.access_key, "account_key": key, "account_url": azurite.endpoint_url}
        pool = {
            "type": "azure_blob", "auth": auth, "container": {"name": container},
            "cache": {"path": str(tmp_path / "cache"), "size_bytes": 64 * MIB},
        }  # fmt: skip
        path = tmp_path / "holdfast.yml"
        path.write_text(json.dumps({"placement": "hierarchical", "pools": {"azure": pool}}))
        return path

    with holdfast.open(document(azurite.secret_key), state=tmp_path / "state") as hold:
        kept, lost = hold.put(b"kept", name="kept"), hold.put(b"lost", name="lost")
        backdoor.remove(key_of(lost.id))
        with pytest.raises(NotFound):
            hold.stat(lost.id)
        assert (backdoor.read(key_of(kept.id)), hold.stat(kept.id).size_bytes) == (b"kept", 4)
        hold.keeping.drop(kept)
    wrong = "d3Jvbmcga2V5d3Jvbmcga2V5d3Jvbmcga2V5d3Jvbmcga2V5d3Jvbmcga2V5d3Jvbmcga2V5d3Jvbmc="
    with holdfast.open(document(wrong), state=tmp_path / "state") as hold:
        with pytest.raises((Unauthenticated, Denied)):
            hold.stat(kept.id)
        assert hold.find(kept.id).replicas[0].state == "present"


# -- where datasets go, and where they are --------------------------------------------------------------------------


def test_e06_what_was_there_before_is_neither_hidden_nor_brought_back(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto) as stack:
        stack.bucket.write("000/dataset_7.dat", b"before us")
        disk = stack.home / "disk" / "000"
        disk.mkdir()
        (disk / "dataset_8.dat").write_bytes(b"on disk before us")
        assert stack.put(b"new") > 8
        assert (stack.read(7), stack.read(8)) == (b"before us", b"on disk before us")
        assert stack.hold.find(8).object_store_id == "disk"
        assert stack.bucket.read("000/dataset_8.dat") is None, "no empty twin above it"
        stack.hold.remove(7, purge=True)
        stack.close()
        with pytest.raises(NotFound):
            stack.read(7)
        assert stack.bucket.read("000/dataset_7.dat") is None


def test_e06_a_pool_that_left_the_document_keeps_its_datasets(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto) as stack:
        dataset_id = stack.put_cold(b"in the bucket")
        whole = stack.document.read_text()
        document = json.loads(whole)
        del document["pools"]["bucket"]
        stack.close()
        stack.document.write_text(json.dumps(document))
        with pytest.raises(Unavailable, match="configuration"):
            stack.read(dataset_id)
        assert stack.put(b"another") == dataset_id + 1
        stack.close()
        stack.document.write_text(whole)
        assert stack.read(dataset_id) == b"in the bucket"
        stack.sound()


def test_e07_a_scrub_reads_the_pool_and_not_the_copy(stack: Stack):
    content = content_of(MIB, 7)
    dataset_id = stack.put(content)
    stack.bucket.write(key_of(dataset_id), content_of(MIB, 8))
    stack.operate("scrub", pool="bucket", repair=False)
    assert stack.state(dataset_id) == "suspect"
    assert stack.bucket.read(key_of(dataset_id)) == content_of(MIB, 8)
    stack.operate("scrub", pool="bucket")
    assert stack.state(dataset_id) == "present", "the copy is whole, and was verified: the pool is repaired from it"
    assert stack.bucket.read(key_of(dataset_id)) == content
    stack.operate("reap", grace_s=0)


def test_e08_a_bucket_has_the_room_that_it_was_given(moto: ObjectServer, tmp_path: Path):
    pool = {"capacity": "10 MiB", "max_percent_full": 50}
    with stacked(tmp_path / "home", moto, pool=pool) as stack:
        went = [stack.hold.find(stack.put(content_of(2 * MIB, seed))) for seed in range(4)]
        assert [one.object_store_id for one in went] == ["bucket", "bucket", "disk", "disk"]
        assert any(one.object_store_id == "bucket" and "full" in one.reason for one in went[2].placement)
        assert "000/dataset_3.dat" not in stack.bucket.names()
        stack.hold.remove(went[0].id, purge=True)
        assert stack.hold.find(stack.put(b"room again")).object_store_id == "bucket"
        with pytest.raises(NoSpace):
            stack.put(content_of(4 * MIB), pool="bucket")
        stack.sound()


def test_e14_e26_tiers_of_buckets_over_a_disk(moto: ObjectServer, tmp_path: Path):
    seconds: list[S3Bucket] = []

    def document(stack: Stack, host: str, port: int) -> str:
        name = stack.server.fresh_bucket()
        backdoor = stack.server.backdoor(name)
        assert isinstance(backdoor, S3Bucket)
        seconds.append(backdoor)
        (stack.home / "disk").mkdir()
        auth = f"auth: {{access_key: {stack.server.access_key}, secret_key: {stack.server.secret_key}}}"
        connection = f"connection: {{host: {host}, port: {port}, is_secure: false, conn_path: ''}}"
        rest = f"{auth}, {connection}, cache: {{path: {stack.home}/cache, size: 1}}"
        backends = "".join(
            f"\n    - {{type: generic_s3, id: {pool}, weight: 1, bucket: {{name: {bucket}}}, {rest}}}"
            for pool, bucket in (("one", stack.bucket.name), ("two", name))
        )
        return (
            "type: hierarchical\nbackends:\n- type: distributed\n  backends:" + backends
            + f"\n- {{type: disk, id: disk, files_dir: {stack.home}/disk}}\n"
        )  # fmt: skip

    with stacked(tmp_path / "home", moto, document=document, suffix="yml") as stack:
        ids = [stack.put(content_of(1000, seed)) for seed in range(6)]
        went = [stack.hold.find(one).object_store_id for one in ids]
        assert sorted(went) == ["one"] * 3 + ["two"] * 3
        assert len(stack.bucket.names() - {MARK}) == len(seconds[0].names() - {MARK}) == 3
        stack.cold(*ids)
        stack.close()
        assert [stack.read(one) for one in ids] == [content_of(1000, seed) for seed in range(6)]
        stack.hold.set_pool_state("one", "offline")
        stack.hold.set_pool_state("two", "offline")
        assert stack.hold.find(stack.put(b"the next tier")).object_store_id == "disk"


def test_e15_a_cache_over_two_disks(moto: ObjectServer, tmp_path: Path):
    home = tmp_path / "home"
    dirs = [{"path": f"{home}/{name}", "weight": 1, "size_bytes": 64 * MIB} for name in ("ssd1", "ssd2")]
    pool = {"cache": {"path": None, "size_bytes": None, "dirs": dirs}}
    with stacked(home, moto, pool=pool) as stack:
        ids = [stack.put_cold(content_of(10_000, seed)) for seed in range(24)]
        assert all(stack.leased(one) == content_of(10_000, seed) for seed, one in enumerate(ids))
        counts = [len(stack.cache_files(name)) for name in ("ssd1", "ssd2")]
        assert (sum(counts), min(counts) > 0) == (24, True), counts
        whole = json.loads(stack.document.read_text())
        whole["pools"]["bucket"]["cache"]["dirs"].pop()
        stack.close()
        stack.document.write_text(json.dumps(whole))
        stack.proxy.clear()
        assert all(stack.leased(one) == content_of(10_000, seed) for seed, one in enumerate(ids))
        assert len(stack.asked("GET")) == counts[1], "only what was on the disk that is gone"


def test_e16_both_of_galaxys_spellings_mean_the_same(tmp_path: Path):
    xml = tmp_path / "object_store_conf.xml"
    xml.write_text("""<object_store type="distributed"><backends>
  <object_store id="b" type="aws_s3" weight="2" maxpctfull="80" store_by="uuid" private="true" device="d" name="N">
    <description>words</description><quota source="q" enabled="true"/><badges><slower>tape</slower></badges>
    <auth access_key="a" secret_key="s"/><bucket name="n" use_reduced_redundancy="True" max_chunk_size="25"/>
    <connection host="h" port="9000" is_secure="False" conn_path="/p" multipart="False" region="r"/>
    <cache path="/c" size="2" cache_updated_data="False"/><extra_dir type="job_work" path="/w"/>
  </object_store></backends></object_store>""")
    yml = tmp_path / "object_store_conf.yml"
    yml.write_text("""
type: distributed
backends:
- {id: b, type: aws_s3, weight: 2, max_percent_full: 80, store_by: uuid, private: true, device: d, name: N,
   description: words, quota: {source: q, enabled: true}, badges: [{type: slower, message: tape}],
   auth: {access_key: a, secret_key: s}, bucket: {name: n, use_reduced_redundancy: true, max_chunk_size: 25},
   connection: {host: h, port: 9000, is_secure: false, conn_path: /p, multipart: false, region: r},
   cache: {path: /c, size: 2, cache_updated_data: false}, extra_dirs: [{type: job_work, path: /w}]}
""")
    read = [read_document(path, environ={}, state=tmp_path / "state") for path in (xml, yml)]
    assert read[0].tree == read[1].tree
    [pool] = read[0].pools()
    assert (pool.quota.source, pool.description, pool.store_by, [one.type for one in pool.badges]) == (
        "q", "words", "uuid", ["slower"],
    )  # fmt: skip


def test_e17_the_pool_that_was_preferred_is_taken_and_recorded(moto: ObjectServer, tmp_path: Path):
    more = {"order": 5, "allow_selection": True}
    with stacked(tmp_path / "home", moto, pool=more) as stack:
        assert stack.hold.find(stack.put(b"as ordered")).object_store_id == "disk"
        dataset = stack.hold.find(stack.put(b"preferred", preferred="bucket"))
        assert (dataset.object_store_id, stack.bucket.read(key_of(dataset.id))) == ("bucket", b"preferred")
        job = stack.run("cat {input1} > {output:o}", dataset.id, outputs=["o"], pool="bucket")
        output = stack.hold.find(job.outputs[0].dataset_id or 0)
        assert (output.object_store_id, stack.bucket.read(key_of(output.id))) == ("bucket", b"preferred")


def test_e20_pools_by_id_and_by_uuid_side_by_side(moto: ObjectServer, tmp_path: Path):
    with stacked(tmp_path / "home", moto, pool={"store_by": "uuid"}) as stack:
        folder = tmp_path / "extra"
        folder.mkdir()
        (folder / "a").write_bytes(b"extra")
        dataset = stack.hold.find(stack.put(b"by uuid", extra_files=folder))
        uuid = dataset.uuid
        top = f"{uuid[0]}/{uuid[1]}/{uuid[2]}/dataset_{uuid}"
        assert stack.blobs() == {f"{top}.dat": b"by uuid", f"{top}_files/a": b"extra"}
        on_disk = stack.put(b"by id", pool="disk")
        assert (stack.home / "disk" / key_of(on_disk)).read_bytes() == b"by id"
        stack.cold(dataset.id)
        job = stack.run("cat {input1} {input2} > {output:o}", dataset.id, on_disk, outputs=["o"])
        assert stack.read(job.outputs[0].dataset_id or 0) == b"by uuidby id"
        stack.sound()


def test_e21_e22_a_check_says_before_anything_runs_what_is_wrong(stack: Stack):
    """What is used is counted with each put; `sound`, at the end of most tests here, counts it anew."""
    stack.put(b"known")
    checks = {one.object_store_id: one for one in stack.hold.check_pools()}
    assert (checks["disk"].severity, checks["bucket"].severity) == ("ok", "ok"), checks
    stack.proxy.script(ACCESS_DENIED, method="PUT", times=None)
    wrong = {one.object_store_id: one for one in stack.hold.check_pools()}["bucket"]
    assert (wrong.severity, "does not allow" in wrong.detail) == ("error", True), wrong
    stack.proxy.clear()
    stack.close()
    stack.sound()
