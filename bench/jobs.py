"""What a job costs beyond its commands: queued to a worker on DBOS, and typed at the prompt."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import holdfast
from bench.measuring import Row, bounded
from holdfast.jobs.worker import Worker

BEYOND_S = 1.0
ROUNDS = 7
HOLDFAST = Path(sys.executable).with_name("holdfast")
TWO_COMMANDS = "head -c 100000 /dev/urandom > {0}; sort -o {0} {0}"
JOB = ["sh", "-c", TWO_COMMANDS.format("{output:sorted}")]


def main(folder: Path) -> list[Row]:
    """All rows about jobs."""
    for name in ("a", "work"):
        (folder / name).mkdir()
    document = folder / "holdfast.yml"
    document.write_text(
        f"state_dir: {folder / 'state'}\npools:\n"
        f"  a: {{type: disk, files_dir: {folder / 'a'}, extra_dirs: {{job_work: {folder / 'work'}}}}}\n"
    )
    plain_s = statistics.median(_plain(folder) for _ in range(ROUNDS))
    return [_queued(document, plain_s), _at_the_prompt(document, plain_s)]


def _plain(folder: Path) -> float:
    """The two commands by themselves."""
    start = time.perf_counter()
    subprocess.run(["sh", "-c", TWO_COMMANDS.format(folder / "plain")], check=True)
    return time.perf_counter() - start


def _queued(document: Path, plain_s: float) -> Row:
    times = []
    with holdfast.open(document) as hold:
        worker = Worker.of(hold)
        worker.start()
        try:
            for _ in range(ROUNDS + 1):
                start = time.perf_counter()
                job = worker.jobs.wait(worker.jobs.submit(JOB, outputs=["sorted"]).id, 60)
                times.append(time.perf_counter() - start - plain_s)
                assert job.state == "ok", job
        finally:
            worker.stop()
    return bounded("job of 2 commands, queued: beyond its commands", statistics.median(times[1:]), at_most=BEYOND_S)


def _at_the_prompt(document: Path, plain_s: float) -> Row:
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        command = [HOLDFAST, "--config", document, "run", "--output", "sorted", "--", *JOB]
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start - plain_s)
    return bounded("job of 2 commands, holdfast run: beyond them", statistics.median(times), at_most=BEYOND_S)
