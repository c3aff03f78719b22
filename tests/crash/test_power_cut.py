"""A hold of two pools in real power cuts, in the middle of put, put_many, replace, remove, purge and adopt.

The guest (power_hold.py) tells the host what it begins and what it has done. After every cut it boots again
on the same disk, and then everything that was acknowledged has to be there, byte for byte; reap, reconcile
and scrub find no damage; and nothing lies in a pool that belongs to nobody.

A soak: HOLDFAST_POWER_CUTS=100 HOLDFAST_POWER_SEED=7 pytest tests/crash/test_power_cut.py
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.crash.power_hold import LAID_FROM

from holdfast.testing.power import Cut, PowerCutMachine, Run

SCRIPT = Path(__file__).with_name("power_hold.py")
CUTS = int(os.environ.get("HOLDFAST_POWER_CUTS", "3"))  # in each of two ways; a soak takes 100
SEED = int(os.environ.get("HOLDFAST_POWER_SEED", "1"))
pytestmark = [pytest.mark.needs("uml"), pytest.mark.timeout(300 + 30 * CUTS)]
ACTIONS_MAX = 100_000
Machines = Callable[..., PowerCutMachine]


@pytest.mark.parametrize(
    "writeback_ms",
    [pytest.param(None, id="nothing written back"), pytest.param(20, id="some of it written back")],
)
def test_a_hold_keeps_what_it_acknowledged(power_cut_machine: Machines, writeback_ms: int | None) -> None:
    machine = power_cut_machine(writeback_ms=writeback_ms)
    seed = 2 * SEED + (writeback_ms is None)
    ledger, chance = Ledger(), random.Random(seed)
    for turn in range(CUTS + 1):
        is_last = turn == CUTS
        moment = Cut(lines=chance.randint(2, 120), delay_ms=chance.uniform(0, 15))
        ledger.hand_to(machine)
        run = machine.run(
            SCRIPT,
            str(seed * 1000 + turn),
            str(0 if is_last else ACTIONS_MAX),
            cut=None if is_last else moment,
        )
        ledger.read(run)
    assert ledger.problems == []
    assert ledger.acknowledged > 10 * CUTS, "too little happened to prove anything"


def test_a_cut_while_everything_is_made_for_the_first_time(power_cut_machine: Machines) -> None:
    chance = random.Random(SEED)
    machine = power_cut_machine()
    ledger = Ledger()
    for _ in range(2):
        ledger.hand_to(machine)
        ledger.read(machine.run(SCRIPT, "0", "0", cut=Cut(lines=1, delay_ms=chance.uniform(0, 900))))
    ledger.hand_to(machine)
    ledger.read(machine.run(SCRIPT, "3", "20"))
    assert ledger.problems == []
    assert ledger.acknowledged >= 20


class Ledger:
    """What the host knows for sure, from what the guest told before the power went.

    For each dataset the states that it may be in and the contents that it may have (numbers, see
    `power_hold.content`); more than one where an action had begun and was not acknowledged.
    """

    def __init__(self) -> None:
        self.datasets: dict[str, dict[str, list[Any]]] = {}
        self.problems: list[str] = []
        self.acknowledged = 0
        self._begun: list[int] = []  # contents of puts that may or may not have happened
        self._next_number = 0
        self._half_laid: list[int] = []
        self._next_laid = LAID_FROM

    def hand_to(self, machine: PowerCutMachine) -> None:
        """Tell the guest what has to be true."""
        expected = {
            "datasets": self.datasets, "begun": self._begun, "next_number": self._next_number,
            "next_laid": self._next_laid, "half_laid": self._half_laid,
        }  # fmt: skip
        (machine.output_folder / "expected.json").write_text(json.dumps(expected))

    def read(self, run: Run) -> None:
        """Take over what one boot told. Raises if it did not even get to its check."""
        lines = [json.loads(line) for line in run.lines]
        for line in lines:
            if "checked" in line:
                self._take_over(line)
            elif "begin" in line:
                self._begin(**line["begin"])
            elif "done" in line:
                self.acknowledged += 1
                self._done(**line["done"])

    def _take_over(self, line: dict[str, Any]) -> None:
        """Everything was looked at: what was uncertain is settled."""
        self.problems += line["problems"]
        for key, (state, number) in line["datasets"].items():
            known = self.datasets.get(key)
            if known is None and state == "ok" and number not in self._begun:
                self.problems.append(f"dataset {key} came from nowhere, with the content {number}")
            if state in ("ok", "deleted", "purged"):
                contents = [number] if state == "ok" else (known or {"contents": []})["contents"]
                self.datasets[key] = {"states": [state], "contents": contents}
        self._begun = []

    def _begin(
        self,
        put: list[int] | None = None,
        replace: int | None = None,
        content: int | None = None,
        remove: int | None = None,
        purge: int | None = None,
        lay: int | None = None,
    ) -> None:
        if lay is not None:
            self._half_laid.append(lay)
            self._next_laid = lay + 1
        if put is not None:
            self._begun += put
        if replace is not None:
            self.datasets[str(replace)]["contents"].append(content)
        if remove is not None:
            self.datasets[str(remove)]["states"].append("deleted")
        if purge is not None:
            self.datasets[str(purge)]["states"].append("purged")

    def _done(
        self,
        ids: list[int] | None = None,
        contents: list[int] | None = None,
        number: int = 0,
        removed: int | None = None,
        purged: int | None = None,
        adopted: int | None = None,
    ) -> None:
        self._next_number = max(self._next_number, number)
        for dataset_id, content in zip(ids or [], contents or [], strict=True):
            self.datasets[str(dataset_id)] = {"states": ["ok"], "contents": [content]}
        self._half_laid = [one for one in self._half_laid if one not in (ids or [])]
        if removed is not None:
            self.datasets[str(removed)]["states"] = ["deleted"]
        if purged is not None:
            self.datasets[str(purged)]["states"] = ["purged"]
        if adopted is not None:
            assert self.datasets[str(adopted)]["states"] == ["ok"]
