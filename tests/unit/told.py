"""Small holds on disk, and operations run here and now with what they tell."""

from __future__ import annotations

from pathlib import Path

from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from holdfast.hold import Hold
from holdfast.operations.kinds import KINDS

POOL = "  {0}: {{type: disk, files_dir: {0}}}\n"


def open_at(folder: Path, *pools: str) -> Hold:
    """A hold over folders of these names, in this order."""
    document = folder / "holdfast.yml"
    document.write_text("placement: hierarchical\nstate_dir: state\npools:\n" + "".join(map(POOL.format, pools)))
    return open_hold(read_document(document, environ={}))


class Told:
    """What an operation tells."""

    def __init__(self) -> None:
        self.failures: list[tuple[int | str, str]] = []
        self.counts: dict[str, int] = {}
        self.objects = 0

    def done(self, *, objects: int = 0, size_bytes: int = 0) -> None:
        self.objects += objects

    def failed(self, item, error, why="", *, object_store_id=None) -> None:
        self.failures.append((item, str(error)))

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def note(self, text: str) -> None: ...

    def check(self) -> None: ...


def run(hold: Hold, kind: str, **parameters) -> Told:
    told = Told()
    for batch in KINDS[kind].batches(hold, parameters, None):
        batch.apply(told)
    return told
