"""An operation that counts to `objects`, a line in a file for each: what it does can be seen from behind."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import holdfast
from holdfast.errors import Conflict, Corrupt, Malformed
from holdfast.hold.hold import Hold
from holdfast.operations.base import Amount, Batch, Blocker, Parameters, Plan, Progress
from holdfast.operations.runner import Operations

PER_BATCH = 5


class Count:
    """Parameters: objects, seconds (for each), bad (a number that cannot be dealt with), breaks (at that
    number, for good), shaky (a number that fails twice before it works)."""

    kind = "count"

    def __init__(self) -> None:
        self.shaken = 0

    def plan(self, hold: Hold, parameters: Parameters) -> Plan:
        if "objects" not in parameters:
            raise Malformed("say how many: objects")
        objects = int(parameters["objects"])
        return Plan(
            objects, objects * 10, {"newdata": Amount(objects, objects * 10)}, {}, (Blocker("seven is shy", 7),), 1.0
        )

    def batches(self, hold: Hold, parameters: Parameters, cursor: str | None) -> Iterator[Batch]:
        done = int(cursor) if cursor else 0
        while done < int(parameters["objects"]):
            upto = min(done + PER_BATCH, int(parameters["objects"]))
            yield self._batch(hold, parameters, done, upto)
            done = upto

    def _batch(self, hold: Hold, parameters: Parameters, done: int, upto: int) -> Batch:
        def apply(progress: Progress) -> None:
            for number in range(done + 1, upto + 1):
                progress.check()
                with open(hold.state_dir / "counted", "a") as diary:
                    diary.write(f"{number}\n")
                if number == parameters.get("breaks") and not (hold.state_dir / "mended").exists():
                    raise Corrupt(f"{number} breaks everything")
                if number == parameters.get("shaky") and self.shaken < 2:
                    self.shaken += 1
                    raise Conflict("somebody was quicker")
                if number == parameters.get("bad"):
                    progress.failed(number, Corrupt("it is bad"), object_store_id="newdata")
                progress.count("even" if number % 2 == 0 else "odd")
                progress.note(f"at {number}")
                progress.done(objects=1, size_bytes=10)
                time.sleep(float(parameters.get("seconds", 0)))

        return Batch(str(upto), apply)


def operations_of(hold: Hold) -> Operations:
    return Operations(hold, {"count": Count()})


def main(document: str, operation_id: str) -> None:
    """Work on it, until the starter is gone."""
    with holdfast.open(Path(document)) as hold:
        stop = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
        operations_of(hold).run(int(operation_id), stop=stop)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
