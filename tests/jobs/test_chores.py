"""What a worker does by itself: it takes back what dead processes had begun, and reaps once a day."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.jobs.lab import Lab, until

from holdfast.jobs.folders import logs_folder
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


def _kill_a_put(lab: Lab) -> None:
    command = [sys.executable, "-c", PUT_FOR_EVER, str(lab.document)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()


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
        until(lambda: _reserved(lab) == 0)
        until(lambda: not [path for folder in folders for path in folder.rglob(".holdfast-*.tmp")])
        assert lab.hold.datasets() == []
        assert lab.hold.totals().datasets == 0
    finally:
        worker.stop()


def test_reap_is_submitted_once_a_day(lab: Lab) -> None:
    operations = Operations(lab.hold)
    old = logs_folder(lab.hold.state_dir, 4711)
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    for _ in range(2):
        worker = Worker.of(lab.hold)
        worker.start()
        until(lambda: any(row.state == "done" for row in operations.list()))
        worker.stop()
    assert [row.kind for row in operations.list()] == ["reap"]
    assert not old.exists(), "the logs of a job that nobody knows"
    lab.hold.catalog.set(REAPED, "0")
    worker = Worker.of(lab.hold)
    worker.start()
    try:
        until(lambda: [row.state for row in operations.list()] == ["done", "done"])
    finally:
        worker.stop()
