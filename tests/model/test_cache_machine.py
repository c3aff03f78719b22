"""Random histories of a cache against a model: a dict of blobs, the readers that are open, the pins.

Two caches over one folder stand for two processes. Whatever happened before, a reader gives the bytes of one version,
whole; a path stays as long as its reader; what is pinned stays; the bound holds; the books agree with the disk.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from tests.unit.cached.cache_kit import MIB, Hours, Lab, flip, known

from holdfast.blobs import BlobStat, ByteRange, BytesBody, FileBody, GetOptions, Reader
from holdfast.errors import NoSpace, NotFound, PreconditionFailed
from holdfast.keys import Key
from holdfast.testing.store_kit import content_of

KEYS = [Key(f"000/{name}") for name in ("a", "b", "c", "d", "e")]
BOUND = 10 * MIB
keys = st.sampled_from(KEYS)
sizes = st.sampled_from([0, 1, 100_000, MIB, 2 * MIB + 5, 4 * MIB + 1, 9 * MIB, 12 * MIB])
who = st.integers(0, 1)


class Open:
    """A reader that is open, with what it has to give."""

    def __init__(self, reader: Reader, expected: bytes, at: int, stop: int) -> None:
        self.reader, self.expected, self.at, self.stop = reader, expected, at, stop
        self.path = reader.local_path


class CacheMachine(RuleBasedStateMachine):
    readers = Bundle("readers")

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="holdfast-cache-machine-"))
        self.lab = Lab(self.root)
        self.clock = Hours()
        self.caches = [self._new(), self._new()]
        self.blobs: dict[Key, tuple[bytes, BlobStat]] = {}
        self.versions: dict[str, bytes] = {}
        self.pins: dict[Key, set[str]] = {}
        self.open: set[Open] = set()
        self.seed = 0

    def _new(self):
        return self.lab.cache(bound_bytes=BOUND, keep=True, clock=self.clock)

    def _content(self, size_bytes: int) -> bytes:
        self.seed += 1
        return content_of(size_bytes, self.seed)

    def _stored(self, key: Key, content: bytes, stat: BlobStat) -> None:
        self.blobs[key] = (content, stat)
        self.versions[stat.version] = content

    # -- writing ----------------------------------------------------------------------------------------------------

    @rule(key=keys, size_bytes=sizes, cache=who, given=st.booleans())
    def put(self, key: Key, size_bytes: int, cache: int, given: bool) -> None:
        content = self._content(size_bytes)
        body = BytesBody(content)
        if given:
            path = self.root / "given"
            path.write_bytes(content)
            body = FileBody(path, size_bytes, consume=True)
        self._stored(key, content, self.caches[cache].put(key, body))
        assert not (self.root / "given").exists()

    @rule(key=keys, size_bytes=sizes)
    def put_by_somebody_else(self, key: Key, size_bytes: int) -> None:
        content = self._content(size_bytes)
        self._stored(key, content, self.lab.remote.put(key, BytesBody(content)))

    @rule(key=keys, cache=who)
    def delete(self, key: Key, cache: int) -> None:
        self.caches[cache].delete(key)
        self.blobs.pop(key, None)

    @rule(source=keys, to=keys, cache=who)
    def copy(self, source: Key, to: Key, cache: int) -> None:
        if source in self.blobs and source != to:
            self._stored(to, self.blobs[source][0], self.caches[cache].copy(source, to))

    # -- reading ----------------------------------------------------------------------------------------------------

    @rule(
        target=readers, key=keys, cache=who, knows=st.sampled_from(["all", "version", "digest", "nothing"]),
        local=st.booleans(), part=st.none() | st.tuples(st.integers(0, 12 * MIB), st.integers(1, 3 * MIB)),
    )  # fmt: skip
    def read(self, key: Key, cache: int, knows: str, local: bool, part: tuple[int, int] | None) -> object:
        driver = self.caches[cache]
        wanted = None if part is None else ByteRange(part[0], part[0] + part[1])
        if key not in self.blobs:
            try:
                driver.open(key, GetOptions(local=local, range=wanted)).close()
            except NotFound:
                return None
            raise AssertionError("what is not there was opened")
        content, stat = self.blobs[key]
        options = known(stat)
        options = GetOptions(
            local=local, range=wanted,
            version=options.version if knows in ("all", "version") else None,
            digest=options.digest if knows in ("all", "digest") else None,
        )  # fmt: skip
        try:
            reader = driver.open(key, options)
        except NoSpace:
            in_use = sum(2 * len(one.expected) for one in self.open) + 9 * MIB * len(self.pins)
            assert local
            assert in_use + len(content) > BOUND * 0.8, "there was room"
            return None
        assert reader.stat.size_bytes == len(content)
        start, stop = (wanted or ByteRange(0)).within(len(content))
        one = Open(reader, content, start, stop)
        if local:
            assert one.path is not None
            assert one.path.read_bytes() == content
        self.open.add(one)
        return one

    @rule(one=readers, count=st.integers(1, 3 * MIB))
    def read_on(self, one: Open | None, count: int) -> None:
        if one is None or one not in self.open:
            return
        try:
            got = one.reader.read(count)
        except PreconditionFailed:  # replaced by somebody else, or too large for the cache: an error, never a mix
            self.open.discard(one)
            one.reader.close()
            return
        assert got == one.expected[one.at : min(one.at + count, one.stop)]
        one.at += len(got)

    @rule(one=readers, at=st.integers(0, 12 * MIB))
    def jump(self, one: Open | None, at: int) -> None:
        if one is not None and one in self.open:
            one.at = one.reader.seek(min(at, one.stop))

    @rule(one=consumes(readers))
    def close_reader(self, one: Open | None) -> None:
        if one is None or one not in self.open:
            return
        if one.path is not None and one.path.exists():
            assert one.path.read_bytes() == one.expected
        self.open.discard(one)
        one.reader.close()

    # -- the cache --------------------------------------------------------------------------------------------------

    @rule(key=keys, cache=who)
    def warm(self, key: Key, cache: int) -> None:
        if key in self.blobs:
            try:
                self.caches[cache].warm(key)
            except NoSpace:
                return
            assert self.caches[1 - cache].look(key).whole

    @rule(key=keys, cache=who)
    def drop(self, key: Key, cache: int) -> None:
        before = self.caches[cache].look(key)
        freed = self.caches[cache].drop(key)
        if before is not None and (before.in_use or before.pins):
            assert self.caches[cache].look(key) is not None
        else:
            assert before is None or freed >= before.held_bytes
            assert self.caches[cache].look(key) is None or freed

    @rule(key=keys, cache=who, holder=st.sampled_from(["job 1", "job 2"]))
    def pin(self, key: Key, cache: int, holder: str) -> None:
        if sum(len(self.blobs[one][0]) for one in {*self.pins, key} if one in self.blobs) < BOUND // 2:
            self.caches[cache].pin(key, holder)
            self.pins.setdefault(key, set()).add(holder)

    @rule(cache=who, holder=st.sampled_from(["job 1", "job 2"]))
    def unpin(self, cache: int, holder: str) -> None:
        self.caches[cache].unpin(holder)
        self.pins = {key: holders - {holder} for key, holders in self.pins.items() if holders - {holder}}

    @rule(cache=who)
    def restart(self, cache: int) -> None:
        self.caches[cache].close()
        self.caches[cache] = self._new()

    @rule(seconds=st.sampled_from([1.0, 3.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.more_s += seconds

    @rule(key=keys, keep_time=st.just(False))
    def somebody_changes_a_file(self, key: Key, keep_time: bool) -> None:
        rows = self.lab.rows("SELECT file FROM entry WHERE key=? AND whole AND size>0", key) if self._is_open() else []
        if rows and not self.open:
            path = self.lab.folder / "blobs" / rows[0][0][:2] / rows[0][0]
            flip(path, 0, keep_time=keep_time)

    @rule()
    def somebody_deletes_the_folder(self) -> None:
        if not self.open:
            shutil.rmtree(self.lab.folder, ignore_errors=True)
            self.pins = {}

    # -- always -----------------------------------------------------------------------------------------------------

    def _is_open(self) -> bool:
        return (self.lab.folder / "index.sqlite").exists()

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "lab") or not self._is_open():
            return
        for driver in self.caches:
            [usage] = driver.cache_usage()
            assert usage.held_bytes <= BOUND
        self.lab.audit()
        assert sum(self.lab.files().values()) <= BOUND + len(self.lab.files()) * 4096
        assert set(self.caches[0].holders()) == set().union(*self.pins.values(), set())

    @invariant()
    def what_is_pinned_and_there_is_told(self) -> None:
        if hasattr(self, "lab") and self._is_open():
            for blob in self.caches[1].contents():
                assert set(blob.pins) == self.pins.get(blob.key, set())
                assert blob.version in self.versions
                assert sum(stop - start for start, stop in blob.parts) == blob.held_bytes

    def teardown(self) -> None:
        if hasattr(self, "lab"):
            for one in self.open:
                one.reader.close()
            self.lab.close()
            shutil.rmtree(self.root, ignore_errors=True)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
