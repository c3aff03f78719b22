"""What a worker does by itself: it takes back what dead processes had begun, and reaps once a day."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.jobs.lab import Lab

from holdfast.jobs.worker import REAPED, Worker
from holdfast.operations.runner import Operations

PUT_FOR_EVER = """
import sys, time
from holdfast.config.build import open_hold
from holdfast.config.read import read_document
from pathlib import Path

class Endless:
    sent = False
    def readinto(self, buffer):
        if self.sent:
            print("written", flush=True)
            time.sleep(600)
        self.sent = True
        return len(buffer)
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def read(self, size): raise AssertionError

open_hold(read_document(Path(sys.argv[1]), environ={})).put(Endless(), name="endless")
"""


def _wait_for(condition, limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def _kill_a_put(lab: Lab) -> None:
    process = subprocess.Popen([sys.executable, "-c", PUT_FOR_EVER, str(lab.document)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    process.kill()
    process.wait()


def _reserved(lab: Lab) -> int:
    return sum(info.reserved_bytes for info in lab.hold.pools())


def test_a_write_whose_process_was_killed_is_taken_back_and_swept_away(lab: Lab) -> None:
    _kill_a_put(lab)
    assert _reserved(lab) > 0
    folders = [Path(pool.driver.root) for pool in lab.hold.poolset]
    assert [path for folder in folders for path in folder.rglob(".holdfast-*.tmp")]
    worker = Worker.of(lab.hold)
    worker.start()
    try:
        _wait_for(lambda: _reserved(lab) == 0)
        _wait_for(lambda: not [path for folder in folders for path in folder.rglob(".holdfast-*.tmp")])
        assert lab.hold.datasets() == []
        assert lab.hold.totals().datasets == 0
    finally:
        worker.stop()


def test_reap_is_submitted_once_a_day(lab: Lab) -> None:
    operations = Operations(lab.hold)
    for _ in range(2):
        worker = Worker.of(lab.hold)
        worker.start()
        _wait_for(lambda: any(row.state == "done" for row in operations.list()))
        worker.stop()
    assert [row.kind for row in operations.list()] == ["reap"]
    lab.hold.catalog.set(REAPED, "0")
    worker = Worker.of(lab.hold)
    worker.start()
    try:
        _wait_for(lambda: [row.state for row in operations.list()] == ["done", "done"])
    finally:
        worker.stop()
