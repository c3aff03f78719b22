"""Runs inside the guest of `PowerCutMachine`, for test_power_cut.py: `power_hold.py SEED ACTIONS`.

Opens a hold of two pools on the guest's disk, looks whether everything is true that was acknowledged before
the power went, tidies up, and then works (ACTIONS times, or until the power goes). Every line on its standard
output is a JSON object that has reached the host when it is flushed:

    {"checked": ..., "problems": [...], "datasets": {...}}   what was found after the boot
    {"begin": {...}} and {"done": {...}}                     around every action

What has to be true comes from the host as `expected.json` in the output folder; see test_power_cut.Ledger.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import holdfast
from holdfast.catalog.base import DATASET_STATES, Dataset, Filter
from holdfast.errors import HoldfastError, NotFound
from holdfast.hold.bodies import PutItem
from holdfast.hold.hold import Hold
from holdfast.layout import primary_key
from holdfast.operations.kinds import KINDS

SIZES_BYTES = (0, 1, 700, 4096, 20_000, 150_000)
POOLS = ("alpha", "beta")
PAGE = 100
LAID_FROM = 100_000  # ids of data that is there "before Holdfast came"
DOCUMENT = """\
state_dir: state
placement: distributed
pools:
  alpha: {type: disk, files_dir: alpha, weight: 1}
  beta: {type: disk, files_dir: beta, weight: 2}
"""


def content(number: int) -> bytes:
    """The bytes that `number` stands for: anybody who knows the number can tell whether they are whole."""
    chance = random.Random(number)
    size_bytes = chance.choice(SIZES_BYTES)
    return b"%d:" % number + chance.randbytes(size_bytes) if size_bytes else b""


def token(number: int) -> int:
    """What a content is told as: its number, or 0 for no bytes at all."""
    return number if content(number) else 0


def main(seed: int, actions: int) -> None:
    """Open, check, tidy up, work."""
    start = time.monotonic()
    expected = json.loads(Path("../output/expected.json").read_text())
    _prepare(expected["half_laid"])
    with holdfast.open("holdfast.yml") as hold:
        problems = Check(hold, expected).problems()
        found = tidy_up(hold, problems)
        problems += Check(hold, expected).problems()
        problems += strangers(hold)
        tell(checked=round(time.monotonic() - start, 2), problems=problems, datasets=found)
        Work(hold, random.Random(seed), expected).go_on(actions)


class Check:
    """Is everything true that was acknowledged?"""

    def __init__(self, hold: Hold, expected: dict[str, Any]) -> None:
        self.hold = hold
        self.expected = expected

    def problems(self) -> list[str]:
        """One line for each thing that is not as it has to be."""
        found = []
        for key, entry in self.expected["datasets"].items():
            wrong = self._wrong(int(key), entry)
            if wrong:
                found.append(f"dataset {key}: {wrong}; acknowledged was {entry}")
        return found

    def _wrong(self, dataset_id: int, entry: dict[str, Any]) -> str | None:
        try:
            dataset = self.hold.find(dataset_id)
        except NotFound:
            return None if "absent" in entry["states"] else "not found"
        if dataset.state not in entry["states"]:
            return f"its state is {dataset.state}"
        if dataset.state == "purged":
            return None
        try:
            number = number_of(self.hold, dataset)
        except HoldfastError as error:
            return f"{type(error).__name__}: {error}"
        return None if number in entry["contents"] else f"its bytes are those of {number}"


def number_of(hold: Hold, dataset: Dataset) -> int | None:
    """Whose content a dataset's bytes are, whole; None if nobody's. Looks past the hold if it is deleted."""
    if dataset.state == "deleted":
        path = hold.full_path(dataset)
        raw = Path(path).read_bytes() if path else b"no path"
    else:
        target = Path(os.environ["TMPDIR"], "exported")
        hold.export(dataset.id, target)
        raw = target.read_bytes()
    if not raw:
        return 0
    number = int(raw.partition(b":")[0]) if raw.partition(b":")[0].isdigit() else -1
    return number if content(number) == raw else None


def tidy_up(hold: Hold, problems: list[str]) -> dict[str, Any]:
    """What an administrator does after a power cut: reap, reconcile, scrub. None of them may find damage."""
    for kind, parameters in (("reap", {"grace_s": 0}), ("reconcile", {}), ("scrub", {})):
        progress = Findings(kind)
        for batch in KINDS[kind].batches(hold, parameters, None):
            batch.apply(progress)
        problems += progress.failures
    return {
        str(dataset.id): [dataset.state, number_of(hold, dataset) if dataset.state == "ok" else None]
        for dataset in all_datasets(hold)
    }


class Findings:
    """An operation's `Progress` that keeps what failed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.failures: list[str] = []

    def done(self, *, objects: int = 0, size_bytes: int = 0) -> None: ...

    def failed(
        self,
        item: int | str,
        error: HoldfastError | str,
        why: str = "",
        *,
        object_store_id: str | None = None,
    ) -> None:
        self.failures.append(f"{self.kind}: {object_store_id or ''} {item}: {error} {why}")

    def count(self, name: str, number: int = 1) -> None: ...

    def note(self, text: str) -> None: ...

    def check(self) -> None: ...


def all_datasets(hold: Hold) -> list[Dataset]:
    """Every dataset, deleted and purged ones too, page by page."""
    found: dict[int, Dataset] = {}
    for state in DATASET_STATES:
        which = Filter(state=state, limit=PAGE)
        while page := hold.datasets(which):
            found |= {dataset.id: dataset for dataset in page}
            which = replace(which, after=page[-1].id)
    return list(found.values())


def strangers(hold: Hold) -> list[str]:
    """Past the hold: files that belong to nothing, counters that are wrong, a database that is not sound."""
    known, problems = set(), []
    for dataset in all_datasets(hold):
        known |= {f"{one.object_store_id}/{one.key}" for one in dataset.replicas if one.state != "gone"}
    for pool in POOLS:
        lying = {str(path) for path in Path(pool).rglob("*") if path.is_file()} - {f"{pool}/.holdfast-pool"}
        problems += [f"{path} belongs to no dataset" for path in sorted(lying - known)]
    with sqlite3.connect("state/catalog.sqlite") as catalog:
        problems += [f"catalog: {row[0]}" for row in catalog.execute("PRAGMA integrity_check") if row[0] != "ok"]
    replicas = [one for dataset in all_datasets(hold) for one in dataset.replicas if one.state == "present"]
    for info in hold.pools():
        used = sum(one.size_bytes for one in replicas if one.object_store_id == info.object_store_id)
        counted = (info.used_bytes, info.reserved_bytes)
        if counted != (used, 0):
            problems.append(f"pool {info.object_store_id}: used and reserved are {counted}, not {(used, 0)}")
    return problems


class Work:
    """Actions on the hold, chosen by a seed, each acknowledged."""

    def __init__(self, hold: Hold, chance: random.Random, expected: dict[str, Any]) -> None:
        self.hold = hold
        self.chance = chance
        self.next_number = expected["next_number"]
        self.next_laid = expected["next_laid"]
        self.live = [int(key) for key, entry in expected["datasets"].items() if entry["states"] == ["ok"]]

    def go_on(self, actions: int) -> None:
        """Until the power goes, or that many."""
        for _ in range(actions):
            kinds = [self.put] * 4 + [self.put_many, self.adopt]
            if self.live:
                kinds += [self.replace] * 3 + [self.remove, self.purge]
            self.chance.choice(kinds)()

    def put(self) -> None:
        number = self._number()
        tell(begin={"put": [token(number)]})
        dataset = self.hold.put(content(number), name=f"put {number}")
        tell(done={"ids": [dataset.id], "contents": [token(number)], "number": number})
        self.live.append(dataset.id)

    def put_many(self) -> None:
        numbers = [self._number() for _ in range(self.chance.choice((2, 5, 12)))]
        tell(begin={"put": [*map(token, numbers)]})
        datasets = self.hold.put_many([PutItem(content(number), f"many {number}") for number in numbers])
        tell(
            done={
                "ids": [dataset.id for dataset in datasets],
                "contents": [*map(token, numbers)],
                "number": numbers[-1],
            }
        )
        self.live += [dataset.id for dataset in datasets]

    def replace(self) -> None:
        dataset_id, number = self.chance.choice(self.live), self._number()
        tell(begin={"replace": dataset_id, "content": token(number)})
        self.hold.replace(dataset_id, content(number))
        tell(done={"ids": [dataset_id], "contents": [token(number)], "number": number})

    def remove(self) -> None:
        dataset_id = self._take()
        tell(begin={"remove": dataset_id})
        self.hold.remove(dataset_id)
        tell(done={"removed": dataset_id})

    def purge(self) -> None:
        dataset_id = self._take()
        tell(begin={"purge": dataset_id})
        self.hold.remove(dataset_id, purge=True)
        tell(done={"purged": dataset_id})

    def adopt(self) -> None:
        """Data lies in a pool that nobody recorded; the first use records it."""
        dataset_id, number = self.next_laid, self._number()
        self.next_laid += 1
        tell(begin={"lay": dataset_id})
        path = _laid(self.chance.choice(POOLS), dataset_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content(number))
            file.flush()
            os.fsync(file.fileno())
        for place in path.parents[:-1]:
            _sync_folder(place)
        tell(done={"ids": [dataset_id], "contents": [token(number)], "number": number})
        self.hold.find(dataset_id)
        tell(done={"adopted": dataset_id})
        self.live.append(dataset_id)

    def _take(self) -> int:
        return self.live.pop(self.chance.randrange(len(self.live)))

    def _number(self) -> int:
        self.next_number += 1
        return int(self.next_number)


def _prepare(half_laid: list[int]) -> None:
    """What the administrator made, long ago: durable before anything else happens.

    What was being laid into a pool past Holdfast when the power went is taken away again.
    """
    for pool in POOLS:
        for dataset_id in half_laid:
            _laid(pool, dataset_id).unlink(missing_ok=True)
    for name in POOLS:
        Path(name).mkdir(exist_ok=True)
    if not Path("holdfast.yml").exists():
        Path("holdfast.yml.new").write_text(DOCUMENT)
        os.rename("holdfast.yml.new", "holdfast.yml")
        os.sync()


def _laid(pool: str, dataset_id: int) -> Path:
    return Path(pool, primary_key("id", dataset_id, ""))


def _sync_folder(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def tell(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
