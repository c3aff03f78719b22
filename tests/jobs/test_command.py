"""Commands: what is refused before anything is queued, what placeholders become."""

from __future__ import annotations

import pytest

from holdfast.errors import Malformed
from holdfast.jobs.command import check, fill


@pytest.mark.parametrize(
    ("argument", "filled"),
    [
        ("{input1}", ["/p/one"]),
        ("{input2}", ["/p/two words"]),
        ("--in={input1}:{input2}", ["--in=/p/one:/p/two words"]),
        ("{inputs}", ["/p/one", "/p/two words"]),
        ("-x {inputs}", ["-x /p/one /p/two words"]),
        ("{output:sorted.txt}", ["/w/sorted.txt"]),
        ("cat {input1} > {output:sorted.txt}", ["cat /p/one > /w/sorted.txt"]),
        ("{{input1}}", ["{input1}"]),
        ("{{print}}", ["{print}"]),
        ("{print $1}", ["{print $1}"]),
        ("${input1}", ["${input1}"]),
        ("s/{a,b}/{}/", ["s/{a,b}/{}/"]),
        ('{"json": {"x": 1}}', ['{"json": {"x": 1}}']),
    ],
)
def test_placeholders_become_paths(argument: str, filled: list[str]):
    command = ["tool", argument]
    check(command, inputs=2, outputs=["sorted.txt"], environment={})
    assert fill(command, ["/p/one", "/p/two words"], {"sorted.txt": "/w/sorted.txt"}) == ["tool", *filled]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("{input3}", "there are 2 inputs"),
        ("{input0}", "no such placeholder"),
        ("{input}", "write: {input1}"),
        ("x{inputz}", "no such placeholder"),
        ("{output}", "write: {output:NAME}"),
        ("{output:other.txt}", "declared: sorted.txt"),
        ("{outputs}", "write: {output:NAME}"),
        ("{nosuch}", "write: {{nosuch}}"),
        ("nul\0byte", "NUL"),
        ("\udce4", "not valid Unicode"),
        ("x" * 200_000, "more than"),
    ],
)
def test_what_makes_no_sense_is_refused_with_advice(argument: str, said: str):
    with pytest.raises(Malformed) as caught:
        check(["tool", argument], inputs=2, outputs=["sorted.txt"], environment={})
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\0b", "a\nb", "x" * 300, ".holdfast-x", "{a}"])
def test_outputs_that_cannot_be_files_are_refused(name: str):
    with pytest.raises(Malformed):
        check(["tool"], inputs=0, outputs=[name], environment={})


def test_every_mistake_is_told_at_once():
    with pytest.raises(Malformed) as caught:
        check(["tool", "{input1}"], inputs=0, outputs=["a", "a", "b", "b_files"], environment={"A B": "", "HOME": "x"})
    text = str(caught.value)
    for said in ("no inputs", "'a' is declared more than once", "another output's extra files", "'A B'", "HOME is"):
        assert said in text


@pytest.mark.parametrize("command", [[], [""]])
def test_nothing_to_run_is_refused(command: list[str]):
    with pytest.raises(Malformed, match="nothing to run"):
        check(command, inputs=0, outputs=[], environment={})
