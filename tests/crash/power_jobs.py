"""Runs inside the guest of `PowerCutMachine`, for test_power_cut_jobs.py: `power_jobs.py SEED JOBS`.

Queues jobs and runs them, one after another, in the foreground. After a boot it looks whether each job that was
acknowledged is what it was said to be, brings every other one to its end, and looks at each output byte by byte.
Lines are JSON, as those of `power_hold`:

    {"checked": ..., "problems": [...], "jobs": {...}}    what became of the jobs that were not over
    {"begin": {...}} and {"done": {...}}                  around every submission and every run
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from tests.crash.power_hold import DOCUMENT, content, strangers, tell, tidy_up

import holdfast
from holdfast.catalog.jobs import Job
from holdfast.errors import HoldfastError
from holdfast.hold.hold import Hold
from holdfast.jobs.jobs import Jobs
from holdfast.operations.reap import recover

INPUTS = 5
# writes in pieces, so that the power goes while some of the output is there; the second output has extra files
COMMAND = """
echo begun {number}
(head -c 3000 {{input1}}; sleep {pause}; tail -c +3001 {{input1}}) > {{output:copy}}
mkdir second_files; cp {{input1}} second_files/more.txt
cat {{input1}} {{input1}} > {{output:second}}
echo ended {number}
"""


def main(seed: int, jobs: int) -> None:
    """Open, check, bring to an end what was begun, work."""
    expected = json.loads(Path("../output/expected.json").read_text())
    for name in ("alpha", "beta"):
        Path(name).mkdir(exist_ok=True)
    Path("holdfast.yml").write_text(DOCUMENT)
    with holdfast.open("holdfast.yml") as hold:
        recover(hold)
        desk = Desk(hold)
        found, problems = desk.check(expected["jobs"])
        desk.jobs.sweep(keep_failed_s=0)
        problems += desk.left_behind()
        tidy_up(hold, problems)
        problems += [one for one in strangers(hold) if "second_files" not in one and "_files/" not in one]
        tell(checked=True, problems=problems, jobs=found)
        desk.work(random.Random(seed), jobs)


class Desk:
    """Jobs over a few inputs whose contents are known by number."""

    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self.jobs = Jobs(hold)

    def check(self, known: dict[str, dict[str, Any]]) -> tuple[dict[str, list[Any]], list[str]]:
        """job -> [state, outputs] as it is in the end, and what is not as it has to be."""
        found: dict[str, list[Any]] = {}
        problems: list[str] = []
        for job_id, said in known.items():
            try:
                before = self.jobs.get(job_id)
                job = before if before.is_over else self.jobs.run(before.id)
                problems += [f"job {job_id} ({said}): {one}" for one in self._wrong(job, said)]
                found[job_id] = [job.state, self._outputs(job)]
            except HoldfastError as error:
                problems.append(f"job {job_id} ({said}): {type(error).__name__}: {error}")
        return found, problems

    def _wrong(self, job: Job, said: dict[str, Any]) -> list[str]:
        wrong = []
        if said["state"] is not None and [job.state, self._outputs(job)] != [said["state"], said["outputs"]]:
            wrong.append(f"it is {job.state} with {self._outputs(job)}")
        if job.state not in ("ok", "lost"):
            wrong.append(f"it is {job.state}: {job.note}")
        if job.state == "lost" and not job.note:
            wrong.append("it is lost, and nobody says why")
        if job.state == "ok":
            wrong += self._wrong_outputs(job, said["number"])
            log = self.jobs.tail(job.id, "stdout")
            if log != f"begun {said['number']}\nended {said['number']}\n":
                wrong.append(f"its stdout is {log!r}")
        made = [one.id for one in self._hold.datasets() if one.job_id == job.id]
        if {*made} - {*self._outputs(job).values()}:
            wrong.append(f"it made the datasets {made}, and says {self._outputs(job)}")
        return wrong

    def _wrong_outputs(self, job: Job, number: int) -> list[str]:
        raw = content(number)
        wanted = {"copy": raw, "second": raw + raw}
        wrong = []
        for output in job.outputs:
            if output.dataset_id is None:
                wrong.append(f"output {output.name} is no dataset")
                continue
            with self._hold.open(output.dataset_id) as stream:
                if stream.read() != wanted[output.name]:
                    wrong.append(f"output {output.name} has other bytes")
        second = job.outputs[1].dataset_id
        if second is not None:
            with self._hold.open(second, extra_file="more.txt") as stream:
                if stream.read() != raw:
                    wrong.append("the extra file has other bytes")
        return wrong

    @staticmethod
    def _outputs(job: Job) -> dict[str, int]:
        return {one.name: one.dataset_id for one in job.outputs if one.dataset_id is not None}

    def left_behind(self) -> list[str]:
        """Folders of jobs that are over."""
        kept = [path for path in Path("state/jobs").glob("*/*") if path.is_dir()]
        return [f"{path} belongs to a job that is over" for path in kept]

    def work(self, chance: random.Random, jobs: int) -> None:
        """Queue and run, until the power goes, or that many."""
        inputs = self._inputs() if jobs else {}
        for _ in range(jobs):
            number = chance.choice([*inputs])
            line = COMMAND.format(number=number, pause=round(chance.uniform(0, 0.1), 3))
            job = self.jobs.submit(["sh", "-c", line], inputs=[inputs[number]], outputs=["copy", "second"])
            tell(done={"queued": job.id, "number": number})
            job = self.jobs.run(job.id)
            tell(done={"over": job.id, "state": job.state, "outputs": self._outputs(job)})

    def _inputs(self) -> dict[int, int]:
        """content number -> dataset."""
        known = {one.name: one.id for one in self._hold.datasets() if one.job_id is None}
        return {
            number: known.get(f"input {number}") or self._hold.put(content(number), name=f"input {number}").id
            for number in range(100, 100 + INPUTS)
        }


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
