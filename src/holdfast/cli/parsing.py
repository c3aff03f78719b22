"""Typer, with three things of our own: commands are loaded when they are called, help is plain text with an
example, and a negative number where a dataset should stand gets a sentence instead of "no such option".
"""

from __future__ import annotations

import functools
import importlib
import re
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import (
    PANEL,
    CommandFunction,
    ConfigOption,
    JsonOption,
    ProgressOption,
    StateOption,
    share,
)
from holdfast.cli.tree import SECTIONS, Branch, Leaf, Section

PROGRAM = "holdfast"
SUMMARY = "Keeps a research group's datasets over all the storage it has, as one place."
_NEGATIVE = re.compile(r"-[0-9]+")


class Command(TyperCommand):
    """One command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = list(args)  # the parser empties the list that it reads
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            option = getattr(error, "option_name", "")
            if _NEGATIVE.fullmatch(option):
                number = next((arg for arg in given if _NEGATIVE.fullmatch(arg)), option)
                message = f"{number} cannot be a dataset's id: ids go from 1 to 2**63-1"
                raise UsageError(message) from error
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTION]...", *(metavar(argument) for argument in arguments_of(self))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        lists = (
            ("Arguments", [(metavar(argument), help_of(argument)) for argument in arguments_of(self)]),
            ("Options", [(spelling(option), help_of(option)) for option in options_of(self, shared=False)]),
            (PANEL, [(spelling(o), help_of(o)) for o in options_of(self, shared=True)]),
        )
        for title, rows in lists:
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """The root, or a word that commands stand behind. Imports a command only to run or explain it."""

    sections: tuple[Section, ...] = ()
    is_command: bool = False  # also without a command behind it

    def list_commands(self, ctx: Any) -> list[str]:
        return [entry.name for section in self.sections for entry in section.entries]

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        for section in self.sections:
            for entry in section.entries:
                if entry.name == cmd_name:
                    return build_command(entry) if isinstance(entry, Leaf) else build_branch(entry)
        return None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTION]...", "[COMMAND ...]" if self.is_command else "COMMAND ..."]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        longest = max(len(entry.name) for section in self.sections for entry in section.entries)
        for section in self.sections:
            with formatter.section(section.title):
                formatter.write_dl([(entry.name.ljust(longest), entry.line) for entry in section.entries])
        with formatter.section("Options"):
            formatter.write_dl([(spelling(option), help_of(option)) for option in every_option(self)])


def build_root() -> Group:
    """The whole tree."""
    group = _build_group("", SUMMARY, SECTIONS, _root)
    group.epilog = f"\b\nExample:\n  {PROGRAM} serve --demo\n  {PROGRAM} put --help"
    return group


def build_branch(branch: Branch) -> Group:
    """A word with the commands behind it."""
    callback = share if branch.alone is None else _run_alone(branch.alone)
    group = _build_group(branch.name, branch.line, (Section("Commands", branch.leaves),), callback)
    if branch.alone is not None:
        group.is_command = group.invoke_without_command = True
        group.no_args_is_help = False
    group.epilog = f"\b\nExample:\n  {branch.example}\n  {PROGRAM} {branch.name} {branch.leaves[0].name} --help"
    return group


def _run_alone(leaf: Leaf) -> Any:
    """What a branch does: takes the shared options, and runs its own command where none stands behind it."""

    @functools.wraps(share)
    def run(ctx: typer.Context, **given: Any) -> Any:
        share(ctx, **given)
        if ctx.invoked_subcommand is not None:
            return None
        command = build_command(leaf)
        with command.make_context(leaf.name, [], parent=ctx) as own:
            return command.invoke(own)

    return run


def build_command(leaf: Leaf) -> TyperCommand:
    """One command; imports its module."""
    module_name, _, function_name = leaf.target.partition(":")
    module = importlib.import_module(f"holdfast.cli.commands.{module_name}")
    function: CommandFunction = getattr(module, function_name)
    lines = "\n".join(f"  {line}" for line in example_of(function))
    app = _typer()
    settings = {"allow_interspersed_args": not getattr(function, "command_follows", False)}
    epilog = f"\b\nExample:\n{lines}"
    app.command(leaf.name, cls=Command, epilog=epilog, context_settings=settings)(function)
    built = typer.main.get_command(app)
    assert isinstance(built, TyperCommand)
    return built


def example_of(function: CommandFunction) -> list[str]:
    """The lines of the command's example."""
    example: str = function.example  # type: ignore[attr-defined]
    return example.strip().splitlines()


def arguments_of(command: TyperCommand) -> list[TyperArgument]:
    """The command's positional arguments."""
    return [param for param in command.params if isinstance(param, TyperArgument)]


def options_of(command: TyperCommand, *, shared: bool) -> list[TyperOption]:
    """The command's own options, or those that it shares with all others."""
    return [option for option in every_option(command) if (option.rich_help_panel == PANEL) == shared]


def every_option(command: TyperCommand | TyperGroup) -> list[TyperOption]:
    """All options but --help."""
    return [param for param in command.params if isinstance(param, TyperOption) and not param.hidden]


def metavar(argument: TyperArgument) -> str:
    """How an argument stands in the usage line: `FILE...`."""
    name = argument.metavar or argument.name.upper()
    many = "..." if argument.nargs != 1 and not name.endswith("...") else ""
    return f"{name}{many}" if argument.required else f"[{name}{many}]"


def spelling(option: TyperOption) -> str:
    """How an option is typed: `-o, --output PATH`."""
    names = ", ".join(sorted(option.opts, key=len))
    if option.secondary_opts:
        names = f"{names} / {', '.join(option.secondary_opts)}"
    return names if option.is_flag else f"{names} {option.metavar or option.name.upper()}"


def help_of(param: TyperArgument | TyperOption) -> str:
    """What a parameter is for, and its default."""
    text = param.help or ""
    if isinstance(param, TyperOption) and param.multiple:
        text = f"{text} May be given several times."
    if isinstance(param, TyperOption) and param.show_default and param.default not in (None, False, [], ()):
        text = f"{text} [default: {param.default}]"
    return text.strip()


def _build_group(name: str, line: str, sections: tuple[Section, ...], callback: Any) -> Group:
    app = _typer()
    app.callback(cls=Group, help=line)(callback)
    built = typer.main.get_command(app)
    assert isinstance(built, Group)
    built.name = name or None
    built.sections = sections
    names: dict[str, Any] = dict.fromkeys(built.list_commands(None))
    built.commands = names  # for suggestions when somebody mistypes
    return built


def _typer() -> typer.Typer:
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


def _root(
    ctx: typer.Context,
    config: ConfigOption = None,
    state: StateOption = None,
    json: JsonOption = False,
    progress: ProgressOption = None,
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    del version  # its callback has printed it
    share(ctx, config, state, json, progress)
