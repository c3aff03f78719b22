"""One call of one command: what it was told about the document, and how it answers.

`command` gives a function the options that all commands share (`--config`, `--state`, `--json`,
`--progress`), which are accepted before the command's name too, and hands it an `Invocation`. The function
returns nothing, or an exit code.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from holdfast.cli import progress, render, words
from holdfast.cli.failure import UsageError

if TYPE_CHECKING:
    from holdfast.config.document import HoldfastConfig
    from holdfast.hold.hold import Hold

CONFIG_VARIABLE = "HOLDFAST_CONFIG"
STATE_VARIABLE = "HOLDFAST_STATE"

PANEL = "Options of every command"

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=f"The document. Else ${CONFIG_VARIABLE}, ./holdfast.yml.",
        rich_help_panel=PANEL,
    ),
]
StateOption = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help=f"The state directory. Else ${STATE_VARIABLE}, the document's.",
        rich_help_panel=PANEL,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON value to stdout; everything else goes to stderr.",
        rich_help_panel=PANEL,
    ),
]
ProgressOption = Annotated[
    Literal["auto", "plain", "none"] | None,
    typer.Option(
        "--progress",
        metavar="auto|plain|none",
        help="How long work shows itself. auto: a bar on a terminal.",
        rich_help_panel=PANEL,
    ),
]
SHARED: dict[str, tuple[Any, Any]] = {
    "config": (ConfigOption, None),
    "state": (StateOption, None),
    "json": (JsonOption, False),
    "progress": (ProgressOption, None),
}


@dataclass(frozen=True, slots=True)
class Shared:
    """The options that every command takes, as given so far."""

    config: str | None = None
    state: str | None = None
    json: bool = False
    progress: progress.Mode | None = None

    def under(self, nearer: Shared) -> Shared:
        """These, where `nearer` says nothing."""
        return Shared(
            nearer.config or self.config,
            nearer.state or self.state,
            nearer.json or self.json,
            nearer.progress or self.progress,
        )


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a command needs to know of how it was called, and its way to answer."""

    config_path: str | None
    state_dir: str | None
    as_json: bool
    progress_mode: progress.Mode
    config_given: bool = False
    state_given: bool = False

    @classmethod
    def of(cls, shared: Shared) -> Invocation:
        """The options, then the environment."""
        if shared.state is not None:
            words.state_dir(shared.state)
        return cls(
            shared.config or os.environ.get(CONFIG_VARIABLE) or None,
            shared.state or os.environ.get(STATE_VARIABLE) or None,
            shared.json,
            shared.progress or "auto",
            config_given=shared.config is not None,
            state_given=shared.state is not None,
        )

    @contextmanager
    def hold(self) -> Iterator[Hold]:
        """The hold of the document, open until the block ends. Makes no catalog where there is none yet."""
        from holdfast.catalog.catalog import SQLITE_FILE, refuse_if_lost
        from holdfast.config.build import open_hold

        config = self.read_config()
        if config.catalog_url is None and not (config.state_dir / SQLITE_FILE).exists():
            refuse_if_lost(config.state_dir / SQLITE_FILE, config.state_dir)
            message = f"there is no catalog in {config.state_dir} yet; begin with holdfast check (or put, serve)"
            raise UsageError(f"{message}, or say where it is: holdfast --state DIR ...")
        with open_hold(config) as hold:
            yield hold

    @contextmanager
    def hold_or_begin(self) -> Iterator[Hold]:
        """The same, for commands that may be the first: the state directory and the catalog are made."""
        from holdfast.config.build import open_hold

        with open_hold(self.read_config()) as hold:
            yield hold

    def read_config(self) -> HoldfastConfig:
        """The document alone; no pool and no database is opened."""
        from holdfast.config.read import find_document, read_document

        given = None if self.config_path is None else Path(self.config_path)
        state = None if self.state_dir is None else Path(self.state_dir)
        return read_document(find_document(given, os.environ, Path.cwd()), environ=os.environ, state=state)

    def at(self, config_path: str, state_dir: str) -> Invocation:
        """The same over another document."""
        return replace(self, config_path=config_path, state_dir=state_dir)

    def answer(self, value: Any, *blocks: render.Block) -> None:
        """The command's answer: `value` with --json, else the blocks."""
        if self.as_json:
            render.write_json(value, sys.stdout)
        else:
            render.write(blocks, sys.stdout)

    def remark(self, text: str) -> None:
        """Something worth knowing that is not the answer: to stderr."""
        sys.stderr.write(text + "\n")

    def progress(self, title: str, total: int | None, unit: progress.Unit = "bytes") -> progress.Progress:
        """Progress of long work, in bytes or in objects."""
        return progress.start(self.progress_mode, title, total, unit)


CommandFunction = Callable[..., int | None]


def command(*, example: str, command_follows: bool = False) -> Callable[[CommandFunction], CommandFunction]:
    """Makes a function a command. Its first parameter is the `Invocation`, the others are Typer's.

    `example` stands in its `--help`: one call a line, without the prompt. A parameter of the function that is
    called like a shared option takes that option's place. With `command_follows`, whatever comes behind the
    first argument belongs to another command, options and all.
    """

    def decorate(function: CommandFunction) -> CommandFunction:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]
        shared = [name for name in SHARED if name not in signature.parameters]

        @functools.wraps(function)
        def called(ctx: typer.Context, **given: Any) -> int | None:
            nearer = Shared(**{name: given.pop(name) for name in shared})
            farther = ctx.obj if isinstance(ctx.obj, Shared) else Shared()
            return function(Invocation.of(farther.under(nearer)), **given)

        parameters = [
            _parameter("ctx", typer.Context),
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
            *(_parameter(name, *SHARED[name]) for name in shared),
        ]
        del called.__wrapped__
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        called.example = example  # type: ignore[attr-defined]
        called.command_follows = command_follows  # type: ignore[attr-defined]
        return called

    return decorate


def share(
    ctx: typer.Context,
    config: ConfigOption = None,
    state: StateOption = None,
    json: JsonOption = False,
    progress: ProgressOption = None,
) -> None:
    """Takes the shared options where they stand before the command's name."""
    farther = ctx.obj if isinstance(ctx.obj, Shared) else Shared()
    ctx.obj = farther.under(Shared(config, state, json, progress))


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
