"""The reference page of the command line, made from the command tree: `python -m holdfast.cli.reference`.

The page in docs/reference/cli.md is this text; a test compares the two.
"""

from __future__ import annotations

import inspect
import sys

from typer.core import TyperArgument, TyperCommand, TyperOption

from holdfast.cli.invocation import PANEL
from holdfast.cli.parsing import (
    PROGRAM,
    arguments_of,
    build_command,
    build_root,
    every_option,
    help_of,
    metavar,
    options_of,
    spelling,
)
from holdfast.cli.tree import SECTIONS, Leaf, Section
from holdfast.errors import OUTCOMES

_HEAD = f"""\
# Command line

<!-- Made from the command tree by `make docs`. Edit src/holdfast/cli/, not this page. -->

`{PROGRAM} COMMAND --help` prints what stands here about a command. Sizes are typed as `4096`,
`20 KiB` (1024) or `1 TB` (1000), times as `90`, `12 h` or `7 days`. DATASET is an id or a uuid.

With `--json` a command prints exactly one JSON value to stdout: an object, or an array where it
lists. Everything else (progress, remarks, errors) goes to stderr; an error is then a problem object
with the members `type`, `title`, `status`, `detail` and `exit_code`.
"""


def page() -> str:
    """The whole page as Markdown, ending in one newline."""
    parts = [_HEAD, _shared(), _exit_codes()]
    parts += [_section(section) for section in SECTIONS]
    return "\n".join(parts).rstrip() + "\n"


def _shared() -> str:
    rows = "\n".join(_option_row(option) for option in every_option(build_root()))
    return f"## {PANEL}\n\nThey stand before or behind the command's name.\n\n{_table('option', rows)}"


def _exit_codes() -> str:
    words = {0: "done", 130: "interrupted", 141: "whoever read the output has gone"}
    for outcome in OUTCOMES.values():
        words.setdefault(outcome.exit_code, "")
    words |= {
        1: "a bug",
        2: "usage or configuration",
        3: "not found",
        4: "no space or quota",
        5: "corrupt",
        6: "unavailable (try again)",
        7: "denied",
        8: "conflict or blocked",
    }
    rows = "\n".join(f"| {code} | {words[code]} |" for code in sorted(words))
    return f"## Exit codes\n\n{_table('code', rows)}"


def _section(section: Section) -> str:
    parts = [f"## {section.title}\n"]
    for entry in section.entries:
        leaves = (
            ((entry.name, entry),)
            if isinstance(entry, Leaf)
            else tuple((" ".join(words), leaf) for words, leaf in entry.commands())
        )
        parts += [_command(words, build_command(leaf)) for words, leaf in leaves]
    return "\n".join(parts)


def _command(words: str, command: TyperCommand) -> str:
    usage = " ".join([PROGRAM, words, "[OPTION]...", *(metavar(argument) for argument in arguments_of(command))])
    text = inspect.cleandoc(command.help or "").strip()
    rows = [_argument_row(argument) for argument in arguments_of(command)]
    rows += [_option_row(option) for option in options_of(command, shared=False)]
    table = _table("", "\n".join(rows)) if rows else ""
    example = inspect.cleandoc(command.epilog or "").partition("Example:")[2]
    lines = "\n".join(line.strip() for line in example.strip().splitlines())
    return f"### {words}\n\n```\n{usage}\n```\n\n{text}\n\n{table}{_gap(table)}```console\n{lines}\n```\n"


def _argument_row(argument: TyperArgument) -> str:
    return f"| `{_cell(metavar(argument))}` | {_cell(help_of(argument))} |"


def _option_row(option: TyperOption) -> str:
    return f"| `{_cell(spelling(option))}` | {_cell(help_of(option))} |"


def _table(title: str, rows: str) -> str:
    return f"| {title} | |\n|---|---|\n{rows}\n"


def _gap(table: str) -> str:
    return "\n" if table else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(page())
