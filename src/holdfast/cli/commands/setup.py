"""init and config show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import render
from holdfast.cli.invocation import Invocation, command

DOCUMENT_NAME = "holdfast.yml"
STATE_NAME = "holdfast-state"
POOLS_NAME = "pools"


@command(example="holdfast init\nholdfast init lab --from object_store_conf.xml")
def init(
    call: Invocation,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where to, instead of here.")] = ".",
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Galaxy's object_store_conf.xml or .yml, with its pools."),
    ] = None,
) -> None:
    """Write a commented holdfast.yml and the state directory.

    Without --from it describes two pools on disk, in the folder pools beside it. Nothing is ever overwritten.
    """
    from holdfast.config.read import read_document
    from holdfast.config.write import starter_document
    from holdfast.errors import AlreadyExists

    home = Path(folder)
    document = home / DOCUMENT_NAME
    if os.path.lexists(document):
        raise AlreadyExists(f"{document} is there already and stays as it is; edit it, or choose another folder")
    state_dir = Path(call.state_dir) if call.state_dir else home / STATE_NAME
    state_text = STATE_NAME if call.state_dir is None else os.path.abspath(state_dir)
    if from_ is None:
        text = starter_document(POOLS_NAME, state_dir=state_text)
    else:
        read_document(Path(from_), environ=os.environ, state=state_dir)
        text = starter_document(object_store=_seen_from(home, Path(from_)), state_dir=state_text)
    home.mkdir(parents=True, exist_ok=True)
    _write_new(document, text)
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = read_document(document, environ=os.environ, state=state_dir)
    if from_ is None:
        for pool in config.pools():
            Path(pool.files_dir or "").mkdir(parents=True, exist_ok=True)
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


@command(example="holdfast config show --expanded")
def config_show(
    call: Invocation,
    *,
    expanded: Annotated[bool, typer.Option("--expanded", help="With everything that was left to defaults.")] = False,
) -> None:
    """Print the document as understood, secrets masked.

    Whichever spelling it has (ours, Galaxy's XML or YAML), it is printed in ours, with paths made absolute.
    """
    from holdfast.config.expand import render_document, to_document

    document = to_document(call.read_config())
    if not expanded:
        document = _without_defaults(document)
    call.answer(document, render_document(document).rstrip())


def _without_defaults(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, saying only what differs from the defaults."""
    from dataclasses import MISSING, fields

    from holdfast.config.document import HoldfastConfig, JobsConfig, PoolConfig, QuotaConfig, ServerConfig

    def differing(values: dict[str, Any], of: type[Any]) -> dict[str, Any]:
        defaults = {each.name: each.default for each in fields(of) if each.default is not MISSING}
        return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}

    found = differing(document, HoldfastConfig) | {"state_dir": document["state_dir"]}
    found["pools"] = {
        name: differing(pool | {"quota": differing(pool["quota"], QuotaConfig)}, PoolConfig)
        for name, pool in document["pools"].items()
    }
    found["server"] = differing(document["server"], ServerConfig)
    found["jobs"] = differing(document["jobs"], JobsConfig)
    for part in (found, *found["pools"].values()):
        for name in ("quota", "server", "jobs"):
            if part.get(name) == {}:
                del part[name]
    return {name: found[name] for name in document if name in found}


def _seen_from(home: Path, file: Path) -> str:
    """`file` as a document in `home` names it: relative if it lies in there, else absolute."""
    target, base = os.path.abspath(file), os.path.abspath(home)
    return os.path.relpath(target, base) if target.startswith(base + os.sep) else target


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
