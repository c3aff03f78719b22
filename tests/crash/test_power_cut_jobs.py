"""Jobs in real power cuts: afterwards each is what it was said to be, or is told to be lost; none runs for ever.

The guest (power_jobs.py) tells the host what it queues and how each job ended. After every cut it boots again on
the same disk, and then: a job that was said to be over is so, with the same outputs, byte for byte; one that was
queued is run; one that ran is lost, with the reason; no dataset is there that its job does not know; no folder of
a job that is over stays.

A soak: HOLDFAST_POWER_CUTS=100 HOLDFAST_POWER_SEED=7 pytest tests/crash/test_power_cut_jobs.py
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.power import Cut, PowerCutMachine, Run

SCRIPT = Path(__file__).with_name("power_jobs.py")
ROOT = Path(__file__).parents[2]
CUTS = int(os.environ.get("HOLDFAST_POWER_CUTS", "2"))
SEED = int(os.environ.get("HOLDFAST_POWER_SEED", "1"))
JOBS_MAX = 100_000
Machines = Callable[..., PowerCutMachine]
pytestmark = [pytest.mark.needs("uml"), pytest.mark.timeout(300 + 30 * CUTS)]


@pytest.mark.parametrize(
    "writeback_ms",
    [pytest.param(None, id="nothing written back"), pytest.param(20, id="some of it written back")],
)
def test_the_truth_is_told_of_every_job(power_cut_machine: Machines, writeback_ms: int | None) -> None:
    machine = power_cut_machine(writeback_ms=writeback_ms, python_path=[ROOT / "src", ROOT])
    ledger, chance = Ledger(), random.Random(2 * SEED + (writeback_ms is None))
    for turn in range(CUTS + 1):
        is_last = turn == CUTS
        (machine.output_folder / "expected.json").write_text(json.dumps({"jobs": ledger.jobs}))
        moment = Cut(lines=chance.randint(2, 9), delay_ms=chance.uniform(0, 700))
        run = machine.run(
            SCRIPT, str(SEED * 1000 + turn), str(0 if is_last else JOBS_MAX), cut=None if is_last else moment
        )
        ledger.read(run)
    assert ledger.problems == [], "\n".join(ledger.problems)
    assert ledger.told["ok"] >= CUTS, "too little happened to prove anything"
    assert ledger.under_way, "no job ran when the power went: nothing was proved"


class Ledger:
    """What the host knows of each job: the number of its input, and how it ended, if that was acknowledged."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.told: Counter[str] = Counter()
        self.under_way = 0

    def read(self, run: Run) -> None:
        """Take over what one boot told."""
        for line in map(json.loads, run.lines):
            if "checked" in line:
                self.problems += line["problems"]
                self.under_way += sum(known["state"] is None for known in self.jobs.values())
                for job_id, (state, outputs) in line["jobs"].items():
                    self.told[state] += 1
                    self.jobs[job_id] |= {"state": state, "outputs": outputs}
            elif "queued" in line["done"]:
                self.jobs[str(line["done"]["queued"])] = {
                    "number": line["done"]["number"], "state": None, "outputs": {},
                }  # fmt: skip
            else:
                self.jobs[str(line["done"]["over"])] |= {
                    "state": line["done"]["state"], "outputs": line["done"]["outputs"],
                }  # fmt: skip
