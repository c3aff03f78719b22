"""put, replace, rm, restore: what changes datasets."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli import render, words
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command
from holdfast.errors import HoldfastError, InvalidKey
from holdfast.keys import check_dataset_name

if TYPE_CHECKING:
    from holdfast.blobs import StreamBody
    from holdfast.catalog.base import Dataset
    from holdfast.hold.bodies import PutItem
    from holdfast.hold.hold import Hold

STDIN = "-"
ACTOR = "command line"

DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="An id or a uuid.")]
DatasetsArgument = Annotated[list[str], typer.Argument(metavar="DATASET", help="Ids or uuids.")]


@command(example="holdfast put reads.fastq --label run=7\ntar c results | holdfast put - --name results.tar")
def put(
    call: Invocation,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files to store; - reads standard input.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The dataset's name. Else the file's.")
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", metavar="ID", help="Store in this pool, no other.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="EMAIL", help="The owner.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", metavar="K=V", help="A label.")] = None,
    extra_files: Annotated[
        str | None, typer.Option("--extra-files", metavar="DIR", help="Store this folder beside it.")
    ] = None,
    announced: Annotated[
        str | None,
        typer.Option("--size", metavar="SIZE", help="How much standard input brings: a pool with room is chosen."),
    ] = None,
) -> None:
    """Store files as datasets.

    Each file becomes one dataset. The command returns when bytes and names survive a power cut.
    With --json: the dataset; an array of datasets where several files were given.
    """
    one = len(files) == 1
    if not one and (name is not None or extra_files is not None):
        option = "--name" if name is not None else "--extra-files"
        raise UsageError(f"{option} belongs to one file; these are {len(files)}: call put once for each")
    if files.count(STDIN) > 1:
        raise UsageError("standard input can be read once; give - once")
    if announced is not None and files != [STDIN]:
        raise UsageError("--size is for standard input; the size of a file is known: put - --size 3GiB")
    size_bytes = None if announced is None else words.size_bytes(announced, "--size")
    if name is not None:
        check_dataset_name(name)
    labels, owner = words.labels(label or []), words.owner(user)
    for file in files if name is None else ():
        _check_name_of(file)
    total_bytes = size_bytes or _total_bytes([*files, *([extra_files] if extra_files else [])])
    title = _title(files)
    with call.hold_or_begin() as hold, call.progress(title, total_bytes) as progress:
        _warn_of_stranger(call, hold, owner)
        if one:
            dataset = hold.put(
                _source(files[0], size_bytes),
                name=name or ("stdin" if files[0] == STDIN else None),
                pool=pool,
                owner=owner,
                labels=labels,
                extra_files=extra_files,
                on_progress=progress.update,
            )
            progress.update(dataset.total_bytes)
            _answer(call, hold, [dataset], one=True, verb="stored")
            return
        stored: list[Dataset] = []
        done_bytes = 0

        def note(dataset: Dataset) -> None:
            nonlocal done_bytes
            stored.append(dataset)
            done_bytes += dataset.total_bytes
            progress.update(done_bytes)

        try:
            hold.put_many(_items(files), pool=pool, owner=owner, labels=labels, on_stored=note)
        except BaseException:
            if stored:
                _answer(call, hold, stored, one=False, verb="stored")
                call.remark(f"{len(stored)} of {len(files)} files were stored before it went wrong.")
            raise
        _answer(call, hold, stored, one=False, verb="stored")


@command(example="holdfast replace 24 corrected.fastq")
def replace(
    call: Invocation,
    dataset: DatasetArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The new bytes; - reads standard input.")],
) -> None:
    """Give a dataset new bytes.

    Readers see the old bytes or the new ones, whole. Id, uuid and name stay.
    """
    with call.hold() as hold, call.progress(_title([file]), _total_bytes([file])) as progress:
        new = hold.replace(dataset, _source(file), actor=ACTOR, on_progress=progress.update)
        _answer(call, hold, [new], one=True, verb="replaced")


@command(example="holdfast rm 24 25\nholdfast rm 24 --purge")
def rm(
    call: Invocation,
    datasets: DatasetsArgument,
    purge: Annotated[bool, typer.Option("--purge", help="Take the bytes away too. There is no way back.")] = False,
) -> None:
    """Remove datasets; their bytes stay until purge or expiry.

    `holdfast restore` brings one back that was not purged. With --json: the dataset; an array where several
    were given.
    """
    from holdfast.hold.waiting import why_bytes_wait

    with call.hold() as hold:
        ids = [hold.find(dataset).id for dataset in datasets]  # one that is not there stops it before it begins
        purged_before = {dataset_id for dataset_id in ids if hold.find(dataset_id).state == "purged"}
        removed = [hold.remove(dataset_id, purge=purge, actor=ACTOR) for dataset_id in ids]
        verb = "purged" if purge else "removed"
        shapes = [hold.to_json(dataset) for dataset in removed]
        lines = [_line(each, "purged before:" if each.id in purged_before else verb) for each in removed]
        call.answer(shapes[0] if len(datasets) == 1 else shapes, *lines)
        for each in removed:
            waits = why_bytes_wait(hold.catalog, each)
            if waits is not None:
                call.remark(f"dataset {each.id}: {waits}")


@command(example="holdfast restore 24")
def restore(call: Invocation, dataset: DatasetArgument) -> None:
    """Bring a removed dataset back."""
    with call.hold() as hold:
        restored = hold.restore(dataset, actor=ACTOR)
        _answer(call, hold, [restored], one=True, verb="restored")


def _answer(call: Invocation, hold: Hold, datasets: list[Dataset], *, one: bool, verb: str) -> None:
    shapes = [hold.to_json(dataset) for dataset in datasets]
    call.answer(shapes[0] if one else shapes, *(_line(dataset, verb) for dataset in datasets))


def _line(dataset: Dataset, verb: str) -> str:
    where = f" in {render.clean(dataset.object_store_id)}" if dataset.object_store_id else ""
    size = render.size(dataset.total_bytes)
    return f"{verb} dataset {dataset.id}{where}: {render.clean(dataset.name)} ({size})"


def _check_name_of(file: str) -> None:
    """Raises UsageError if the file's own name cannot be its dataset's."""
    try:
        check_dataset_name(_name(file))
    except InvalidKey as error:
        raise UsageError(f"{error}; give it another one: holdfast put FILE --name NAME") from error


def _warn_of_stranger(call: Invocation, hold: Hold, owner: str | None) -> None:
    """Says so if nobody can sign in as the owner, where there are people who can."""
    from holdfast.catalog.accounts import Accounts

    accounts = Accounts(hold.catalog.db, hold.clock, hold.entropy)
    if owner is None or not accounts.has_any():
        return
    try:
        accounts.find_email(owner)
    except HoldfastError:
        call.remark(f"holdfast: warning: no account has the address {owner}; accounts: holdfast user ls")


def _items(files: list[str]) -> Iterator[PutItem]:
    from holdfast.hold.bodies import PutItem

    for file in files:
        yield PutItem(_source(file), "stdin" if file == STDIN else None)


def _source(file: str, size_bytes: int | None = None) -> Path | StreamBody:
    if file != STDIN:
        return Path(file)
    from holdfast.blobs import StreamBody

    return StreamBody(sys.stdin.buffer, size_bytes)


def _name(file: str) -> str:
    return "stdin" if file == STDIN else Path(os.path.abspath(file)).name


def _title(files: list[str]) -> str:
    return f"Storing {render.clean(_name(files[0])) if len(files) == 1 else render.count(len(files), 'file')}"


def _total_bytes(files: list[str]) -> int | None:
    """What is going to be read; None where nobody knows. Raises OSError for what is not there."""
    total = 0
    for file in files:
        if file == STDIN:
            return None
        found = os.stat(file)
        if stat.S_ISDIR(found.st_mode):
            total += sum(os.lstat(path).st_size for path in Path(file).rglob("*") if path.is_file())
        else:
            total += found.st_size
    return total
