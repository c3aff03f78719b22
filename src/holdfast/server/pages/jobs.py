"""Jobs: run a command, see the list, look at one while it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from holdfast.catalog.accounts import Account
from holdfast.catalog.base import Dataset, Filter
from holdfast.catalog.jobs import Job
from holdfast.errors import HoldfastError, Malformed, NotFound
from holdfast.hold.hold import Hold
from holdfast.jobs.jobs import Jobs
from holdfast.server.api.jobs import job_for, jobs_of
from holdfast.server.api.visible import dataset_for
from holdfast.server.context import hold_of, house_of, require_user
from holdfast.server.pages import command_line, words
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.job_views import kept_words, left_behind, shown_job, tails
from holdfast.server.pages.rendering import (
    back_to,
    query_of,
    render_fragment,
    render_page,
    tagged,
    wants_fragment,
)
from holdfast.server.problem import NotFoundHere

ROWS = 50
INPUTS_MAX = 100
OFFERED = 30
_NUMBER = re.compile(r"#?(\d{1,19})(?:\s+(.*))?", re.DOTALL)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Draft:
    """The form as it was filled in."""

    command: str = ""
    inputs: list[str] = field(default_factory=lambda: [""])
    outputs: str = ""
    pool: str = ""


@router.get("/jobs")
def show_jobs(
    request: Request,
    after: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    input: Annotated[str, Query(max_length=40)] = "",  # noqa: A002 - the address's word
    like: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> Response:
    """The form and the list; for htmx, the list alone. `input` and `like` fill the form in."""
    user = require_user(request)
    if wants_fragment(request):
        return render_fragment(request, "jobs/_list.html", _list_values(request, user, after))
    draft = Draft()
    if like is not None:
        draft = _draft_like(request, user, like)
    elif input:
        dataset = dataset_for(hold_of(request), user, input)
        draft = Draft(inputs=[f"{dataset.id} {dataset.name}"])
    return _page(request, user, draft, after=after)


@router.get("/jobs/inputs")
def offer_inputs(
    request: Request,
    typed: Annotated[list[str] | None, Query(alias="input", max_length=300)] = None,
) -> Response:
    """Datasets that are called like what is being typed."""
    user, hold = require_user(request), hold_of(request)
    wanted = next((text for text in reversed(typed or []) if text.strip()), "")
    return render_fragment(request, "jobs/_inputs.html", {"recent": _recent(hold, user, wanted)})


@router.post("/jobs")
def run(request: Request, form: Sent) -> Response:
    """Queue a job, and show it."""
    user = require_user(request)
    draft = Draft(form.raw("command"), form.texts("input")[:INPUTS_MAX], form.text("outputs"), form.text("pool"))
    if "more" in form:
        return _page(request, user, Draft(draft.command, [*draft.inputs, ""], draft.outputs, draft.pool))
    try:
        job = _submit(request, user, draft)
    except HoldfastError as error:
        return _page(request, user, draft, problem=words.sentence(str(error)))
    return back_to(request, f"/jobs/{job.id}")


@router.get("/jobs/{job}")
def show_job(request: Request, job: int) -> Response:
    """One job; for htmx, what changes while it runs."""
    found = _own_job(request, job)
    if wants_fragment(request):
        return render_fragment(request, "jobs/_live.html", _live_values(request, found))
    live, _ = tagged(request, "jobs/_live.html", _live_values(request, found))
    return render_page(
        request, "jobs/show.html", {"job": shown_job(found, hold_of(request).clock.now_us()), "live": live}
    )


@router.post("/jobs/{job}/cancel")
def cancel(request: Request, job: int) -> Response:
    """Stop it, with everything that it began."""
    found = _own_job(request, job)
    _jobs(request).cancel(found.id, actor=require_user(request).email)
    return back_to(request, f"/jobs/{found.id}", "It is asked to stop.")


def _submit(request: Request, user: Account, draft: Draft) -> Job:
    hold = hold_of(request)
    inputs = [_find_input(hold, user, text).id for text in draft.inputs if text]
    names = command_line.outputs(draft.command)
    names += [name for name in draft.outputs.replace(",", " ").split() if name not in names]
    return _jobs(request).submit(
        command_line.arguments(draft.command, len(inputs)),
        inputs=inputs,
        outputs=names,
        owner=user.email,
        pool=draft.pool or None,
    )


def _find_input(hold: Hold, user: Account, text: str) -> Dataset:
    """The dataset that somebody means by a number, a number with a name, a UUID or a name."""
    number = _NUMBER.fullmatch(text)
    if number is not None:
        try:
            found = dataset_for(hold, user, number[1])
        except NotFoundHere:
            found = None
        if found is not None and (number[2] is None or words.printable(found.name) == number[2]):
            return found
    if _UUID.fullmatch(text):
        return dataset_for(hold, user, text)
    owner = None if user.is_admin else user.email
    called = [one for one in hold.datasets(Filter(owner=owner, name_has=text, limit=50)) if one.name == text]
    if not called:
        raise NotFound(f"there is no dataset {text!r}; choose one from the list, or write its number")
    if len(called) > 1:
        numbers = ", ".join(str(one.id) for one in called[:5])
        raise Malformed(f"several datasets are called {text!r}; write the number of one: {numbers}")
    return called[0]


def _recent(hold: Hold, user: Account, typed: str = "") -> list[Dataset]:
    number = _NUMBER.fullmatch(typed)
    wanted = number[2] if number is not None and number[2] else typed
    owner = None if user.is_admin else user.email
    return hold.datasets(Filter(owner=owner, state="ok", name_has=wanted.strip() or None, limit=OFFERED))


def _page(
    request: Request, user: Account, draft: Draft, *, after: int | None = None, problem: str | None = None
) -> Response:
    hold = hold_of(request)
    rows, _ = tagged(request, "jobs/_list.html", _list_values(request, user, after))
    values: dict[str, Any] = {
        "list": rows,
        "form": draft,
        "problem": problem,
        "recent": _recent(hold, user),
        "pools": [pool.facts for pool in hold.poolset],
    }
    return render_page(request, "jobs/list.html", values, 422 if problem else 200)


def _list_values(request: Request, user: Account, after: int | None) -> dict[str, Any]:
    now_us = hold_of(request).clock.now_us()
    found = _jobs(request).list(owner=None if user.is_admin else user.email, limit=ROWS + 1, after=after)
    page = found[:ROWS]
    older = "/jobs" + query_of({"after": page[-1].id}) if len(found) > ROWS else None
    newer = _newer(request, user, page[0].id if page else after) if after else None
    return {"jobs": [shown_job(job, now_us) for job in page], "after": after, "older": older, "newer": newer}


def _newer(request: Request, user: Account, first: int | None) -> str:
    """The page before the one that begins with `first`."""
    owner = None if user.is_admin else user.email
    before = _jobs(request).list(owner=owner, limit=ROWS + 1, after=first, oldest_first=True)
    # where no more than one page is newer, that is the first page
    return "/jobs" + query_of({"after": before[ROWS].id if len(before) > ROWS else None})


def _draft_like(request: Request, user: Account, job_id: int) -> Draft:
    job = _own_job(request, job_id)
    line = command_line.as_line(job.command)
    inputs: list[str] = []
    for dataset_id in job.inputs:
        try:
            name = dataset_for(hold_of(request), user, str(dataset_id)).name
        except HoldfastError:
            inputs.append(str(dataset_id))
        else:
            inputs.append(f"{dataset_id} {words.printable(name)}")
    named = command_line.outputs(line)
    more = " ".join(output.name for output in job.outputs if output.name not in named)
    return Draft(line, inputs or [""], more, job.wanted_pool or "")


def _jobs(request: Request) -> Jobs:
    return jobs_of(house_of(request))


def _own_job(request: Request, job_id: int) -> Job:
    return job_for(_jobs(request), require_user(request), job_id)


def _live_values(request: Request, job: Job) -> dict[str, Any]:
    jobs, hold = _jobs(request), hold_of(request)
    find = hold.catalog.datasets.find
    return {
        "job": shown_job(job, hold.clock.now_us()),
        "inputs": [{"id": one, "name": getattr(find(one), "name", None)} for one in job.inputs],
        "streams": tails(jobs, job),
        "left": left_behind(job),
        "kept": kept_words(job, jobs.keep_failed_s),
    }
