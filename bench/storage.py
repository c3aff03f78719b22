"""Finding, putting and many of both: `Hold` against the peer and against plain system calls."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from pathlib import Path
from types import SimpleNamespace

from bench.holds import make_hold, make_peer
from bench.measuring import Row, costs, faster, seconds

GIB = 1024**3
LOOKS = 2000
MANY = 10_000
SMALL_BYTES = 20 * 1024


def finding(folder: Path) -> list[Row]:
    """Find + path of a dataset in the last of 50 hierarchical pools."""
    fifty = make_hold(folder / "fifty", 50)
    two = make_hold(folder / "two", 2)
    last = fifty.put(b"x" * 100, name="last", pool="pool49").id
    other = two.put(b"x" * 100, name="last", pool="pool1").id
    peer = make_peer(folder / "peer", 50)
    obj = SimpleNamespace(id=1, uuid=None, object_store_id=None)
    theirs = Path(peer.backends[49].file_path) / "000" / "dataset_1.dat"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"x" * 100)

    def lease(hold: object, dataset_id: int) -> None:
        for _ in range(LOOKS):
            with hold.lease(dataset_id):  # type: ignore[attr-defined]
                pass

    def get_filename() -> None:
        for _ in range(LOOKS // 10):
            assert peer.get_filename(obj)

    ours = faster(
        "find + path, last of 50 pools", lambda: lease(fifty, last), lambda: [get_filename() for _ in range(10)],
        at_least=15,
    )  # fmt: skip
    wide = costs(
        "find + path, 50 pools against 2", lambda: lease(fifty, last), lambda: lease(two, other), at_most=1.2
    )
    fifty.close()
    two.close()
    return [ours, wide]


def one_large(folder: Path) -> list[Row]:
    """`put` of 1 GiB: hashed, synced, catalogued; against `cp` and a sync of the file."""
    hold = make_hold(folder / "large", 2)
    source = folder / "source"
    with open(source, "wb") as stream:
        stream.writelines(os.urandom(GIB // 64) for _ in range(64))
    copy = folder / "copy"

    def put() -> None:
        hold.remove(hold.put(source, name="large").id, purge=True)

    def cp() -> None:
        subprocess.run(["cp", "--reflink=never", source, copy], check=True)
        fd = os.open(copy, os.O_RDWR)
        os.fsync(fd)
        os.close(fd)
        copy.unlink()

    row = costs("put 1 GiB against cp + fsync", put, cp, at_most=1.3, rounds=5, before=os.sync)
    hold.close()
    source.unlink()
    return [row]


def many_small(folder: Path) -> list[Row]:
    """`put_many` of 10,000 files of 20 KiB against the peer's create + update_from_file, and against `put`."""
    sources = folder / "sources"
    sources.mkdir()
    content = os.urandom(SMALL_BYTES)
    paths = []
    for at in range(MANY):
        path = sources / f"{at:05}"
        path.write_bytes(content)
        paths.append(path)
    turns = iter(range(1000))

    def put_many() -> None:
        with make_hold(folder / f"many{next(turns)}", 2) as hold:
            hold.put_many(paths)

    def create_and_update() -> None:
        peer = make_peer(folder / f"peer{next(turns)}", 2)
        for at, path in enumerate(paths, 1):
            obj = SimpleNamespace(id=at, uuid=None, object_store_id=None)
            peer.create(obj)
            peer.update_from_file(obj, file_name=str(path))

    def clean() -> None:
        for old in (*folder.glob("many*"), *folder.glob("peer*")):
            shutil.rmtree(old)
        os.sync()

    against_peer = costs(
        "put_many of 10,000 x 20 KiB against create + update", put_many, create_and_update, at_most=1.3, rounds=3,
        before=clean,
    )  # fmt: skip
    clean()
    hold = make_hold(folder / "single", 2)
    many, few = paths[:3000], paths[:150]
    ratios, ours, theirs = [], [], []
    for _ in range(5):
        ours.append(seconds(lambda: hold.put_many(many)) / len(many))
        theirs.append(seconds(lambda: [hold.put(path) for path in few]) / len(few))
        ratios.append(theirs[-1] / ours[-1])
    hold.close()
    clean()
    ratio, mine, single = (round(statistics.median(values), 6) for values in (ratios, ours, theirs))
    return [
        against_peer,
        Row("put_many against single durable puts (each)", mine, single, round(ratio, 2), ">= 5", ratio >= 5),
    ]


def main(folder: Path) -> list[Row]:
    """All rows about storage. `folder` must lie on a real disk."""
    rows: list[Row] = []
    for part in (finding, one_large, many_small):
        place = folder / part.__name__
        place.mkdir()
        rows += part(place)
        shutil.rmtree(place)
    return rows
