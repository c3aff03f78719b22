"""A whole hold over a real object store, with a fault proxy between, and ways to look past it.

    with stacked(tmp_path, moto) as stack:
        dataset = stack.hold.put(b"ACGT")
        assert stack.bucket.read("000/dataset_1.dat") == b"ACGT"

The document has a remote pool `bucket` and a disk pool `disk`, or is whatever `document` makes of the server's address.
`sound` is the audit: the bucket holds what the catalog says and nothing else, no upload is open, no room reserved.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

from blake3 import blake3
from tests.contract.catalog_kit import recount, rows_of

import holdfast
from holdfast.catalog.jobs import Job
from holdfast.drivers.cloud import mark
from holdfast.hold.hold import Hold
from holdfast.jobs.jobs import Jobs
from holdfast.operations.runner import Operations
from holdfast.testing.fault_proxy import FaultProxy
from holdfast.testing.http_faults import Exchange
from holdfast.testing.object_backdoors import S3Bucket
from holdfast.testing.object_servers import ObjectServer

MIB = 2**20
MARK = ".holdfast-pool"
ONE = "000/dataset_1.dat"
SIGNED = {"connection": {"payload_signing": "always"}}


def content_of(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that are told apart at every place."""
    return random.Random(seed).randbytes(size_bytes)


def s3_pool(server: ObjectServer, bucket: str, endpoint_url: str, cache: Path, **more: Any) -> dict[str, Any]:
    """A pool in our own spelling; `more` is laid over it, block by block."""
    pool: dict[str, Any] = {
        "type": "boto3",
        "auth": {"access_key": server.access_key, "secret_key": server.secret_key},
        "bucket": {"name": bucket},
        "connection": {"endpoint_url": endpoint_url, "region": server.region},
        "cache": {"path": str(cache), "size_bytes": 256 * MIB},
        "retry": {"attempts": 3, "deadline_s": 20},
    }
    for name, value in more.items():
        pool[name] = {**pool[name], **value} if isinstance(pool.get(name), dict) else value
    return pool


class Stack:
    """What a test holds. `bucket` is the backdoor into the remote pool's bucket."""

    def __init__(self, home: Path, server: ObjectServer, proxy: FaultProxy, bucket: str) -> None:
        self.home, self.server, self.proxy = home, server, proxy
        backdoor = server.backdoor(bucket)
        assert isinstance(backdoor, S3Bucket)
        self.bucket: S3Bucket = backdoor
        self.document = home / "holdfast.yml"
        self._hold: Hold | None = None

    # -- the hold -----------------------------------------------------------------------------------------

    @property
    def hold(self) -> Hold:
        """The hold; opened at first use, and anew after `close`."""
        if self._hold is None:
            self._hold = holdfast.open(self.document, state=self.home / "state")
        return self._hold

    def close(self) -> None:
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def put(self, content: bytes, **options: Any) -> int:
        return self.hold.put(content, **{"name": "reads", **options}).id

    def cold(self, *datasets: int) -> None:
        """Nothing of these is in the cache any more, and nothing is counted yet."""
        for dataset in map(self.hold.find, datasets):
            end_s = time.monotonic() + 10.0
            self.hold.keeping.drop(dataset)
            while self.hold.keeping.look(dataset) is not None:  # it is being compared with its digest just now
                assert time.monotonic() < end_s, f"dataset {dataset.id} stays in the cache"
                time.sleep(0.01)
                self.hold.keeping.drop(dataset)
        self.proxy.clear()

    def put_cold(self, content: bytes, **options: Any) -> int:
        dataset_id = self.put(content, **options)
        self.cold(dataset_id)
        return dataset_id

    def leased(self, dataset: int) -> bytes:
        with self.hold.lease(dataset) as path:
            return path.read_bytes()

    def read(self, dataset: int, start: int = 0, size_bytes: int = -1) -> bytes:
        with self.hold.open(dataset) as stream:
            stream.seek(start)
            return stream.read(size_bytes)

    def run(self, script: str, *inputs: int, **options: Any) -> Job:
        """A job, to its end, here."""
        jobs = Jobs(self.hold)
        return jobs.run(jobs.submit(["sh", "-c", script], inputs=inputs, **options).id)

    def operate(self, kind: str, **parameters: Any) -> Any:
        """An operation, to its end, here; its row."""
        operations = Operations(self.hold)
        return operations.run(operations.submit(kind, parameters).id)

    def state(self, dataset: int) -> str:
        """The state of its replica."""
        [replica] = self.hold.find(dataset).replicas
        return replica.state

    # -- looking from behind ------------------------------------------------------------------------------

    def asked(self, method: str = "*", target: str = "*") -> list[Exchange]:
        """The requests for blobs of this pool's bucket, the mark's and the listings' left out."""
        return [one for one in self.proxy.exchanges(method, target) if "/dataset_" in one.target.partition("?")[0]]

    def moved(self) -> int:
        """Bytes of blobs that were read from the server."""
        return sum(one.response_bytes for one in self.asked("GET"))

    def blobs(self) -> dict[str, bytes]:
        """Everything in the bucket but our mark, and uploads that have not ended."""
        return {name: self.bucket.read(name) or b"" for name in self.bucket.names() - {MARK}}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return rows_of(self.hold.catalog.db.url, query)

    def cache_files(self, folder: str = "cache") -> dict[str, int]:
        """The blobs' files in a cache folder: name, and bytes on the disk."""
        found = {}
        for path in (self.home / folder / "blobs").glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                found[path.name] = path.stat().st_blocks * 512
        return found

    def sound(self, pool: str = "bucket", *, strangers: frozenset[str] = frozenset()) -> None:
        """See the module."""
        recount(self.hold.catalog.db.url)
        assert self.rows("SELECT object_store_id FROM pool WHERE reserved_bytes != 0") == []
        assert self.rows("SELECT dataset_id FROM replica WHERE state IN ('missing', 'suspect', 'writing')") == []
        assert self.bucket.uploads() == []
        expected = {}
        for dataset_id, key, checksum in self.rows(
            "SELECT dataset.id, key, checksum FROM replica JOIN dataset ON dataset.id = dataset_id "
            f"WHERE replica.object_store_id = '{pool}' AND replica.state IN ('present', 'retiring')"
        ):
            expected[key] = checksum
            for path, extra in self.rows(f"SELECT path, checksum FROM extra_file WHERE dataset_id = {dataset_id}"):
                expected[key.removesuffix(".dat") + "_files/" + path] = extra
        found = {name: f"blake3:{blake3(content).hexdigest()}" for name, content in self.blobs().items()}
        assert {name: digest for name, digest in found.items() if name not in strangers} == expected


Document = Callable[["Stack", str, int], str]


@contextlib.contextmanager
def stacked(
    home: Path,
    server: ObjectServer,
    *,
    pool: Mapping[str, Any] = {},
    more: Callable[[Stack], Mapping[str, Any]] | None = None,
    document: Document | None = None,
    suffix: str = "xml",
    **top: Any,
) -> Iterator[Stack]:
    """`pool` is laid over the remote pool's keys, `more` gives further pools (None takes one away), `top` the
    document's own keys; or `document(stack, host, port)` gives the whole text, in Galaxy's spelling."""
    home.mkdir(exist_ok=True)
    nobody_else = mock.patch.object(mark, "SETTLE_S", 0.0)  # marks this bucket: no need to wait for them
    with nobody_else, FaultProxy(server.endpoint_url) as proxy:
        stack = Stack(home, server, proxy, server.fresh_bucket())
        if document is not None:
            stack.document = home / f"object_store_conf.{suffix}"
            parts = urlsplit(proxy.url)
            stack.document.write_text(document(stack, parts.hostname or "", parts.port or 0))
        else:
            remote = s3_pool(server, stack.bucket.name, proxy.url, home / "cache", order=0)
            for name, value in pool.items():
                remote[name] = {**remote[name], **value} if isinstance(remote.get(name), dict) else value
            for name, block in remote.items():
                if isinstance(block, dict):
                    remote[name] = {key: value for key, value in block.items() if value is not None}
            disk = {"type": "disk", "order": 1, "files_dir": str(home / "disk")}
            pools = {"bucket": remote, "disk": disk, **(more(stack) if more else {})}
            (home / "disk").mkdir(exist_ok=True)
            whole = {"placement": "hierarchical", **top, "pools": {k: v for k, v in pools.items() if v is not None}}
            stack.document.write_text(json.dumps(whole))
        try:
            yield stack
        finally:
            stack.close()


def at_once(number: int, act: Callable[[int], Any]) -> Sequence[Any]:
    """What came of `act(0)` to `act(number - 1)`, side by side."""
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(act, range(number)))


def texts_below(folder: Path, word: bytes) -> list[str]:
    """The files below a folder that have this word in them."""
    found = []
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top) / name
            if path.is_file() and word in path.read_bytes():
                found.append(path.relative_to(folder).as_posix())
    return found
