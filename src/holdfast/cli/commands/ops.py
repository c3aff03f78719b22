"""ops, op show, op pause, op resume, op cancel: operations that were begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render, words
from holdfast.cli.commands.operations import (
    FAILURES_SHOWN,
    failures_blocks,
    number_words,
    operations_of,
    run_here,
)
from holdfast.cli.commands.storing import ACTOR
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.catalog.operations import OperationRow
    from holdfast.hold.hold import Hold

LIMIT_MAX = 1000

OperationArgument = Annotated[str, typer.Argument(metavar="ID", help="The operation's id.")]


@command(example="holdfast ops --state running")
def ops(
    call: Invocation,
    *,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only running, paused, done, failed or cancelled ones."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    after: Annotated[
        int | None, typer.Option("--after", metavar="ID", min=1, max=words.ID_MAX, help="Go on behind this one.")
    ] = None,
) -> None:
    """List operations, newest first."""
    from holdfast.catalog.operations import OPERATION_STATES

    wanted = words.state_word(state, OPERATION_STATES, "holdfast ops")
    with call.hold() as hold:
        operations = operations_of(hold)
        shapes = [operations.to_json(row) for row in operations.list(state=wanted, limit=limit, after=after)]
        now_us = hold.clock.now_us()
        empty = "No operation is like that." if wanted or after else "No operations yet. Try: holdfast scrub"
        call.answer(shapes, render.Table(_COLUMNS, [_row(shape, now_us) for shape in shapes], empty))
    if len(shapes) == limit and not call.as_json:
        call.remark(f"There may be more: --after {shapes[-1]['id']}")


_COLUMNS = (
    render.Column("ID", "right"),
    render.Column("KIND"),
    render.Column("STATE"),
    render.Column("OBJECTS", "right"),
    render.Column("BYTES", "right"),
    render.Column("FAILURES", "right"),
    render.Column("BY", wide=True),
    render.Column("CREATED"),
)


def _row(shape: dict[str, Any], now_us: int) -> tuple[str, ...]:
    return (
        str(shape["id"]),
        shape["kind"],
        shape["state"],
        f"{shape['objects_done']:,} of {shape['objects_total']:,}",
        render.size(shape["bytes_done"]),
        str(len(shape["failures"])) if len(shape["failures"]) < FAILURES_SHOWN else f"{FAILURES_SHOWN}+",
        render.clean(shape["actor"] or ""),
        render.ago(render.microseconds(shape["created"]), now_us),
    )


@command(example="holdfast op show 3")
def op_show(call: Invocation, operation: OperationArgument) -> None:
    """Print an operation's progress and what it found."""
    with call.hold() as hold:
        operations = operations_of(hold)
        shape = operations.to_json(operations.get(operation), failures=LIMIT_MAX)
        call.answer(shape, *_card(shape, hold.clock.now_us()))


def _card(shape: dict[str, Any], now_us: int) -> list[render.Block]:
    parameters = ", ".join(f"{name}={value}" for name, value in shape["parameters"].items())
    rate, eta = shape["rate_bytes_s"], shape["eta_s"]
    pairs = [
        ("Operation", str(shape["id"])),
        ("Kind", shape["kind"]),
        ("State", shape["state"] + (f", asked to {shape['wanted']}" if shape["wanted"] else "")),
        ("Asked for", render.clean(parameters)),
        ("Objects", f"{shape['objects_done']:,} of {shape['objects_total']:,}"),
        ("Bytes", f"{render.size(shape['bytes_done'])} of {render.size(shape['bytes_total'])}"),
        ("Rate", f"{render.size(rate)}/s" if rate else ""),
        ("Time left", render.span(eta) if eta is not None else ""),
        *(
            (name.replace("_", " ").capitalize(), number_words(name, number))
            for name, number in shape["result"].items()
        ),
        ("Note", render.clean(shape["note"] or "")),
        ("Begun by", render.clean(shape["actor"] or "")),
        ("Created", render.ago(render.microseconds(shape["created"]), now_us)),
        ("Finished", render.ago(render.microseconds(shape["finished"]), now_us) if shape["finished"] else ""),
    ]
    blocks: list[render.Block] = [render.Fields([pair for pair in pairs if pair[1]])]
    if shape["failures"]:
        blocks += ["", *failures_blocks(shape)]
    return blocks


@command(example="holdfast op pause 3")
def op_pause(call: Invocation, operation: OperationArgument) -> None:
    """Let an operation stop after the step it is at."""
    with call.hold() as hold:
        _answer(call, hold, operations_of(hold).pause(operation, actor=ACTOR))


@command(example="holdfast op resume 3")
def op_resume(
    call: Invocation,
    operation: OperationArgument,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the work to a server or worker.")] = False,
) -> int:
    """Take an operation up where it was.

    Runs it here, with progress, as the command did that began it.
    """
    with call.hold() as hold:
        operations = operations_of(hold)
        row = operations.resume(operation, actor=ACTOR)
        if detach:
            _answer(call, hold, row)
            return 0
        return run_here(call, operations, row)


@command(example="holdfast op cancel 3")
def op_cancel(call: Invocation, operation: OperationArgument) -> None:
    """Stop an operation for good.

    What it has done stays done.
    """
    with call.hold() as hold:
        _answer(call, hold, operations_of(hold).cancel(operation, actor=ACTOR))


def _answer(call: Invocation, hold: Hold, row: OperationRow) -> None:
    words_of = f"is asked to {row.wanted}" if row.wanted else f"is {row.state}"
    call.answer(operations_of(hold).to_json(row), f"operation {row.id} ({row.kind}) {words_of}")
