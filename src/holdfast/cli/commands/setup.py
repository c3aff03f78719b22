"""init and config show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import render
from holdfast.cli.invocation import Invocation, command

DOCUMENT_NAME = "holdfast.yml"
STATE_NAME = "holdfast-state"
DATA_NAME = "holdfast-data"


@command(example="holdfast init\nholdfast init lab --from object_store_conf.xml")
def init(
    call: Invocation,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where to, instead of here.")] = ".",
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Galaxy's object_store_conf.xml or .yml: its pools."),
    ] = None,
) -> None:
    """Write a commented holdfast.yml and the state directory.

    Without --from it describes one pool, the folder holdfast-data beside it. Nothing is ever overwritten.
    """
    from holdfast.cli import template
    from holdfast.config.read import read_document
    from holdfast.errors import AlreadyExists

    home = Path(folder)
    document = home / DOCUMENT_NAME
    if os.path.lexists(document):
        raise AlreadyExists(
            f"{document} is there already and stays as it is; edit it, or choose another folder"
        )
    state_dir = Path(call.state_dir) if call.state_dir else home / STATE_NAME
    state_text = STATE_NAME if call.state_dir is None else os.path.abspath(state_dir)
    if from_ is None:
        text = template.own_document(state_text, DATA_NAME)
    else:
        read_document(Path(from_), environ=os.environ, state=state_dir)
        text = template.document_over(_seen_from(home, Path(from_)), state_text)
    home.mkdir(parents=True, exist_ok=True)
    _write_new(document, text)
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if from_ is None:
        (home / DATA_NAME).mkdir(exist_ok=True)
    config = read_document(document, environ=os.environ, state=state_dir)
    answer = {
        "config": str(document),
        "state_dir": str(state_dir),
        "pools": [pool.object_store_id for pool in config.pools()],
    }
    first = "" if folder == "." else f"cd {render.clean(folder)}, then "
    call.answer(
        answer,
        f"wrote {render.clean(str(document))}",
        f"made  {render.clean(str(state_dir))}",
        f"Next: {first}holdfast check, then holdfast serve",
    )


def _seen_from(home: Path, file: Path) -> str:
    """`file` as a document in `home` names it: relative if it lies in there, else absolute."""
    target, base = os.path.abspath(file), os.path.abspath(home)
    return os.path.relpath(target, base) if target.startswith(base + os.sep) else target


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
