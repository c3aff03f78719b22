"""Pools in a bucket: `Hold`, its cache and driver against the peer (boto3), obstore and boto3 alone, on one server.

The server is Ceph's radosgw for what is large, and for many small blobs one that costs almost nothing (`light_s3`): on
Ceph these rows would time Ceph. Latency comes from a proxy in a process of its own.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from bench.measuring import Row, bounded, costs, seconds
from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.hold.bodies import PutItem
from holdfast.hold.hold import Hold
from holdfast.hold.transfer import REMOTE_AT_ONCE
from holdfast.testing.fault_proxy import FaultProxy
from holdfast.testing.object_servers import FOLDER, ObjectServer, running

MIB = 1024**2
GIB = 1024**3
LATENCY_S = 0.01  # each way: 20 ms a request
SMALL = 1000
SMALL_FEW = 200  # of them at 20 ms, and for the peer
SMALL_BYTES = 100 * 1024
THREADS = 8  # that read; putting many takes as many as `put_many` does, for the peer too
HERE = Path(__file__).parent


def main(folder: Path) -> list[Row]:
    """All rows."""
    logging.disable(logging.CRITICAL)  # the peer's, which has much to say
    with running("rgw", HERE.parent / FOLDER) as server:
        rows = [*whole(folder / "whole", server), *parts(folder / "parts", server)]
    with light() as server:
        return rows + small(folder / "small", server)


@contextlib.contextmanager
def light() -> Iterator[ObjectServer]:
    """The server that costs almost nothing, in a process of its own."""
    command = [sys.executable, "-m", "bench.light_s3"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            yield LightServer("light", "s3", url, "key", "secret", "us-east-1", process.pid, HERE)
        finally:
            process.terminate()


class LightServer(ObjectServer):
    """Its buckets are there as soon as they are named."""

    def fresh_bucket(self) -> str:
        return self.fresh_name()


# -- one large blob ---------------------------------------------------------------------------------------------------


def whole(folder: Path, server: ObjectServer) -> list[Row]:
    """Put and cold lease of 1 GiB, against obstore alone; processor time against boto3's; memory."""
    folder.mkdir()
    source = folder / "source"
    with open(source, "wb") as stream:
        stream.writelines(os.urandom(GIB // 64) for _ in range(64))
    bucket = server.fresh_bucket()
    bare = obstore_of(server, bucket)
    plain = boto3_of(server)

    def ours_put() -> None:
        with hold_of(folder / "a", server.endpoint_url, server, bucket) as hold:
            hold.put(b"x", name="known")
            took.append(seconds(lambda: hold.put(source, name="large")))

    def ours_lease() -> None:
        with hold_of(folder / "a", server.endpoint_url, server, bucket) as hold:
            shutil.rmtree(folder / "a" / "state" / "cache", ignore_errors=True)
            took.append(seconds(lambda: hold.lease(2).close()))

    rows: list[Row] = []
    import obstore

    def bare_put() -> float:
        return seconds(
            lambda: obstore.put(bare, "bare", source, use_multipart=True, chunk_size=16 * MIB, max_concurrency=4)
        )

    def bare_get() -> float:
        return seconds(lambda: bare_download(bare, folder / "copy"))

    for name, ours, peer in (("put", ours_put, bare_put), ("cold lease", ours_lease, bare_get)):
        ratios, mine, theirs = [], [], []
        for turn in range(3):
            if name == "put":
                shutil.rmtree(folder / "a", ignore_errors=True)
                bucket_again = server.fresh_bucket()
                bucket = bucket_again
                bare = obstore_of(server, bucket)
            os.sync()
            took: list[float] = []
            ours()
            os.sync()
            other = peer()
            if turn:
                ratios.append(other / took[0])
                mine.append(took[0])
                theirs.append(other)
        ratio = median(ratios)
        rows.append(
            Row(f"objects: {name} of 1 GiB, over obstore alone", median(mine), median(theirs), round(ratio, 2),
                ">= 0.9", ratio >= 0.9)
        )  # fmt: skip
    used, theirs_used = [], []
    for turn in range(3):
        used.append(processor_s(folder, lambda at=turn: hold_put_and_lease(folder / f"cpu{at}", server, source)))
        theirs_used.append(
            processor_s(folder, lambda at=turn: boto3_put_and_get(plain, server, source, folder / f"copy{at}"))
        )
        shutil.rmtree(folder / f"cpu{turn}")
        (folder / f"copy{turn}").unlink()
    ratio = median(mine / theirs for mine, theirs in zip(used, theirs_used, strict=True))
    rows.append(
        Row("objects: processor time per GiB, against boto3", median(used), median(theirs_used), round(ratio, 2),
            "<= 0.5", ratio <= 0.5)
    )  # fmt: skip
    shutil.rmtree(folder)
    return rows


def hold_put_and_lease(folder: Path, server: ObjectServer, source: Path) -> None:
    with hold_of(folder, server.endpoint_url, server, server.fresh_bucket()) as hold:
        dataset = hold.put(source, name="large")
        shutil.rmtree(folder / "state" / "cache", ignore_errors=True)
        hold.lease(dataset.id).close()


def boto3_put_and_get(client: Any, server: ObjectServer, source: Path, target: Path) -> None:
    bucket = server.fresh_bucket()
    client.upload_file(str(source), bucket, "large")
    client.download_file(bucket, "large", str(target))


def bare_download(store: Any, target: Path) -> None:
    """What obstore does best: ranges of 8 MiB, eight at a time, written where they belong."""
    import obstore

    size = obstore.head(store, "bare")["size"]
    fd = os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)

    def bring(start: int) -> None:
        content = obstore.get_range(store, "bare", start=start, end=min(size, start + 8 * MIB))
        os.pwrite(fd, memoryview(content), start)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(bring, range(0, size, 8 * MIB)))
    os.close(fd)


def processor_s(folder: Path, work: Callable[[], object]) -> float:
    """User and system time of this process, which has been given pages to work with.

    A machine inside another gives memory that nobody uses back to it, and pays twelve times as much for the first
    write to each page when it comes again: more than all that is measured here. So a file of twice the size is
    written and removed before, by another process; what is measured finds these pages.
    """
    pages = folder / "pages"
    subprocess.run(["dd", "if=/dev/zero", f"of={pages}", "bs=1M", f"count={2 * GIB // MIB}"], check=True,
                   stderr=subprocess.DEVNULL)  # fmt: skip
    pages.unlink()
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# -- parts ------------------------------------------------------------------------------------------------------------


def parts(folder: Path, server: ObjectServer) -> list[Row]:
    """The first MiB of a cold 1 GiB blob; eight readers of a cold blob; the warm cache; memory."""
    folder.mkdir()
    bucket = server.fresh_bucket()
    rows: list[Row] = []
    with hold_of(folder / "hold", server.endpoint_url, server, bucket) as hold:
        large = hold.put(Random(GIB), name="large").id
        middle = hold.put(Random(256 * MIB), name="middle").id
    for latency_s, at_least in ((0.0, 100), (LATENCY_S, 40)):
        with proxied(server.endpoint_url, latency_s) as url:
            mine = median(first_mib(folder, url, server, bucket, large) for _ in range(3))
            theirs = peer_first_mib(folder, url, server, bucket, large)
        ratio = theirs / mine
        words = "20 ms away" if latency_s else "loopback"
        rows.append(
            Row(f"objects: first MiB of a cold GiB, {words}", mine, theirs, round(ratio, 1), f">= {at_least}",
                ratio >= at_least)
        )  # fmt: skip
    with FaultProxy(server.endpoint_url) as proxy:
        first_mib(folder, proxy.url, server, bucket, large)
        moved = proxy.response_bytes / MIB
    rows.append(bounded("objects: bytes moved for the first MiB", moved, at_most=16, unit="MiB"))
    rows += eight_readers(folder, server, bucket, middle)
    rows += warm(folder, server, bucket, middle)
    rows.append(memory(folder, server, bucket, large))
    shutil.rmtree(folder)
    return rows


def first_mib(folder: Path, url: str, server: ObjectServer, bucket: str, dataset_id: int) -> float:
    with cold(folder, url, server, bucket) as hold:
        hold.open(1 if dataset_id != 1 else 2).close()  # the bucket has shown its mark

        def read() -> None:
            with hold.open(dataset_id) as stream:
                assert len(stream.read(MIB)) == MIB

        return seconds(read)


def peer_first_mib(folder: Path, url: str, server: ObjectServer, bucket: str, dataset_id: int) -> float:
    peer = peer_of(folder / "peer", url, server, bucket)
    obj = SimpleNamespace(id=dataset_id, uuid=None, object_store_id=None)
    took = seconds(lambda: _get_data(peer, obj))
    shutil.rmtree(folder / "peer")
    return took


def _get_data(peer: Any, obj: Any) -> None:
    with contextlib.suppress(UnicodeDecodeError):  # it reads bytes as text, after it has fetched all of them
        peer.get_data(obj, start=0, count=MIB)


def eight_readers(folder: Path, server: ObjectServer, bucket: str, dataset_id: int) -> list[Row]:
    def read_all(hold: Hold) -> None:
        with hold.reader(dataset_id) as reader:
            buffer = bytearray(MIB)
            while reader.readinto(buffer):
                pass

    def ours(readers: int, url: str) -> float:
        with cold(folder, url, server, bucket) as hold:
            hold.open(1).close()
            return seconds(lambda: at_once([lambda: read_all(hold)] * readers))

    one = median(ours(1, server.endpoint_url) for _ in range(3))
    eight = median(ours(8, server.endpoint_url) for _ in range(3))
    with FaultProxy(server.endpoint_url) as proxy:
        ours(8, proxy.url)
        moved = proxy.response_bytes / (256 * MIB)
    peer = peer_of(folder / "peer", server.endpoint_url, server, bucket)
    objects = [SimpleNamespace(id=dataset_id, uuid=None, object_store_id=None) for _ in range(8)]
    theirs = seconds(lambda: at_once([lambda one=one: _get_data(peer, one) for one in objects]))
    shutil.rmtree(folder / "peer")
    ratio = theirs / eight
    return [
        bounded("objects: eight readers of a cold blob, bytes moved", round(moved, 3), at_most=1.05, unit="x"),
        Row("objects: eight readers against one", eight, one, round(eight / one, 2), "<= 1.2", eight / one <= 1.2),
        Row("objects: eight readers, against the peer", eight, theirs, round(ratio, 1), ">= 8", ratio >= 8),
    ]


def warm(folder: Path, server: ObjectServer, bucket: str, dataset_id: int) -> list[Row]:
    with cold(folder, server.endpoint_url, server, bucket) as hold:
        with hold.lease(dataset_id) as path:
            copy = folder / "copy"
            shutil.copyfile(path, copy)

        def plain() -> None:
            with open(copy, "rb", buffering=0) as stream:
                _drain(stream)

        def ours() -> None:
            with hold.reader(dataset_id) as reader:
                _drain(reader)

        row = costs("objects: warm read, against a plain file", ours, plain, at_most=1.2, rounds=7)

        def leases() -> None:
            for _ in range(1000):
                hold.lease(dataset_id).close()

        leases()
        each_us = median(seconds(leases) for _ in range(5)) * 1000
    return [row, bounded("objects: warm lease of a whole blob", each_us, at_most=100, unit="us")]


def memory(folder: Path, server: ObjectServer, bucket: str, dataset_id: int) -> Row:
    """The most that a process of its own has, which reads, leases and puts 1 GiB."""
    work = folder / "memory"
    work.mkdir()
    shutil.copytree(folder / "hold", work / "hold")
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bench.objects import reopened\n"
        "with reopened(Path(sys.argv[1])) as hold:\n"
        "    number = int(sys.argv[2])\n"
        "    with hold.lease(number) as path:\n"
        "        hold.put(path, name='again')\n"
        "    with hold.reader(number) as reader:\n"
        "        while reader.read(1 << 20): pass\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    document(work / "hold", server.endpoint_url, server, bucket)
    found = subprocess.run(
        [sys.executable, "-c", program, work / "hold", str(dataset_id)],
        check=True, capture_output=True, text=True, cwd=HERE.parent,
    )  # fmt: skip
    return bounded("objects: memory, 1 GiB in and out", int(found.stdout.split()[-1]) / 1024, at_most=200, unit="MiB")


# -- many small ones --------------------------------------------------------------------------------------------------


def small(folder: Path, server: ObjectServer) -> list[Row]:
    """1,000 blobs of 100 KiB, put and read cold with as many threads as the peer; and the requests that they cost."""
    folder.mkdir()
    content = os.urandom(SMALL_BYTES)
    file = folder / "small"
    file.write_bytes(content)
    rows: list[Row] = []
    for latency_s, count, theirs_count, at_least in ((0.0, SMALL, SMALL_FEW, 20.0), (LATENCY_S, SMALL, SMALL_FEW, 3.5)):
        words = "20 ms away" if latency_s else "loopback"
        with proxied(server.endpoint_url, latency_s) as url:
            mine = our_small(folder / f"ours {words}", url, server, content, count)
            theirs = peer_small(folder / f"peer {words}", url, server, file, theirs_count)
        whats = (f"put of 100 KiB, {REMOTE_AT_ONCE} threads", f"cold read of 100 KiB, {THREADS} threads")
        for what, our_s, their_s in zip(whats, mine, theirs, strict=True):
            ratio = (their_s / theirs_count) / (our_s / count)
            rows.append(
                Row(f"objects: {what}, {words} (each)", our_s / count,
                    their_s / theirs_count, round(ratio, 1), f">= {at_least:g}", ratio >= at_least)
            )  # fmt: skip
    with FaultProxy(server.endpoint_url) as proxy:
        our_small(folder / "requests", proxy.url, server, content, 100)
        blobs = [one for one in proxy.exchanges() if "/dataset_" in one.target]
    each = len(blobs) / (2 * 101)  # a hundred, and the one that is put and read before
    rows.append(bounded("objects: requests per put and cold read", each, at_most=1, unit="x"))
    shutil.rmtree(folder)
    return rows


def our_small(folder: Path, url: str, server: ObjectServer, content: bytes, count: int) -> tuple[float, float]:
    """Seconds to put so many and to read them cold. What is not wanted any more is moved away, here and for the peer,
    and removed when all was measured: ext4 looks at each file that was removed lately before it makes another."""
    bucket = server.fresh_bucket()
    with hold_of(folder, url, server, bucket) as hold:
        hold.put(b"x", name="known")
        hold.open(1).close()
        ids: list[int] = []

        def put_all() -> None:
            ids.extend(one.id for one in hold.put_many([PutItem(content, name="small")] * count))

        put_s = seconds(put_all)
    os.rename(folder / "state" / "cache", folder / "was")
    with hold_of(folder, url, server, bucket) as hold:
        hold.open(1).close()

        def read(dataset_id: int) -> None:
            with hold.open(dataset_id) as stream:
                assert len(stream.read()) == SMALL_BYTES

        with ThreadPoolExecutor(THREADS) as threads:
            read_s = seconds(lambda: list(threads.map(read, ids)))
    return put_s, read_s


def peer_small(folder: Path, url: str, server: ObjectServer, file: Path, count: int) -> tuple[float, float]:
    bucket = server.fresh_bucket()
    peer = peer_of(folder, url, server, bucket)
    objects = [SimpleNamespace(id=at, uuid=None, object_store_id=None) for at in range(1, count + 1)]

    def put(obj: Any) -> None:
        peer.create(obj)
        peer.update_from_file(obj, file_name=str(file))

    def read(obj: Any) -> None:
        assert os.path.getsize(peer.get_filename(obj)) == SMALL_BYTES

    with ThreadPoolExecutor(REMOTE_AT_ONCE) as threads:
        put_s = seconds(lambda: list(threads.map(put, objects)))
    os.rename(folder / "cache", folder / "was")
    (folder / "cache").mkdir()
    with ThreadPoolExecutor(THREADS) as threads:
        read_s = seconds(lambda: list(threads.map(read, objects)))
    return put_s, read_s


# -- what is measured -------------------------------------------------------------------------------------------------


def document(folder: Path, url: str, server: ObjectServer, bucket: str) -> Path:
    """A document with one pool: that bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "holdfast.yml"
    path.write_text(
        f"state_dir: {folder}/state\nplacement: hierarchical\npools:\n"
        f"  cloud:\n    type: boto3\n    order: 0\n"
        f"    auth: {{access_key: {server.access_key}, secret_key: {server.secret_key}}}\n"
        f"    bucket: {{name: {bucket}}}\n"
        f"    connection: {{endpoint_url: {url}, region: {server.region}}}\n"
        f"    cache: {{path: {folder}/state/cache, size_bytes: {8 * GIB}}}\n"
    )
    return path


def hold_of(folder: Path, url: str, server: ObjectServer, bucket: str) -> Hold:
    """A hold over one bucket, reached by that address."""
    return open_hold(read_document(document(folder, url, server, bucket), environ={}))


def reopened(folder: Path) -> Hold:
    """The hold whose document lies in this folder."""
    return open_hold(read_document(folder / "holdfast.yml", environ={}))


@contextlib.contextmanager
def cold(folder: Path, url: str, server: ObjectServer, bucket: str) -> Iterator[Hold]:
    """The hold of `parts` with nothing in its cache."""
    shutil.rmtree(folder / "hold" / "state" / "cache", ignore_errors=True)
    with hold_of(folder / "hold", url, server, bucket) as hold:
        yield hold


def peer_of(folder: Path, url: str, server: ObjectServer, bucket: str) -> Any:
    """The peer's store of type boto3, with a cache of its own."""
    from galaxy.objectstore import build_object_store_from_config

    for name in ("cache", "jobs", "tmp", "files"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = SimpleNamespace(
        object_store_check_old_style=False, enable_quotas=False, jobs_directory=str(folder / "jobs"),
        new_file_path=str(folder / "tmp"), file_path=str(folder / "files"), umask=0o22, gid=None,
        object_store_cache_path=str(folder / "cache"), object_store_cache_size=-1, object_store_store_by="id",
        object_store_cache_monitor_driver="external", object_store_cache_monitor_interval=600,
    )  # fmt: skip
    return build_object_store_from_config(
        config,
        config_dict={
            "type": "boto3", "auth": {"access_key": server.access_key, "secret_key": server.secret_key},
            "bucket": {"name": bucket}, "connection": {"endpoint_url": url, "region": server.region},
            "cache": {"path": str(folder / "cache"), "size": 100, "cache_updated_data": True},
            "extra_dirs": [{"type": "job_work", "path": str(folder / "jobs")},
                           {"type": "temp", "path": str(folder / "tmp")}],
        },
    )  # fmt: skip


def obstore_of(server: ObjectServer, bucket: str) -> Any:
    """obstore alone, with the best settings that we know."""
    from obstore.store import S3Store

    return S3Store(
        bucket, endpoint=server.endpoint_url, access_key_id=server.access_key, secret_access_key=server.secret_key,
        region=server.region, unsigned_payload=True, virtual_hosted_style_request=False,
        client_options={"allow_http": True, "timeout": "10 minutes"},
    )  # fmt: skip


def boto3_of(server: ObjectServer) -> Any:
    """boto3 as it comes."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=server.endpoint_url, aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key, region_name=server.region,
    )  # fmt: skip


@contextlib.contextmanager
def proxied(url: str, latency_s: float) -> Iterator[str]:
    """The server's address; with a latency, that of a proxy in a process of its own."""
    if not latency_s:
        yield url
        return
    near, far = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_proxy, args=(url, latency_s, far), daemon=True)
    process.start()
    try:
        yield near.recv()
    finally:
        near.send(None)
        process.join(10)


def _proxy(url: str, latency_s: float, pipe: Any) -> None:
    with FaultProxy(url) as proxy:
        proxy.latency_s = latency_s
        pipe.send(proxy.url)
        pipe.recv()


def at_once(works: list[Callable[[], object]]) -> None:
    """All of them, each in a thread."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Random:
    """A body of so many bytes that nobody has seen before."""

    once = True

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes: int | None = size_bytes
        self._left = size_bytes
        self._block = bytearray(os.urandom(MIB))

    def open(self) -> Any:
        return self

    def read(self, size_bytes: int = -1) -> bytes:
        count = min(self._left, MIB, MIB if size_bytes < 0 else size_bytes)
        self._left -= count
        self._block[:8] = time.time_ns().to_bytes(8, "big")
        return bytes(self._block[:count])

    def close(self) -> None:
        """Nothing to give back."""


def _drain(stream: Any) -> None:
    buffer = bytearray(MIB)
    while stream.readinto(buffer):
        pass
