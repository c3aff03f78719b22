"""Faults on the way to a real server, met by a whole hold with every layer; the proxy stands before Ceph's gateway.

Whatever happens on the way, a put, a read, a lease and a read of a part end with the right bytes or with an error of
the right class; nothing half is in the bucket, no upload is open, no room stays reserved, and no dataset is called
missing. And the tutorial's third exercise, word for word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.servers.stack_kit import MIB, Stack, content_of, stacked

from holdfast.cli.main import main as command_line
from holdfast.config import clouds
from holdfast.drivers.cloud import uploading
from holdfast.errors import Corrupt, Denied, OutcomeUnknown, Unavailable
from holdfast.keys import Key
from holdfast.layout import primary_key
from holdfast.testing.fault_proxy import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    NO_SUCH_BUCKET,
    CutRequest,
    CutResponse,
    Fault,
    LoseAnswer,
    Stall,
    Truncate,
    WrongRequestByte,
    WrongResponseByte,
    slow_down,
)
from holdfast.testing.object_servers import ObjectServer

pytestmark = pytest.mark.needs("rgw")

SMALL_BYTES = 300_000
LARGE_BYTES = 24 * MIB
STALL_S = 3.5
PATIENCE_S = 2.0  # instead of the driver's thirty seconds, so that a stall can be waited for


@pytest.fixture(scope="module")
def shared(rgw: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Payloads are signed, as over plain http to another machine: the server itself refuses changed bytes."""
    usual = clouds.cloud_settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clouds, "cloud_settings", lambda pool: replace(usual(pool), read_timeout_s=PATIENCE_S))
        signed = {"connection": {"payload_signing": "always"}, "bucket": {}}
        with stacked(tmp_path_factory.mktemp("stack") / "home", rgw, pool=signed) as made:
            made.put(b"the first")
            yield made


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """Opened anew for each test, and sound at its end; what it stored is taken away."""
    shared.proxy.clear()
    last = shared.hold.datasets()[0].id
    yield shared
    shared.proxy.clear()
    shared.proxy.accept()
    shared.close()
    try:
        shared.operate("reap", grace_s=0)
        shared.sound()
        for dataset in shared.hold.datasets():
            if dataset.id > last:
                shared.hold.remove(dataset.id, purge=True)
        shared.sound()
    finally:  # so that one failure is not that of all that follow
        for name in set(shared.blobs()) - {"000/dataset_1.dat"}:
            shared.bucket.remove(name)
        shared.close()


def key_of(dataset_id: int) -> Key:
    return primary_key("id", dataset_id, "")


# -- putting --------------------------------------------------------------------------------------------------------

PUT_FAULTS = {
    "cut at the first byte": CutRequest(0),
    "cut in the middle": CutRequest(150_000),
    "500": INTERNAL_ERROR,
    "503 with Retry-After": slow_down(1),
    "503": slow_down(),
    "wrong byte": WrongRequestByte(100_000),
    "stall": Stall(STALL_S),
    "lost answer": LoseAnswer(),
}


def script_put(stack: Stack, fault: Fault, target: str, times: int | None) -> Callable[[], int]:
    """Strike the uploads of blobs; if it asks for patience, whoever asks how long is told the same."""
    script = stack.proxy.script(fault, method="PUT", target=target, times=times)
    if fault == slow_down(1):
        stack.proxy.script(fault, method="HEAD", target=f"/{stack.bucket.name}", times=times)
    return lambda: script.struck


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES, LARGE_BYTES], ids=["single", "parts"])
@pytest.mark.parametrize("fault", PUT_FAULTS.values(), ids=PUT_FAULTS.keys())
def test_a_put_that_meets_a_fault_once_is_stored(stack: Stack, fault: Fault, size_bytes: int):
    content = content_of(size_bytes, 1)
    target = "*/dataset_*" if size_bytes == SMALL_BYTES else "*partNumber=1*"
    struck = script_put(stack, fault, target, 1)
    began_s = time.monotonic()
    dataset_id = stack.put(content, pool="bucket")
    assert struck() == 1
    if fault == slow_down(1):
        assert time.monotonic() - began_s >= 1.0, "it waited as long as it was asked to"
    if isinstance(fault, Stall):  # what stalled goes on to the server, after it was sent a second time
        time.sleep(max(0.0, began_s + 2 * STALL_S - time.monotonic()))
    assert stack.bucket.read(key_of(dataset_id)) == content
    stack.cold(dataset_id)
    assert stack.leased(dataset_id) == content
    stack.sound()


LASTING = {name: PUT_FAULTS[name] for name in ("cut in the middle", "500", "503", "wrong byte")}


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES, LARGE_BYTES], ids=["single", "parts"])
@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING.keys())
def test_a_put_that_meets_it_always_is_nowhere(stack: Stack, fault: Fault, size_bytes: int):
    before, totals = stack.blobs(), stack.hold.totals()
    target = "*/dataset_*" if size_bytes == SMALL_BYTES else "*partNumber=1*"
    struck = script_put(stack, fault, target, None)
    with pytest.raises(Unavailable):
        stack.put(content_of(size_bytes, 2), pool="bucket")
    of_one_put = 1 if size_bytes == SMALL_BYTES else uploading.ATTEMPTS  # its part is repeated alone first
    assert struck() == 3 * of_one_put, "it was tried as often as the document says"
    assert stack.hold.totals() == totals
    stack.proxy.clear()
    assert stack.blobs() == before
    stack.sound()


def test_completing_in_parts_whose_answer_is_lost_is_looked_into(stack: Stack):
    content = content_of(LARGE_BYTES, 3)
    script = stack.proxy.script(LoseAnswer(), method="POST", target="*uploadId=*", times=1)
    dataset_id = stack.put(content, pool="bucket")
    assert script.struck == 1
    assert stack.bucket.read(key_of(dataset_id)) == content
    assert len(stack.asked("POST", "*?uploads*")) == 1, "it was not sent twice"
    stack.sound()


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES, LARGE_BYTES], ids=["single", "parts"])
def test_a_put_of_which_nobody_knows_goes_elsewhere_and_is_taken_back(stack: Stack, size_bytes: int):
    """The answer is lost, and so is everything after it."""
    single = size_bytes == SMALL_BYTES
    method, target = ("PUT", "*/dataset_*") if single else ("POST", "*uploadId=*")
    stack.proxy.script(LoseAnswer(), method=method, target=target, times=None)
    stack.proxy.script(INTERNAL_ERROR, method="HEAD", target="*/dataset_*", nth=1 if single else 3, times=None)
    stack.proxy.script(INTERNAL_ERROR, method="DELETE", target="*/dataset_*", times=None)
    before, content = stack.blobs(), content_of(size_bytes, 4)
    with pytest.raises(OutcomeUnknown):
        stack.put(content, pool="bucket")
    dataset = stack.hold.find(stack.put(content))
    assert dataset.object_store_id == "disk"
    assert [one.reason for one in dataset.placement if one.object_store_id == "bucket" and not one.chosen]
    stack.proxy.clear()
    assert stack.blobs() != before, "it had arrived"
    stack.close()
    stack.operate("reap", grace_s=0)
    assert stack.blobs() == before
    stack.sound()


# -- reading --------------------------------------------------------------------------------------------------------

GET_FAULTS = {
    "cut at the first byte": CutResponse(0),
    "cut in the middle": CutResponse(150_000),
    "reset in the middle": CutResponse(150_000, "reset"),
    "500": INTERNAL_ERROR,
    "503 with Retry-After": slow_down(1),
    "truncated with a good status": Truncate(100_000),
    "stall before": Stall(STALL_S),
    "stall in the middle": Stall(STALL_S, at_byte=100_000),
}


def whole(stack: Stack, dataset_id: int) -> bytes:
    return stack.read(dataset_id)


def lease(stack: Stack, dataset_id: int) -> bytes:
    return stack.leased(dataset_id)


def part(stack: Stack, dataset_id: int) -> bytes:
    return stack.read(dataset_id, 200_000, 50_000)


def exported(stack: Stack, dataset_id: int) -> bytes:
    target = stack.home / "exported"
    try:
        stack.hold.export(dataset_id, target)
        return target.read_bytes()
    finally:
        target.unlink(missing_ok=True)


WAYS = {"read": whole, "lease": lease, "part": part}


@pytest.mark.parametrize("fault", GET_FAULTS.values(), ids=GET_FAULTS.keys())
def test_a_cold_read_that_meets_a_fault_once_has_the_right_bytes(stack: Stack, fault: Fault):
    is_slow = fault == slow_down(1) or isinstance(fault, Stall)
    for size_bytes in (5 * MIB,) if is_slow else (SMALL_BYTES, 5 * MIB):
        content = content_of(size_bytes, 5)
        dataset_id = stack.put(content)
        for name, way in WAYS.items():
            stack.cold(dataset_id)
            script = stack.proxy.script(fault, method="GET", target="*/dataset_*", times=1)
            if fault == slow_down(1):
                stack.proxy.script(fault, method="HEAD", target="*", times=1)
            assert way(stack, dataset_id) == (content[200_000:250_000] if way is part else content), name
            assert script.struck == 1
            assert stack.state(dataset_id) == "present"


@pytest.mark.parametrize("name", ["cut in the middle", "500", "truncated with a good status"])
def test_a_cold_read_that_meets_it_always_is_unavailable_and_never_missing(stack: Stack, name: str):
    content = content_of(5 * MIB, 6)
    dataset_id = stack.put(content)
    for way in WAYS.values():
        stack.cold(dataset_id)
        stack.proxy.script(GET_FAULTS[name], method="GET", target="*/dataset_*", times=None)
        with pytest.raises(Unavailable):
            way(stack, dataset_id)
        stack.proxy.clear()
        stack.close()  # with what it counted of the pool's health
        assert stack.state(dataset_id) == "present"
    assert stack.leased(dataset_id) == content


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES, 5 * MIB])
def test_a_wrong_byte_on_the_way_is_noticed_and_fetched_again(stack: Stack, size_bytes: int):
    content = content_of(size_bytes, 7)
    dataset_id = stack.put_cold(content)
    script = stack.proxy.script(WrongResponseByte(100_000), method="GET", target="*/dataset_*", times=1)
    assert stack.leased(dataset_id) == content
    assert script.struck == 1
    assert stack.read(dataset_id) == content
    assert stack.hold.keeping.cache_of("bucket").cache_usage()[0].damaged > 0, "it is reported"
    assert stack.state(dataset_id) == "present"


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES, 5 * MIB])
def test_a_wrong_byte_every_time_is_damage_and_is_not_kept(stack: Stack, size_bytes: int):
    content = content_of(size_bytes, 8)
    dataset_id = stack.put_cold(content)
    stack.proxy.script(WrongResponseByte(100_000), method="GET", target="*/dataset_*", times=None)
    with pytest.raises(Corrupt):
        stack.leased(dataset_id)
    stack.proxy.clear()
    assert stack.leased(dataset_id) == content, "what was damaged on the way was not kept"
    stack.operate("scrub", pool="bucket")
    assert stack.state(dataset_id) == "present"


def test_a_wrong_byte_does_not_leave_by_an_export(stack: Stack):
    content = content_of(5 * MIB, 9)
    dataset_id = stack.put_cold(content)
    stack.proxy.script(WrongResponseByte(100_000), method="GET", target="*/dataset_*", times=1)
    try:
        assert exported(stack, dataset_id) == content
    except Corrupt:
        stack.proxy.clear()
        stack.operate("scrub", pool="bucket")
    stack.cold(dataset_id)
    assert exported(stack, dataset_id) == content
    assert stack.state(dataset_id) == "present"


# -- pools that are away --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "no bucket", "500"])
def test_a_pool_that_fails_is_left_alone_and_comes_back_by_itself(stack: Stack, how: str):
    content = content_of(SMALL_BYTES, 10)
    dataset_id, on_disk = stack.put_cold(content), stack.put(b"on disk", pool="disk")
    if how == "refused":
        stack.proxy.refuse()
    else:
        stack.proxy.script(NO_SUCH_BUCKET if how == "no bucket" else INTERNAL_ERROR, times=None)
    for way in (*WAYS.values(), whole, lease):
        with pytest.raises(Unavailable):
            way(stack, dataset_id)
    health = stack.hold.pool("bucket").health
    assert health is not None
    assert (health.state, stack.hold.pool("bucket").reachable) == ("paused", False)
    stack.proxy.clear()
    if how != "refused":
        stack.proxy.script(NO_SUCH_BUCKET if how == "no bucket" else INTERNAL_ERROR, times=None)
    began_s = time.monotonic()
    with pytest.raises(Unavailable):
        stack.leased(dataset_id)
    elsewhere = stack.hold.find(stack.put(b"meanwhile"))
    assert stack.read(on_disk) == b"on disk"
    assert time.monotonic() - began_s < 1.0
    assert stack.proxy.exchanges() == [], "it was not asked"
    assert elsewhere.object_store_id == "disk"
    assert [one.reason for one in elsewhere.placement if one.object_store_id == "bucket" and "answer" in one.reason]
    assert stack.state(dataset_id) == "present"
    assert "bucket" in stack.hold.unavailable()

    stack.proxy.clear()
    stack.proxy.accept()
    if how != "refused":  # the others do not wait for it as well
        stack.close()
    end_s = time.monotonic() + 15.0
    while True:
        try:
            assert stack.leased(dataset_id) == content
            break
        except Unavailable:
            assert time.monotonic() < end_s
            time.sleep(0.1)
    assert stack.hold.find(stack.put(b"back again")).object_store_id == "bucket"
    assert stack.hold.unavailable() == {}


def test_what_is_not_allowed_is_denied_and_another_pool_takes_it(stack: Stack):
    stack.proxy.script(ACCESS_DENIED, method="P*", target="*/dataset_*", times=None)
    for size_bytes in (SMALL_BYTES, LARGE_BYTES):
        with pytest.raises(Denied):
            stack.put(content_of(size_bytes), pool="bucket")
        dataset = stack.hold.find(stack.put(content_of(size_bytes)))
        assert dataset.object_store_id == "disk"
        assert [one.reason for one in dataset.placement if one.object_store_id == "bucket" and not one.chosen]


def test_a_delete_that_fails_is_made_good_later(stack: Stack):
    dataset_id = stack.put(content_of(SMALL_BYTES, 11))
    stack.proxy.script(LoseAnswer(), method="DELETE", times=1)
    stack.hold.remove(dataset_id, purge=True)
    stack.proxy.clear()
    stack.operate("reap", grace_s=0)
    assert (stack.bucket.read(key_of(dataset_id)), stack.state(dataset_id)) == (None, "gone")


# -- the tutorial ---------------------------------------------------------------------------------------------------

THIRD_EXERCISE = """<?xml version="1.0"?>
<object_store type="hierarchical">
    <backends>
        <backend id="newdata" type="disk" order="1">
            <files_dir path="/data2"/>
            <extra_dir type="job_work" path="/data2/job_work_dir"/>
        </backend>
        <backend id="olddata" type="disk" order="2">
            <files_dir path="/data"/>
            <extra_dir type="job_work" path="/data/job_work_dir"/>
        </backend>
        <object_store id="swifty" type="swift" order="0">
            <auth access_key="my-access-key" secret_key="my-super-extra-top-secret-key" />
            <bucket name="galaxy" use_reduced_redundancy="False" max_chunk_size="250"/>
            <connection host="127.0.0.1" port="9091" is_secure="False" conn_path="" multipart="True"/>
            <cache path="/srv/galaxy/var/database/object_store_cache" size="1000" />
            <extra_dir type="job_work" path="/srv/galaxy/var/database/job_working_directory_swift"/>
            <extra_dir type="temp" path="/srv/galaxy/var/database/tmp_swift"/>
        </object_store>
    </backends>
</object_store>
"""


@pytest.mark.parametrize("kind", ["hierarchical", "distributed"])
def test_the_tutorials_third_exercise(rgw: ObjectServer, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]):
    def document(stack: Stack, host: str, port: int) -> str:
        for name in ("data", "data2", "srv/galaxy/var/database"):  # as they are on a Galaxy server
            (stack.home / name).mkdir(parents=True)
        here = urlsplit(rgw.endpoint_url)
        text = THIRD_EXERCISE.replace('type="hierarchical"', f'type="{kind}"')
        for old, new in {
            "my-access-key": rgw.access_key, "my-super-extra-top-secret-key": rgw.secret_key,
            'name="galaxy"': f'name="{stack.bucket.name}"', 'host="127.0.0.1"': f'host="{here.hostname}"',
            'port="9091"': f'port="{here.port}"', 'path="/': f'path="{stack.home}/',
        }.items():  # fmt: skip
            assert old in text
            text = text.replace(old, new)
        return text

    with stacked(tmp_path / "home", rgw, document=document) as stack:
        stack.bucket.client.delete_bucket(Bucket=stack.bucket.name)  # Holdfast makes it

        def run(*words: str) -> str:
            code = command_line([*words, "--config", str(stack.document), "--state", str(stack.home / "state")])
            said = capsys.readouterr()
            assert code == 0, said
            return said.out

        for pool in ("swifty", "newdata", "olddata"):
            assert pool in run("check")
        reads = tmp_path / "reads.fastq"
        ids, number = [], 1 if kind == "hierarchical" else 3
        for at in range(number):
            reads.write_bytes(content_of(10_000, at))
            run("put", str(reads))
            ids.append(at + 1)
        where = {one: stack.hold.find(one).object_store_id for one in ids}
        assert sorted(where.values()) == (["swifty"] if number == 1 else ["newdata", "olddata", "swifty"])
        mine = next(one for one in ids if where[one] == "swifty")
        assert stack.blobs() == {f"000/dataset_{mine}.dat": content_of(10_000, mine - 1)}

        with stack.hold.lease(mine) as path:
            shown = Path(run("path", str(mine)).strip())
            assert (shown, shown.read_bytes()) == (path, content_of(10_000, mine - 1))
        job = stack.run("sort {input1} > {output:sorted.txt}; pwd", mine, outputs=["sorted.txt"], pool="swifty")
        assert (job.state, job.object_store_id) == ("ok", "swifty"), job.note
        output = job.outputs[0].dataset_id
        assert output is not None
        kept = stack.bucket.read(f"000/dataset_{output}.dat")
        assert kept is not None
        assert sorted(kept.splitlines()) == sorted(content_of(10_000, mine - 1).splitlines())
        assert (stack.home / "srv/galaxy/var/database/job_working_directory_swift").is_dir()
        assert (stack.home / "srv/galaxy/var/database/object_store_cache/blobs").is_dir()

        stack.cold(mine)
        run("get", str(mine), "-o", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == content_of(10_000, mine - 1)
        for dataset_id in (*ids, output):
            run("rm", "--purge", str(dataset_id))
        assert stack.blobs() == {}
        stack.sound("swifty")


def test_a_check_names_a_cache_that_cannot_be_used(rgw: ObjectServer, tmp_path: Path):
    (tmp_path / "a file").write_bytes(b"")
    with stacked(tmp_path / "home", rgw, pool={"cache": {"path": str(tmp_path / "a file" / "cache")}}) as stack:
        [check] = [one for one in stack.hold.check_pools() if one.object_store_id == "bucket"]
        assert check.severity != "ok", check
        assert "cache" in check.detail


def test_the_folders_above_a_cache_are_made_as_galaxy_makes_them(rgw: ObjectServer, tmp_path: Path):
    with stacked(
        tmp_path / "home", rgw, pool={"cache": {"path": str(tmp_path / "var" / "database" / "cache")}}
    ) as stack:
        assert stack.leased(stack.put(b"ACGT")) == b"ACGT"
