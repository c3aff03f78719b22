"""scrub, reconcile, reap: durable work over everything that is stored, run here or left to a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render, words
from holdfast.cli.commands.storing import ACTOR
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.catalog.operations import OperationRow
    from holdfast.hold.hold import Hold
    from holdfast.jobs.jobs import Jobs
    from holdfast.operations.runner import Operations

CONCURRENCY_MAX = 64
FAILURES_SHOWN = 100
FAILURES_KEPT = 1000  # what --json lists at most
FINDINGS = ("Corrupt", "NotFound", "Unavailable", "NoSpace", "Blocked", "Conflict")  # what an exit code tells first

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")]
RateOption = Annotated[
    str | None, typer.Option("--limit-rate", metavar="RATE", help="At most so many bytes a second: 100MiB/s.")
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option("--concurrency", metavar="N", min=1, max=CONCURRENCY_MAX, help="So many datasets side by side."),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="Begin it and print its id; a server or worker runs it.")]
OnePoolOption = Annotated[str | None, typer.Option("--pool", metavar="ID", help="Only this pool.")]


@command(example="holdfast scrub --pool olddata --limit-rate 100MiB/s\nholdfast scrub --older-than 30d --for 2h")
def scrub(
    call: Invocation,
    *,
    pool: OnePoolOption = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="Only what was not verified for so long: 30d."),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="Begin nothing more after that time: 2h."),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option("--limit", metavar="SIZE", help="Read about so much: 1TiB."),
    ] = None,
    no_repair: Annotated[bool, typer.Option("--no-repair", help="Only look.")] = False,
    dry_run: DryRunOption = False,
    limit_rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    detach: DetachOption = False,
) -> int:
    """Read every stored byte and compare it with its checksum.

    What was verified longest ago comes first, so that a part of it each night comes round. Marks what is damaged
    or missing, and repairs it from a whole replica where there is one; the bad bytes are set aside. Gives adopted
    datasets their checksum. Ends with 5 if something stays damaged, with 3 if something stays missing.
    """
    parameters = asked_for(pool, limit_rate, concurrency)
    if older_than is not None:
        parameters["older_than_s"] = words.duration_s(older_than, "--older-than")
    if time is not None:
        parameters["for_s"] = words.duration_s(time, "--for")
    if limit is not None:
        parameters["limit_bytes"] = words.size_bytes(limit, "--limit")
    if no_repair:
        parameters["repair"] = False
    return operate(call, "scrub", parameters, dry_run=dry_run, detach=detach)


@command(example="holdfast reconcile --dry-run\nholdfast reconcile --adopt --pool olddata")
def reconcile(
    call: Invocation,
    *,
    adopt: Annotated[bool, typer.Option("--adopt", help="Record what lies there and is not known.")] = False,
    pool: OnePoolOption = None,
    dry_run: DryRunOption = False,
    limit_rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    detach: DetachOption = False,
) -> int:
    """Compare the catalog with what lies in the pools.

    Names what is recorded and not there, and what lies there and is not recorded. Deletes nothing.
    """
    parameters = asked_for(pool, limit_rate, concurrency) | ({"adopt": True} if adopt else {})
    return operate(call, "reconcile", parameters, dry_run=dry_run, detach=detach)


@command(example="holdfast reap --dry-run\nholdfast reap --grace 0s")
def reap(
    call: Invocation,
    *,
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="TIME", help="How long what is retired stays. Else as the document says."),
    ] = None,
    dry_run: DryRunOption = False,
    limit_rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    detach: DetachOption = False,
) -> int:
    """Take away what is retired, and what dead processes left.

    Purges removed datasets whose time is over, too, and takes away folders and logs of jobs after their time.
    What a living process or a reader still needs stays.
    """
    parameters = asked_for(None, limit_rate, concurrency)
    if grace is not None:
        parameters["grace_s"] = words.duration_s(grace, "--grace")
    return operate(call, "reap", parameters, dry_run=dry_run, detach=detach)


def asked_for(pool: str | None, limit_rate: str | None, concurrency: int | None) -> dict[str, Any]:
    """What the options that all operations have ask for."""
    asked = {
        "pool": pool,
        "limit_rate_bytes_s": None if limit_rate is None else words.rate_bytes_s(limit_rate, "--limit-rate"),
        "concurrency": concurrency,
    }
    return {name: value for name, value in asked.items() if value is not None}


def operate(call: Invocation, kind: str, parameters: dict[str, Any], *, dry_run: bool, detach: bool) -> int:
    """Say what an operation would do, begin it, or see it to its end here; the exit code."""
    if dry_run and detach:
        raise UsageError("--dry-run begins nothing that could be detached; give one of the two")
    with call.hold_or_begin() if kind == "reconcile" else call.hold() as hold:
        if parameters.get("pool") is not None:
            hold.poolset.configured(parameters["pool"])
        operations = operations_of(hold)
        if dry_run:
            plan = operations.plan(kind, parameters)
            call.answer(plan, *_plan_blocks(plan), *(_swept_blocks(_jobs(hold).swept()) if kind == "reap" else ()))
            return 0
        row = operations.submit(kind, parameters, actor=ACTOR)
        if detach:
            call.answer(operations.to_json(row), str(row.id))
            return 0
        more = None
        if kind == "reap":
            jobs = _jobs(hold)
            more = {"job_folders": jobs.sweep(), "job_logs": jobs.sweep_logs()}
        return run_here(call, operations, row, more)


def run_here(
    call: Invocation, operations: Operations, row: OperationRow, more: dict[str, int] | None = None
) -> int:
    """See an operation to its end, with progress; its exit code. `more`: numbers that belong to its result."""
    unit: Any = "bytes" if row.bytes_total else "objects"
    total = row.bytes_total or row.objects_total or None
    try:
        with call.progress(row.kind.capitalize(), total, unit) as progress:

            def show(now: OperationRow) -> None:
                done = now.bytes_done if unit == "bytes" else now.objects_done
                progress.update(done, note="" if unit == "objects" else f"{now.objects_done:,} datasets")

            row = operations.run(row.id, on_progress=show)
    except KeyboardInterrupt:
        call.remark(f"operation {row.id} was left where it is; the same command goes on with it")
        raise
    shape = operations.to_json(row, failures=FAILURES_KEPT)
    shape["result"] |= {name: number for name, number in (more or {}).items() if number}
    call.answer(shape, *_summary(shape))
    return _exit_code(row, shape)


def _exit_code(row: OperationRow, shape: dict[str, Any]) -> int:
    from holdfast import errors

    if row.state != "done":
        ended = errors.Cancelled("") if row.state in ("cancelled", "paused") else errors.OperationError("")
        return errors.outcome(ended).exit_code
    found = {failure["error"] for failure in shape["failures"]}
    for name in FINDINGS:
        if name in found:
            return errors.outcome(getattr(errors, name)("")).exit_code
    return 0


def _plan_blocks(plan: dict[str, Any]) -> list[render.Block]:
    head = f"{plan['kind']} would look at {render.count(plan['objects'], 'object')}, {render.size(plan['bytes'])}"
    if plan["seconds_estimate"] is not None:
        head += f", in about {render.span(plan['seconds_estimate'])}"
    rows = [
        (direction, render.clean(name), f"{amount['objects']:,}", render.size(amount["bytes"]))
        for direction in ("from", "to")
        for name, amount in plan[direction].items()
    ]
    columns = (
        render.Column(""),
        render.Column("POOL", wide=True),
        render.Column("OBJECTS", "right"),
        render.Column("BYTES", "right"),
    )
    blockers = [
        ("" if blocker["dataset"] is None else str(blocker["dataset"]), render.clean(blocker["why"]))
        for blocker in plan["blockers"]
    ]
    not_done = (render.Column("DATASET", "right"), render.Column("NOT DONE, BECAUSE"))
    return [head, render.Table(columns, rows), *_levels(plan), render.Table(not_done, blockers)]


def _levels(plan: dict[str, Any]) -> list[render.Block]:
    """How full each pool is before and after."""
    rows = [
        (render.clean(name), _level(before), _level(plan["after"][name]))
        for name, before in plan.get("before", {}).items()
    ]
    columns = (render.Column("POOL", wide=True), render.Column("BEFORE", "right"), render.Column("AFTER", "right"))
    return [render.Table(columns, rows)] if rows else []


def _level(amount: dict[str, Any]) -> str:
    percent = amount["percent_full"]
    return render.size(amount["bytes"]) + ("" if percent is None else f" ({percent:.0f}% full)")


def _swept_blocks(swept: dict[str, int]) -> list[render.Block]:
    """What a reap takes away besides: folders and logs of jobs."""
    said = [render.count(number, name.replace("_", " ")[:-1]) for name, number in swept.items() if number]
    return [f"and take away {' and '.join(said)}"] if said else []


def _summary(shape: dict[str, Any]) -> list[render.Block]:
    head = f"{shape['kind']} {shape['id']} {shape['state']}: {render.count(shape['objects_done'], 'object')}"
    if shape["bytes_done"]:
        head += f", {render.size(shape['bytes_done'])}"
    counts = [f"{name.replace('_', ' ')} {number_words(name, number)}" for name, number in shape["result"].items()]
    blocks: list[render.Block] = [head + "".join(f", {words_of}" for words_of in counts)]
    if shape["note"] and (shape["state"] == "failed" or shape["kind"] == "drain"):
        blocks.append(render.clean(shape["note"]))
    return [*blocks, *failures_blocks(shape)]


def number_words(name: str, number: int) -> str:
    """A number of an operation's result."""
    return render.size(number) if name.endswith("_bytes") else f"{number:,}"


def failures_blocks(shape: dict[str, Any]) -> list[render.Block]:
    """What an operation could not deal with: the first of them, and how many more are known."""
    found = shape["failures"]
    rows = [_failure_row(failure) for failure in found[:FAILURES_SHOWN]]
    columns = (
        render.Column("DATASET"),
        render.Column("POOL"),
        render.Column("FOUND"),
        render.Column("WHY"),
    )
    blocks: list[render.Block] = [render.Table(columns, rows)]
    if len(found) > FAILURES_SHOWN:
        more = len(found) - FAILURES_SHOWN
        or_more = " or more" if len(found) >= FAILURES_KEPT else ""
        blocks.append(f"and {more:,}{or_more} more; holdfast op show {shape['id']} --json lists {FAILURES_KEPT:,}")
    return blocks


def _failure_row(failure: dict[str, Any]) -> tuple[str, ...]:
    """Pool and key once each: what lies in a pool and is no dataset is named POOL/KEY, and its reason begins so."""
    pool = failure.get("object_store_id") or ""
    name = str(failure["dataset"]).removeprefix(f"{pool}/")
    why = failure["why"].removeprefix(f"{name}: ")
    return render.clean(name), render.clean(pool), failure["error"], render.clean(why)


def _jobs(hold: Hold) -> Jobs:
    from holdfast.jobs.jobs import Jobs

    return Jobs(hold)


def operations_of(hold: Hold) -> Operations:
    """The operations of this hold."""
    from holdfast.operations.runner import Operations

    return Operations(hold)
