"""ls, show, path, get, explain: what reads datasets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render, words
from holdfast.cli.commands.storing import DatasetArgument
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.blobs import ByteRange
    from holdfast.catalog.base import Dataset
    from holdfast.hold.hold import Hold

STDOUT = "-"
LIMIT_MAX = 100_000


@command(example="holdfast ls --pool newdata --limit 20\nholdfast ls --label project=apollo")
def ls(
    call: Invocation,
    *,
    pool: Annotated[str | None, typer.Option("--pool", metavar="ID", help="Only those in this pool.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="EMAIL", help="Only this owner's.")] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only new, ok, error, deleted or purged ones."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Only with this in the name.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="K=V", help="Only with this label; given several times, with all of them."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    after: Annotated[
        int | None, typer.Option("--after", metavar="ID", min=1, max=words.ID_MAX, help="Go on behind this one.")
    ] = None,
) -> None:
    """List datasets, newest first.

    Removed datasets are left out unless --state asks for them.
    """
    from holdfast.catalog.base import DATASET_STATES, Filter

    wanted_state = words.state_word(state, DATASET_STATES, "holdfast ls")
    with call.hold() as hold:
        if pool is not None:
            hold.pool(pool)
        wanted = Filter(
            pool=pool, owner=words.owner(user), state=wanted_state, name_has=name,
            labels=tuple(words.labels(label or []).items()), limit=limit, after=after,
        )  # fmt: skip
        found = hold.datasets(wanted)
        now_us = hold.clock.now_us()
        away = hold.unavailable()
        shapes = [hold.to_json(dataset, away) for dataset in found]
        rows = [_row(dataset, now_us, shape) for dataset, shape in zip(found, shapes, strict=True)]
        empty = "No datasets here yet. Store one: holdfast put FILE"
        if any((pool, user, wanted_state, name, label, after)):
            empty = "No dataset is like that."
        if any(dataset.labels for dataset in found):
            rows = [(*row, _label_words(dataset)) for dataset, row in zip(found, rows, strict=True)]
            call.answer(shapes, render.Table((*_COLUMNS, render.Column("LABELS")), rows, empty))
        else:
            call.answer(shapes, render.Table(_COLUMNS, rows, empty))
    if len(found) == limit and not call.as_json:
        call.remark(f"There may be more: --after {found[-1].id}")


_COLUMNS = (
    render.Column("ID", "right"),
    render.Column("NAME", wide=True),
    render.Column("SIZE", "right"),
    render.Column("STATE"),
    render.Column("POOL"),
    render.Column("OWNER"),
    render.Column("CREATED"),
)


def _row(dataset: Dataset, now_us: int, shape: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(dataset.id),
        render.clean(dataset.name),
        render.size(dataset.total_bytes),
        dataset.state if shape["available"] else "unavailable",
        render.clean(dataset.object_store_id or ""),
        render.clean(dataset.owner or ""),
        render.ago(dataset.created_us, now_us),
    )


def _label_words(dataset: Dataset) -> str:
    return render.clean(", ".join(f"{key}={value}" for key, value in sorted(dataset.labels.items())))


@command(example="holdfast show 24")
def show(call: Invocation, dataset: DatasetArgument) -> None:
    """Print everything that is known of one dataset."""
    with call.hold() as hold:
        found = hold.find(dataset)
        shape = hold.to_json(found)
        call.answer(shape, *_card(hold, found, shape))


def _card(hold: Hold, dataset: Dataset, shape: dict[str, Any]) -> list[render.Block]:
    now_us = hold.clock.now_us()
    pairs = [
        ("ID", str(dataset.id)),
        ("UUID", dataset.uuid),
        ("Name", render.clean(dataset.name)),
        ("Owner", render.clean(dataset.owner or "nobody")),
        ("State", dataset.state + (f" ({render.clean(dataset.note)})" if dataset.note else "")),
        *([] if shape["available"] else [("Unavailable", render.clean(shape["unavailable_because"]))]),
        ("Size", f"{render.size(dataset.size_bytes)} ({dataset.size_bytes:,} bytes)"),
        ("Checksum", dataset.checksum or "not taken yet"),
        ("Created", f"{render.ago(dataset.created_us, now_us)} ({shape['created']})"),
        ("Pool", render.clean(dataset.object_store_id or "none")),
        ("Full Path", render.clean(shape.get("full_path") or _no_path(hold, dataset))),
    ]
    if dataset.job_id is not None:
        pairs.append(("Job", str(dataset.job_id)))
    pairs += [("Label", render.clean(f"{key}={value}")) for key, value in sorted(dataset.labels.items())]
    pairs += [("Replica", _replica_words(replica, now_us)) for replica in shape.get("replicas", ())]
    pairs += [
        ("Extra file", f"{render.clean(extra.path)} ({render.size(extra.size_bytes)})")
        for extra in hold.extra_files(dataset.id)
    ]
    return [render.Fields(pairs), "", "Why it is here", *_reasons(shape.get("placement", ()))]


def _no_path(hold: Hold, dataset: Dataset) -> str:
    pool = None if dataset.object_store_id is None else hold.poolset.get(dataset.object_store_id)
    if dataset.state == "purged":
        return "none: it was purged"
    where = pool.facts.location if pool is not None and dataset.state == "ok" else None
    return f"none: it lies in {where}" if where else "none: it has no local file"


def _replica_words(replica: dict[str, Any], now_us: int) -> str:
    place = render.clean(f"{replica['object_store_id']}: {replica['key']}")
    verified = render.microseconds(replica.get("verified"))
    proved = "not verified yet" if verified is None else f"verified {render.ago(verified, now_us)}"
    return f"{place}, {replica['state']}, {render.size(replica['size_bytes'])}, {proved}"


def _reasons(placement: Any) -> list[render.Block]:
    rows = [
        (
            "->" if verdict["chosen"] else "",
            render.clean(verdict["object_store_id"]),
            render.clean(verdict["reason"]),
        )
        for verdict in placement
    ]
    columns = (render.Column(""), render.Column("POOL"), render.Column("REASON"))
    return [render.Table(columns, rows, "It lay there before Holdfast came, or was told to.")]


@command(example="wc -l $(holdfast path 24)")
def path(
    call: Invocation,
    dataset: DatasetArgument,
    extra_file: Annotated[
        str | None, typer.Option("--extra-file", metavar="NAME", help="Of this extra file instead.")
    ] = None,
) -> None:
    """Print a local path at which a dataset may be read.

    Read it, do not write to it. The path is leased while the command runs; in a pool on disk it is where the
    dataset lies, until it is moved, replaced or purged.
    """
    with call.hold() as hold:
        found = hold.find(dataset)
        with hold.lease(found.id, extra_file=extra_file) as leased:
            call.answer({"id": found.id, "uuid": found.uuid, "path": str(leased)}, str(leased))


@command(example="holdfast get 24\nholdfast get 24 -o - --range 0-99 | head\nholdfast get 24 -o reads.fastq")
def get(
    call: Invocation,
    dataset: DatasetArgument,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="Where to; - is standard output. Else its name, here."),
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option("--range", metavar="A-B", help="Only these bytes, both included, counted from 0; A- or -N."),
    ] = None,
) -> None:
    """Write a dataset's bytes to a file or to standard output.

    A file at PATH is replaced at once and whole, or left as it was. Without -o nothing is ever replaced.
    """
    if output == "":
        raise UsageError("-o names no file; give a path, a folder, or - for standard output")
    if output == STDOUT and call.as_json:
        raise UsageError("the bytes and --json cannot both go to standard output; give -o PATH")
    if output == STDOUT and sys.__stdout__ is None:
        raise UsageError("standard output is closed; give -o PATH")
    from holdfast.blobs import ByteRange

    with call.hold() as hold:
        found = hold.find(dataset)
        part = None if range_ is None else ByteRange(*words.byte_range(range_, found.size_bytes))
        expected = found.size_bytes if part is None else (part.stop or 0) - part.start
        with call.progress(f"Reading {render.clean(found.name)}", expected) as progress:
            if output == STDOUT:
                _copy_to_stdout(hold, found, part, progress.update)
                return
            target = _target(found, output)
            written = hold.export(found.id, target, range=part, on_progress=progress.update)
        answer = {"id": found.id, "uuid": found.uuid, "path": str(target), "size_bytes": written}
        call.answer(answer, f"{render.clean(str(target))}: {render.size(written)}")


def _target(dataset: Dataset, output: str | None) -> Path:
    name = words.local_name(dataset.name, dataset.id)
    if output is None:
        if os.path.lexists(name):
            raise FileExistsError(17, f"exists here already; say where to with -o PATH (-o {name} replaces it)", name)
        return Path(name)
    target = Path(output)
    return target / name if target.is_dir() else target


def _copy_to_stdout(hold: Hold, dataset: Dataset, part: ByteRange | None, on_progress: Callable[[int], None]) -> None:
    sys.stdout.flush()
    target: Any = sys.stdout.buffer
    hold.lookout.pour(dataset.id, target, part, on_progress=on_progress)
    target.flush()


@command(example="holdfast explain 24\nholdfast explain --put 20GiB --user alice@example.org")
def explain(
    call: Invocation,
    dataset: Annotated[str | None, typer.Argument(metavar="DATASET", help="An id or a uuid.")] = None,
    put: Annotated[
        str | None, typer.Option("--put", metavar="SIZE", help="Where would a dataset of this size go now?")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="EMAIL", help="With --put: its owner.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", metavar="ID", help="With --put: if asked for this.")] = None,
) -> None:
    """Say why a dataset is where it is, or where one would go.

    The reasons are those that were recorded when the dataset came; with --put, those of this moment.
    """
    if (dataset is None) == (put is None):
        raise UsageError("give a dataset, or --put SIZE: holdfast explain 24, holdfast explain --put 20GiB")
    if put is not None:
        _explain_put(call, words.size_bytes(put, "--put"), words.owner(user), pool)
        return

    assert dataset is not None
    with call.hold() as hold:
        found = hold.explain(dataset)
        shape = hold.to_json(found)
        call.answer(shape, _where_it_is(found), *_reasons(shape["placement"]))


def _where_it_is(dataset: Dataset) -> str:
    where = f"in {render.clean(dataset.object_store_id)}" if dataset.object_store_id else "in no pool"
    what = f"{render.clean(dataset.name)} (dataset {dataset.id})"
    if dataset.state == "purged":
        return f"{what} was {where}, and was purged"
    return f"{what} is {where}" + (", and was removed" if dataset.state == "deleted" else "")


def _explain_put(call: Invocation, size_bytes: int, user: str | None, pool: str | None) -> None:
    with call.hold() as hold:
        choices = hold.explain_put(size_bytes, owner=user, pool=pool)
        first = choices[0] if choices and choices[0].possible else None
        placement = [
            {"object_store_id": choice.object_store_id, "chosen": choice is first, "reason": choice.reason}
            for choice in choices
        ]
        answer = {
            "size_bytes": size_bytes,
            "owner": user,
            "object_store_id": first.object_store_id if first else None,
            "placement": placement,
        }
        where = f"would go to {render.clean(first.object_store_id)}" if first else "would find no pool"
        call.answer(answer, f"A dataset of {render.size(size_bytes)} {where}", *_reasons(placement))
