"""A job as its page shows it: in words, and with what it has written as a terminal would show it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.catalog.jobs import Job
from holdfast.jobs.folders import WORKING
from holdfast.jobs.jobs import Jobs, Stream
from holdfast.server.pages import command_line, words

TAIL_BYTES = 64 * 1024
_STREAMS: list[tuple[Stream, str]] = [("stdout", "Output"), ("stderr", "Errors")]
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")


@dataclass(frozen=True, slots=True)
class Shown:
    """A job as a page shows it."""

    id: int
    line: str
    owner: str | None
    state: str
    going: bool
    cancelling: bool
    exit_code: int | None
    note: str | None
    outputs: tuple[Any, ...]
    object_store_id: str | None
    wanted_pool: str | None
    folder: str | None
    created_us: int
    started_us: int | None
    finished_us: int | None
    took_s: float | None
    timing: str


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of what a job has written."""

    id: str
    title: str
    text: str
    cut: bool
    size_bytes: int


def tails(jobs: Jobs, job: Job) -> list[Tail]:
    """The ends of what the job has written so far."""
    found = []
    for stream, title in _STREAMS:
        text = jobs.tail(job.id, stream, TAIL_BYTES)
        size_bytes = len(text.encode("utf-8", "replace"))
        found.append(Tail(stream, title, terminal_text(text), size_bytes >= TAIL_BYTES - 3, size_bytes))
    return found


def shown_job(job: Job, now_us: int) -> Shown:
    """The job in words."""
    took_s = None
    if job.started_us is not None:
        took_s = max(0.0, ((job.finished_us or now_us) - job.started_us) / 1e6)
        if not job.is_over:
            took_s = float(int(took_s))
    if job.state == "queued":
        timing = "waits for a free place"
    elif not job.is_over:
        timing = f"running for {words.duration_words(took_s)}"
    else:
        timing = "never began" if took_s is None else f"took {words.duration_words(took_s)}"
    return Shown(
        id=job.id,
        line=command_line.as_line(job.command),
        owner=job.owner,
        state=job.state,
        going=not job.is_over,
        cancelling=job.cancel_wanted,
        exit_code=job.exit_code,
        note=job.note,
        outputs=job.outputs,
        object_store_id=job.object_store_id,
        wanted_pool=job.wanted_pool,
        folder=job.folder,
        created_us=job.created_us,
        started_us=job.started_us,
        finished_us=job.finished_us,
        took_s=took_s,
        timing=timing,
    )


def left_behind(job: Job) -> dict[str, str]:
    """The outputs that the command did make though none became a dataset: where each of them lies."""
    if not job.is_over or job.folder is None:
        return {}
    working = Path(job.folder) / WORKING
    names = [output.name for output in job.outputs if output.dataset_id is None]
    return {name: str(working / name) for name in names if os.path.lexists(working / name)}


def kept_words(job: Job, keep_s: int) -> str | None:
    """How long the folder of a job that failed stays; None if there is none."""
    if job.state not in {"failed", "lost"} or job.folder is None or not os.path.isdir(job.folder):
        return None
    until_us = (job.finished_us or 0) + keep_s * 1_000_000
    return f"Its folder is kept for {words.duration_words(keep_s)} after its end, until {words.exact_time(until_us)}."


def terminal_text(text: str) -> str:
    """What a terminal would show of this: no escape sequences, of an overwritten line its last state."""
    if text.isprintable():
        return text
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(words.visible(line.rstrip("\r").rpartition("\r")[2]) for line in lines)
