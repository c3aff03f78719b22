"""Uploads in real power cuts, in the middle of a piece: what was acknowledged is there, and nothing else is believed.

The guest (power_uploads.py) tells the host how far each upload is said to be. After every cut it boots again on
the same disk; then no upload may have gone back behind what was acknowledged, and whatever its client sends from
there on makes just the bytes that it meant. A file whose size survived the cut and whose bytes did not is the
danger: on ext4 it ends in zeros.

A soak: HOLDFAST_POWER_CUTS=100 HOLDFAST_POWER_SEED=7 pytest tests/crash/test_power_cut_uploads.py
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.testing.power import Cut, PowerCutMachine, Run

SCRIPT = Path(__file__).with_name("power_uploads.py")
ROOT = Path(__file__).parents[2]
CUTS = int(os.environ.get("HOLDFAST_POWER_CUTS", "2"))
SEED = int(os.environ.get("HOLDFAST_POWER_SEED", "1"))
PIECES_MAX = 100_000
Machines = Callable[..., PowerCutMachine]
pytestmark = [pytest.mark.needs("uml"), pytest.mark.timeout(300 + 30 * CUTS)]


@pytest.mark.parametrize(
    "writeback_ms",
    [pytest.param(None, id="nothing written back"), pytest.param(20, id="some of it written back")],
)
def test_an_upload_goes_on_where_it_was_acknowledged(power_cut_machine: Machines, writeback_ms: int | None) -> None:
    machine = power_cut_machine(writeback_ms=writeback_ms, python_path=[ROOT / "src", ROOT])
    ledger, chance = Ledger(), random.Random(2 * SEED + (writeback_ms is None))
    for turn in range(CUTS + 1):
        is_last = turn == CUTS
        (machine.output_folder / "expected.json").write_text(json.dumps(ledger.expected()))
        moment = Cut(lines=chance.randint(6, 30), delay_ms=chance.uniform(0, 120))
        run = machine.run(
            SCRIPT, str(SEED * 1000 + turn), str(0 if is_last else PIECES_MAX), cut=None if is_last else moment
        )
        ledger.read(run)
    assert ledger.problems == [], "\n".join(ledger.problems)
    assert ledger.taken_up >= CUTS, "no upload was under way when the power went: nothing was proved"


class Ledger:
    """What the host knows for sure of each upload that is not finished: its content, and how far it is."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.taken_up = 0
        self._uploads: dict[str, dict[str, int]] = {}
        self._next_number = 0

    def expected(self) -> dict[str, object]:
        """What the guest has to find."""
        return {"uploads": self._uploads, "next_number": self._next_number}

    def read(self, run: Run) -> None:
        """Take over what one boot told."""
        for line in map(json.loads, run.lines):
            if "checked" in line:
                self.problems += line["problems"]
                self.taken_up += len(line["uploads"])
                self._uploads = {}
            elif "begin" in line:
                self._next_number = line["begin"]["number"]
            elif "announced" in line["done"]:
                self._uploads[line["done"]["announced"]] = {"number": line["done"]["number"], "acknowledged": 0}
            else:
                self._uploads[line["done"]["piece"]]["acknowledged"] = line["done"]["arrived"]
