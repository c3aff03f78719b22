"""Moving: what a disk-to-disk move costs against rsync and cp, what one on the same file system costs, and plans.

The source lies in memory (/dev/shm), the target on the folder's disk: so what is written, synced and read back there is
measured, and reading the source costs both sides next to nothing. rsync reads the page cache back, and records nothing.
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from blake3 import blake3

import holdfast
from bench.measuring import Row, bounded, costs, seconds
from bench.scale import fill
from holdfast.catalog.moves import MoveWanted
from holdfast.hold import Hold
from holdfast.hold.bodies import PutItem
from holdfast.operations.runner import Operations

SMALL, SMALL_BYTES = 5_000, 20 * 1024
LARGE, LARGE_BYTES = 4, 1024**3
MANY = 1_000_000
MEMORY = Path("/dev/shm")


@contextmanager
def two_pools(folder: Path, source: Path) -> Iterator[Hold]:
    """A hold with a pool `a` at `source` and a pool `b` below `folder`."""
    (folder / "b").mkdir(parents=True)
    source.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.yml").write_text(
        f"state_dir: {folder}/state\nplacement: hierarchical\npools:\n"
        f"  a: {{type: disk, files_dir: {source}, order: 0}}\n  b: {{type: disk, files_dir: {folder}/b, order: 1}}\n"
    )
    with holdfast.open(folder / "holdfast.yml") as hold:
        yield hold


def main(folder: Path) -> list[Row]:
    """All rows."""
    memory = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=MEMORY))
    try:
        return [*_plans(folder), *_small(folder, memory), *_large(folder, memory)]
    finally:
        shutil.rmtree(memory, ignore_errors=True)


def _small(folder: Path, memory: Path) -> list[Row]:
    """20 KiB each, from one file system to another against rsync, and within one."""
    numbers = itertools.count()
    content = os.urandom(SMALL_BYTES - 8)

    def filled(source: Path, place: Path, count: int) -> tuple[Hold, list[int]]:
        hold = stack.enter_context(two_pools(place, source))
        items = (PutItem(content + number.to_bytes(8, "big"), name="x") for number in range(count))
        return hold, [dataset.id for dataset in hold.put_many(items)]

    with ExitStack() as stack:
        holds = [filled(memory / f"a{at}", folder / f"small{at}", SMALL) for at in range(4)]
        turns = iter(holds)

        def ours() -> None:
            hold, ids = next(turns)
            moved = list(hold.moving.move([MoveWanted(one, "b") for one in ids], operation_id=1))
            assert all(one.proved for one in moved)

        def theirs() -> None:
            target = folder / f"rsync{next(numbers)}"
            for option in ("-a", "-ac"):
                subprocess.run(["rsync", option, f"{memory}/a0/", str(target)], check=True)
            subprocess.run(["sync"], check=True)

        name = f"moves: {SMALL} of 20 KiB to another disk, against rsync"
        rows = [costs(name, ours, theirs, at_most=1.25, rounds=3, before=os.sync)]
        hold, ids = filled(folder / "here" / "a", folder / "same", 2_000)
        took_s = seconds(lambda: list(hold.moving.move([MoveWanted(one, "b") for one in ids])))
        each_ms = took_s / len(ids) * 1000
        rows.append(bounded("moves: one of 20 KiB within a file system", each_ms, at_most=1, unit="ms"))
    return rows


def _large(folder: Path, memory: Path) -> list[Row]:
    """1 GiB each, against cp, fsync and reading back."""
    with two_pools(folder / "large", memory / "large") as hold:
        block = os.urandom(1024 * 1024)
        source = memory / "one"
        ids = []
        for number in range(LARGE):
            with source.open("wb") as file:
                for _ in range(LARGE_BYTES // len(block)):
                    file.write(block)
                file.write(bytes([number]))
            ids.append(hold.put(source, name="x").id)

        def ours() -> None:
            assert all(one.proved for one in hold.moving.move([MoveWanted(one, "b") for one in ids]))

        def theirs() -> None:
            for path in sorted((memory / "large" / "000").iterdir()):
                target = folder / f"cp-{path.name}"
                shutil.copyfile(path, target)
                fd = os.open(target, os.O_RDONLY)
                try:
                    os.fsync(fd)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(fd)
                blake3(max_threads=blake3.AUTO).update_mmap(target)
                target.unlink()

        os.sync()
        theirs_s = seconds(theirs)
        os.sync()
        ours_s = seconds(ours)
    name = f"moves: {LARGE} of 1 GiB to another disk, of cp + fsync + read"
    ratio = theirs_s / ours_s
    return [Row(name, ours_s, theirs_s, round(ratio, 2), ">= 0.9", ratio >= 0.9)]


def _plans(folder: Path) -> list[Row]:
    """A drain's plan over a million datasets."""
    with two_pools(folder / "plan", folder / "plan" / "a") as hold:
        fill(hold, MANY)
        pool = max(hold.pools(), key=lambda info: info.datasets).object_store_id
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took_s = seconds(lambda: Operations(hold).plan("drain", {"pool": pool}))
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        bounded(f"moves: plan a drain of {MANY:,} datasets", took_s, at_most=10),
        bounded("moves: memory of that plan", grown_mib, at_most=300, unit="MiB"),
    ]
