"""A line as people type it: what the job's program is really given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Malformed
from holdfast.jobs.command import fill
from holdfast.server.pages.command_line import arguments, as_line, outputs

PATH = "/a folder/with 'quotes' & $(touch /tmp/no)/dataset_1.dat"


def given_to_programs(line: str, *paths: str, **made: str) -> list[str]:
    """What is run in the end, with paths in the places of inputs and outputs."""
    return fill(arguments(line, len(paths)), paths, made)


def test_a_plain_line_needs_no_shell():
    assert arguments("sort -k2 'two words' {input1}", 1) == ["sort", "-k2", "two words", "{input1}"]
    assert arguments(r"echo a\|b 'x > y' {output:z}", 0) == ["echo", "a|b", "x > y", "{output:z}"]


@pytest.mark.parametrize(
    "line",
    ["a | b", "a > b", "a; b", "ls *", "echo $HOME", 'echo "$HOME"', "a\nb", "a && b", "echo `id`", "~/x", "a # b"],
)
def test_a_line_for_a_shell_gets_one(line: str):
    assert arguments(line, 0)[:3] == ["sh", "-c", line]
    assert as_line(arguments(line, 0)) == line


@pytest.mark.parametrize("line", ["cat {input1} | cat", 'cat "{input1}" | cat', "cat '{input1}' | cat"])
def test_whatever_is_in_a_path_it_is_one_word(tmp_path: Path, line: str):
    source = tmp_path / "a b'c\"d$(touch no);e" / "f g.dat"
    source.parent.mkdir()
    source.write_text("the bytes")
    done = subprocess.run(
        given_to_programs(line, str(source)), capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == "the bytes"
    assert [one.name for one in tmp_path.iterdir()] == [source.parent.name]


def test_all_inputs_and_outputs_in_a_script(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{name}\n")
    line = "cat {inputs} > {output:all.txt}; cp {output:all.txt} {output:again}"
    assert outputs(line) == ["all.txt", "again"]
    paths = [str(tmp_path / "one"), str(tmp_path / "two")]
    made = {"all.txt": str(tmp_path / "all out"), "again": str(tmp_path / "again")}
    subprocess.run(given_to_programs(line, *paths, **made), check=True)
    assert (tmp_path / "again").read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    "line", ["sort {input1}", "sort {input1} | uniq > {output:u.txt}", "awk '{print $1}' {input1} > {output:a}"]
)
def test_the_line_comes_back(line: str):
    assert as_line(arguments(line, 1)) == line


def test_braces_of_the_shells_own_are_left_alone():
    line = "for f in {input1}; do echo ${f%.dat} ${input1} {a,b}; done"
    script = arguments(line, 1)[2]
    assert "${f%.dat} ${input1} {a,b}" in script


@pytest.mark.parametrize("line", ["", "   ", "echo 'open", 'echo "open', "echo open\\"])
def test_what_cannot_be_run_is_said(line: str):
    with pytest.raises(Malformed):
        arguments(line, 0)


@given(st.text(max_size=60), st.integers(0, 3))
def test_no_line_is_too_strange(line: str, inputs: int):
    try:
        words = arguments(line, inputs)
    except Malformed:
        return
    assert words
    assert isinstance(as_line(words), str)
    assert outputs(line) == list(dict.fromkeys(outputs(line)))
