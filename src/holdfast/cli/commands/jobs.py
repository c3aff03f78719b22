"""run, jobs, job show, job cancel."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render, words
from holdfast.cli.commands.storing import ACTOR
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.catalog.jobs import Job
    from holdfast.hold.hold import Hold
    from holdfast.jobs.jobs import Jobs

LIMIT_MAX = 1000
COMMAND_CHARS_SHOWN = 60

JobArgument = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


@command(
    example="holdfast run --input 24 --output sorted.txt -- sort -o {output:sorted.txt} {input1}\n"
    "holdfast run --input 24 -- wc -l {input1}",
    command_follows=True,
)
def run(
    call: Invocation,
    program: Annotated[list[str], typer.Argument(metavar="CMD", help="The command and its arguments, behind --.")],
    *,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", metavar="DATASET", help="{input1}, {input2}... in the command.")
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="NAME", help="{output:NAME} in the command.")
    ] = None,
    pool: Annotated[str | None, typer.Option("--pool", metavar="ID", help="Where it works and stores.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="EMAIL", help="The owner of the outputs.")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Queue it and print its id; a server or worker runs it.")
    ] = False,
) -> int:
    """Run a command beside the data, as a job.

    The inputs are local paths to be read; the outputs are paths to be written, and become datasets when the
    command ends with 0. Shows what the command prints, and ends with its exit code; with one of Holdfast's
    own where the job could not be run or its outputs not be stored. Ctrl-C stops the job.
    With --json what the command prints goes to stderr.
    """
    with call.hold_or_begin() as hold:
        jobs = _jobs(hold)
        job = jobs.submit(program, inputs=inputs or [], outputs=outputs or [], owner=words.owner(user), pool=pool)
        if detach:
            call.answer(jobs.to_json(job), str(job.id))
            return 0
        job = jobs.run(job.id, on_output=_Printer(call))
        sys.stdout.flush()
        if call.as_json:
            call.answer(jobs.to_json(job))
        else:
            for line in _ending(hold, job):
                call.remark(line)
        return _exit_code(job)


class _Printer:
    """Hands the command's output on, as it comes."""

    def __init__(self, call: Invocation) -> None:
        self._streams = {"stdout": sys.stderr if call.as_json else sys.stdout, "stderr": sys.stderr}

    def __call__(self, stream: str, block: bytes) -> None:
        target = self._streams[stream]
        target.flush()
        target.buffer.write(block)
        target.buffer.flush()


def _ending(hold: Hold, job: Job) -> list[str]:
    lines = []
    if job.state != "ok" or job.note:
        lines.append(f"job {job.id} {job.state}: {render.clean(job.note or 'no reason given')}")
    if job.folder is not None and job.state in ("failed", "lost"):
        lines.append(f"its folder is kept for a while: {render.clean(job.folder)}")
    for output in job.outputs:
        if output.dataset_id is not None:
            found = hold.find(output.dataset_id)
            where = render.clean(found.object_store_id or "no pool")
            lines.append(
                f"{render.clean(output.name)} is dataset {found.id} in {where} ({render.size(found.total_bytes)})"
            )
    return lines


def _exit_code(job: Job) -> int:
    """The command's own; where it ended well and the job did not, or nobody knows, that of the reason."""
    from holdfast.errors import Cancelled, OperationError, outcome
    from holdfast.jobs.reasons import outcome_of

    if job.state == "ok":
        return 0
    if job.exit_code:
        return job.exit_code if 0 < job.exit_code < 256 else 128 - job.exit_code
    told = outcome_of(job.note)
    if told is not None:
        return told.exit_code
    return outcome(Cancelled("") if job.state == "cancelled" else OperationError("")).exit_code


@command(example="holdfast jobs --state failed")
def jobs(
    call: Invocation,
    *,
    user: Annotated[str | None, typer.Option("--user", metavar="EMAIL", help="Only this owner's.")] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only queued, running, ok, failed, cancelled or lost ones."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT_MAX, help="At most so many.")] = 50,
    after: Annotated[
        int | None, typer.Option("--after", metavar="ID", min=1, max=words.ID_MAX, help="Go on behind this one.")
    ] = None,
) -> None:
    """List jobs, newest first."""
    from holdfast.catalog.jobs import JOB_STATES

    wanted = words.state_word(state, JOB_STATES, "holdfast jobs")
    with call.hold() as hold:
        every = _jobs(hold)
        found = every.list(owner=words.owner(user), state=wanted, limit=limit, after=after)
        now_us = hold.clock.now_us()
        empty = "No job is like that." if user or wanted or after else "No jobs yet. Run one: holdfast run -- CMD"
        table = render.Table(_COLUMNS, [_row(job, now_us) for job in found], empty)
        call.answer([every.to_json(job) for job in found], table)
    if len(found) == limit and not call.as_json:
        call.remark(f"There may be more: --after {found[-1].id}")


_COLUMNS = (
    render.Column("ID", "right"),
    render.Column("STATE"),
    render.Column("EXIT", "right"),
    render.Column("COMMAND", wide=True),
    render.Column("POOL"),
    render.Column("OWNER"),
    render.Column("CREATED"),
)


def _row(job: Job, now_us: int) -> tuple[str, ...]:
    return (
        str(job.id),
        job.state,
        "" if job.exit_code is None else str(job.exit_code),
        _command_words(job)[:COMMAND_CHARS_SHOWN],
        render.clean(job.object_store_id or ""),
        render.clean(job.owner or ""),
        render.ago(job.created_us, now_us),
    )


@command(example="holdfast job show 3")
def job_show(call: Invocation, job: JobArgument) -> None:
    """Print a job's state, inputs, outputs and what it wrote."""
    with call.hold() as hold:
        every = _jobs(hold)
        found = every.get(job)
        shape = every.to_json(found)
        call.answer(shape, *_card(found, shape, hold.clock.now_us()))


def _card(job: Job, shape: dict[str, Any], now_us: int) -> list[render.Block]:
    pairs = [
        ("Job", str(job.id)),
        ("State", job.state),
        ("Note", render.clean(shape["note"] or "")),
        ("Exit code", "" if job.exit_code is None else str(job.exit_code)),
        ("Command", _command_words(job)),
        ("Owner", render.clean(job.owner or "")),
        ("Pool", render.clean(job.object_store_id or "not chosen yet")),
        ("Inputs", ", ".join(str(dataset_id) for dataset_id in job.inputs)),
        *(("Output", _output_words(output)) for output in shape["outputs"]),
        ("Created", render.ago(job.created_us, now_us)),
        ("Took", "" if job.started_us is None else render.span(_seconds(job, now_us))),
        ("Folder", render.clean(job.folder or "")),
    ]
    blocks: list[render.Block] = [render.Fields([pair for pair in pairs if pair[1]])]
    for stream in ("stdout", "stderr"):
        tail = shape[f"{stream}_tail"]
        if tail:
            blocks += ["", f"The end of its {stream}:", *(render.clean(line) for line in tail.splitlines())]
    return blocks


def _output_words(output: dict[str, Any]) -> str:
    dataset_id = output["dataset_id"]
    return f"{render.clean(output['name'])}: {'not yet' if dataset_id is None else f'dataset {dataset_id}'}"


def _seconds(job: Job, now_us: int) -> float:
    return ((job.finished_us or now_us) - (job.started_us or now_us)) / 1_000_000


@command(example="holdfast job cancel 3")
def job_cancel(call: Invocation, job: JobArgument) -> None:
    """Stop a job with everything that it started.

    A queued job is cancelled at once, a running one soon; one that is over stays as it is.
    """
    with call.hold() as hold:
        every = _jobs(hold)
        found = every.cancel(job, actor=ACTOR)
        words_of = "is asked to stop" if found.state == "running" else f"is {found.state}"
        call.answer(every.to_json(found), f"job {found.id} {words_of}")


def _jobs(hold: Hold) -> Jobs:
    from holdfast.jobs.jobs import Jobs

    return Jobs(hold)


def _command_words(job: Job) -> str:
    return render.clean(shlex.join(job.command))
