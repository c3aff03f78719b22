"""The power cut is one: what was synced is there after it, what was not is not, and nothing lives on."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.testing.here import CannotRunHere
from holdfast.testing.power import Cut, GuestFailed, PowerCutMachine
from holdfast.testing.user_mode_linux import find_kernel, has_wide_registers

pytestmark = [pytest.mark.needs("uml"), pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("power_basics.py")
Machines = Callable[..., PowerCutMachine]


def test_what_is_synced_survives_and_what_is_not_does_not(power_cut_machine: Machines) -> None:
    machine = power_cut_machine()
    cut = machine.run(SCRIPT, "write_three_ways", cut=Cut(lines=1))
    assert cut.lines == ("written",)
    assert cut.status is None
    left = dict(line.split(" ", 1) for line in machine.run(SCRIPT, "list_files").lines)
    for number in range(10):
        assert left.get(f"synced-{number}") == "100000 whole"
    lost = [name for name in _loose_names() if left.get(name) != "100000 whole"]
    assert lost, "all that was never synced survived: this was no power cut"
    assert "renamed-last" in lost


def test_what_the_kernel_wrote_back_by_itself_survives_too(power_cut_machine: Machines) -> None:
    machine = power_cut_machine(writeback_ms=10)
    machine.run(SCRIPT, "write_and_wait", cut=Cut(lines=1))
    assert "loose-0 100000 whole" in machine.run(SCRIPT, "list_files").lines


def test_acknowledged_commits_survive_five_cuts(power_cut_machine: Machines) -> None:
    machine = power_cut_machine()
    chance = random.Random(5)
    acknowledged: list[int] = []
    for _ in range(6):
        moment = Cut(lines=chance.randint(2, 200), delay_ms=chance.uniform(0, 20))
        first, *lines = machine.run(SCRIPT, "commit", cut=moment).lines
        _, mode, check, *known = first.split(" ")
        assert (mode, check) == ("wal", "ok")
        assert set(acknowledged) <= set(map(int, filter(None, known)))
        acknowledged += map(int, lines)
    assert len(acknowledged) > 50


def test_a_guest_has_its_disk_the_checkout_and_a_way_out(power_cut_machine: Machines) -> None:
    machine = power_cut_machine()
    run = machine.run(SCRIPT, "surroundings", "two words", "and 'quotes'")
    kit, folder, refusal, arguments = run.lines
    assert Path(kit).samefile(Path(__file__).parents[2] / "src" / "holdfast" / "testing")
    assert Path(folder) == machine.disk
    assert refusal == "Read-only file system"
    assert arguments == "two words and 'quotes'"
    assert (machine.output_folder / "report").read_text() == "from the guest"
    assert run.status == 0


def test_a_script_that_fails_is_told_with_its_traceback(power_cut_machine: Machines) -> None:
    machine = power_cut_machine()
    with pytest.raises(GuestFailed, match="a bug in the guest's script"):
        machine.run(SCRIPT, "fail")


def test_a_script_that_never_ends_is_ended_and_nothing_of_it_lives_on(power_cut_machine: Machines) -> None:
    machine = power_cut_machine()
    with pytest.raises(GuestFailed, match="not done after"):
        machine.run(SCRIPT, "sleep", limit_s=4)
    assert _processes_with(str(machine.image)) == []


def test_a_machine_that_is_closed_leaves_nothing(power_cut_machine: Machines) -> None:
    machine = power_cut_machine()
    folder = machine.image.parent
    machine.close()
    assert not folder.exists()


def test_a_missing_compiler_is_told_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_wide_registers("fpu avx512f amx_tile amx_int8")
    assert not has_wide_registers("fpu avx512f")
    (tmp_path / "linux.uml").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if has_wide_registers():
        with pytest.raises(CannotRunHere, match="apt-get install gcc"):
            find_kernel(tmp_path)
    else:
        assert find_kernel(tmp_path).adapter is None


def _loose_names() -> list[str]:
    return [f"{kind}-{number}" for kind in ("loose", "renamed") for number in range(10)] + ["renamed-last"]


def _processes_with(argument: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if argument in (entry / "cmdline").read_text().split("\0"):
                    found.append(entry.name)
            except OSError:
                continue  # it ended while we looked
    return [process for process in found if int(process) != os.getpid()]
