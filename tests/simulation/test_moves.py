"""Thousands of short histories of moving while people work, and defects that they must find.

HOLDFAST_SEED=7 plays one history; HOLDFAST_SIMULATION_S=600 plays for so many seconds (default: see `SECONDS`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.simulation.history import Broken, History

from holdfast.catalog.moves import MoveLedger
from holdfast.hold import copying

SECONDS = 45.0
HISTORIES_MIN = 60  # also on a machine that is busy
FIRST = 1
DEFECT_HISTORIES_MAX = 400

Patch = pytest.MonkeyPatch


def test_many_histories(capsys: pytest.CaptureFixture[str]):
    seed = os.environ.get("HOLDFAST_SEED")
    if seed is not None:
        History(int(seed)).run()
        return
    seconds = float(os.environ.get("HOLDFAST_SIMULATION_S", SECONDS))
    begun_s, played, moved, died, zombies = time.monotonic(), 0, 0, 0, 0
    while played < HISTORIES_MIN or (time.process_time() < seconds and time.monotonic() - begun_s < seconds * 2):
        history = History(FIRST + played)
        history.run()
        played += 1
        moved, died, zombies = moved + history.moved, died + history.died, zombies + history.zombies
    with capsys.disabled():
        said = f"{moved} moves recorded, {died} processes killed, {zombies} frozen and taken for dead"
        sys.stdout.write(f"\n{played} histories: {said}\n")
    assert min(moved, died, zombies) > 0, "histories in which nothing happens prove nothing"


def test_a_seed_makes_the_same_history_again():
    traces = []
    for _ in range(2):
        history = History(8)
        history.run()
        traces.append(list(history.trace))
    assert traces[0] == traces[1]


# -- defects: each is found ------------------------------------------------------------------------------------------


def no_sync(patch: Patch) -> None:
    patch.setattr(copying.Copying, "sync", lambda self, copied: {})


def the_last_of_a_batch_is_not_synced(patch: Patch) -> None:
    sync = copying.Copying.sync
    patch.setattr(copying.Copying, "sync", lambda self, copied: sync(self, copied[:-1]))


def deleted_before_it_is_recorded(patch: Patch) -> None:
    proved = copying.Copying.proved

    def and_deleted(self, copied):
        outcome = proved(self, copied)
        source = copied.prepared.source
        self._store(source.object_store_id).delete(source.key)
        return outcome

    patch.setattr(copying.Copying, "proved", and_deleted)


def proved_at_the_source(patch: Patch) -> None:
    def elsewhere(self, prepared, source, *rest):
        with self._store(prepared.source.object_store_id).open(source) as reader:
            return bool(copying.digest_of(reader))

    patch.setattr(copying.Copying, "_prove", elsewhere)


def no_fence(patch: Patch) -> None:
    """Whoever was taken for dead clears up all the same."""
    patch.setattr(MoveLedger, "claim", lambda self, row: row)
    patch.setattr(MoveLedger, "confirm", lambda self, row: None)


def the_row_is_not_asked_at_the_end(patch: Patch) -> None:
    """A replace that comes in between is not noticed."""
    commit = MoveLedger._record

    def blind(self, cursor, one, *rest, **more):
        now = self._transitions.again(cursor, one.prepared.dataset.id)
        source = next(
            rep for rep in now.replicas if rep.object_store_id == one.prepared.source.object_store_id
        )
        prepared = replace(one.prepared, source=source, dataset=now)
        return commit(
            self, cursor, replace(one, prepared=prepared, checksum=now.checksum), *rest, **more
        )

    patch.setattr(MoveLedger, "_record", blind)


DEFECTS: list[Callable[[Patch], None]] = [
    no_sync,
    the_last_of_a_batch_is_not_synced,
    deleted_before_it_is_recorded,
    proved_at_the_source,
    no_fence,
    the_row_is_not_asked_at_the_end,
]


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_is_found(defect: Callable[[Patch], None], monkeypatch: Patch):
    defect(monkeypatch)
    for seed in range(FIRST, FIRST + DEFECT_HISTORIES_MAX):
        try:
            History(seed).run()
        except Broken:
            return
    pytest.fail(f"{DEFECT_HISTORIES_MAX} histories did not find it")
