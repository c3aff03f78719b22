"""--help: quick, complete, with an example; the table, the commands and the reference page say the same."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.lab import Lab

from holdfast.cli import reference
from holdfast.cli.main import main
from holdfast.cli.parsing import build_command, every_option, example_of
from holdfast.cli.tree import Leaf, commands

ROOT = Path(__file__).resolve().parents[2]
EVERY = [pytest.param(words, leaf, id=" ".join(words)) for words, leaf in commands()]
HEAVY = ("sqlalchemy", "fastapi", "uvicorn", "rich", "yaml", "lxml", "holdfast.hold", "asyncio")
HELP_BUDGET_S = 0.3

# INTERFACE's commands, as far as they are there; a command that vanishes is noticed here.
EXPECTED = """
init|check|config show|serve|worker|pools|pool show|pool set|pool rename|cache|cache ls|cache warm|cache drop|
put|ls|show|path|get|replace|rm|restore|
explain|move|drain|rebalance|scrub|reconcile|reap|ops|op show|op pause|op resume|op cancel|op receipt|
receipt verify|receipt key|run|jobs|job show|job cancel|user add|
user ls|user set|token new|catalog upgrade|catalog create|catalog copy
"""


def test_the_tree_has_every_command():
    there = {" ".join(words) for words, _ in commands()}
    assert there == {name.strip() for name in EXPECTED.split("|")}


@pytest.mark.parametrize(("words", "leaf"), EVERY)
def test_help_shows_usage_options_and_an_example(words, leaf: Leaf, capsys):
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: holdfast {' '.join(words)} ")
    assert (
        f"Example:\n    holdfast {' '.join(words)}" in text
        or f"holdfast {' '.join(words)}" in text.split("Example:")[1]
    )
    for option in ("--config", "--state", "--json", "--progress"):
        assert option in text


@pytest.mark.parametrize(("words", "leaf"), EVERY)
def test_the_table_says_what_the_command_says(words, leaf: Leaf):
    first_line = inspect.cleandoc(build_command(leaf).help or "").splitlines()[0]
    assert first_line == leaf.line


@pytest.mark.parametrize(("words", "leaf"), EVERY)
def test_every_option_says_what_it_is_for(words, leaf: Leaf):
    command = build_command(leaf)
    assert all(option.help for option in every_option(command))


@pytest.mark.parametrize(("words", "leaf"), EVERY)
def test_examples_are_calls_that_parse(words, leaf: Leaf, capsys):
    """Each line of an example is a call of this command with options that it has."""
    import shlex

    command = build_command(leaf)
    calls = []
    for line in example_of(command.callback):
        for part in line.replace("$(", "\n").replace(")", "\n").replace("|", "\n").splitlines():
            tokens = shlex.split(part)
            if tokens[: len(words) + 1] == ["holdfast", *words]:
                calls.append(tokens[len(words) + 1 :])
    assert calls, f"no example of holdfast {' '.join(words)}"
    for arguments in calls:
        with command.make_context(" ".join(words), list(arguments), resilient_parsing=False):
            pass


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from holdfast.cli.main import main; code = main(['--help']);"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "holdfast put" in done.stdout


def test_help_prints_within_its_budget():
    """Counted in processor time, so that a busy machine does not matter."""
    spent_s = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-m", "holdfast", "--help"], capture_output=True, check=True)
        after = os.times()
        spent_s.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert min(spent_s) <= HELP_BUDGET_S, spent_s


def test_no_arguments_print_help(capsys):
    assert main([]) == 0
    assert "Datasets:" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("holdfast 0.")


def test_mistyped_command_is_guessed(capsys):
    assert main(["pols"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Did you mean" in captured.err
    assert "'pools'" in captured.err


def test_a_word_without_its_command_says_where_to_look(capsys):
    assert main(["pool"]) == 2
    assert "holdfast pool --help" in capsys.readouterr().err


def test_the_reference_page_is_up_to_date():
    written = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert written == reference.page(), "write it again: make docs"


@pytest.mark.parametrize("word", ["pool", "cache", "op", "job", "user", "token", "catalog", "config"])
def test_a_word_with_commands_behind_it_shows_an_example(lab: Lab, word: str):
    answer = lab.call(word, "--help")
    assert answer.code == 0
    assert f"holdfast {word} " in answer.out.rpartition("Example:")[2]


def test_one_mark_ends_a_sentence(lab: Lab):
    answer = lab.call("opp")
    assert answer.code == 2
    assert "?." not in answer.err
