"""One dataset: everything known of it, where it is and why, its beginning, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response

from holdfast.blobs import BLOCK_BYTES, ByteRange
from holdfast.catalog.base import Dataset
from holdfast.errors import HoldfastError, InvalidKey
from holdfast.hold.hold import Hold
from holdfast.hold.shapes import why_unavailable
from holdfast.hold.waiting import why_bytes_wait
from holdfast.server.api.visible import dataset_for
from holdfast.server.context import hold_of, require_user
from holdfast.server.pages import words
from holdfast.server.pages.caches import near_of
from holdfast.server.pages.forms import Sent
from holdfast.server.pages.labelling import LabelRow, label_rows_of, relabelled, rows_for
from holdfast.server.pages.rendering import back_to, query_of, render_page
from holdfast.server.pages.searching import tags_of

PREVIEW_BYTES = 8 * 1024
EXTRA_SHOWN = 200
EVENTS_SHOWN = 12
_ORIGINS = {
    "put": "an upload",
    "adopted": "found in its pool",
    "import": "an import",
    "job": "a job",
}

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of a text."""

    text: str
    size_bytes: int
    cut: bool


@router.get("/datasets/{dataset}")
def show(request: Request, dataset: str) -> Response:
    """Everything known of a dataset, by its number or its UUID."""
    user, hold = require_user(request), hold_of(request)
    found = dataset_for(hold, user, str(dataset))
    return _page(request, hold, found)


@router.post("/datasets/{dataset}/rename")
def rename(request: Request, dataset: int, form: Sent) -> Response:
    """Another name for a person to know it by; its place does not change."""
    user, hold = require_user(request), hold_of(request)
    found = dataset_for(hold, user, str(dataset))
    try:
        hold.relabel(found.id, name=form.text("name"))
    except InvalidKey as error:
        return _page(request, hold, found, name_problem=str(error))
    return back_to(request, f"/datasets/{found.id}", "Renamed.")


@router.post("/datasets/{dataset}/labels")
def change_labels(request: Request, dataset: int, form: Sent) -> Response:
    """Add, change, remove labels. What somebody else changed meanwhile, and this form did not, stays changed."""
    user, hold = require_user(request), hold_of(request)
    found = dataset_for(hold, user, str(dataset))
    rows = label_rows_of(form)
    removed = form.text("remove")
    try:
        labels = relabelled(found.labels, rows, int(removed) if removed.isascii() and removed.isdigit() else None)
        hold.relabel(found.id, labels=labels)
    except InvalidKey as error:
        problem = words.sentence(str(error))
        return _page(request, hold, found, label_rows=rows, label_problem=problem)
    return back_to(request, f"/datasets/{found.id}", "Labels saved.")


@router.post("/datasets/{dataset}/delete")
def delete(request: Request, dataset: int) -> Response:
    """Mark it deleted; the bytes stay until they are purged."""
    user, hold = require_user(request), hold_of(request)
    gone = hold.remove(dataset_for(hold, user, str(dataset)).id, actor=user.email)
    return back_to(
        request,
        "/datasets",
        f"Deleted {words.printable(gone.name)}.",
        undo="/datasets/restore" + query_of({"id": gone.id}),
    )


@router.post("/datasets/{dataset}/restore")
def restore(request: Request, dataset: int) -> Response:
    """Take the deletion back."""
    user, hold = require_user(request), hold_of(request)
    back = hold.restore(dataset_for(hold, user, str(dataset)).id, actor=user.email)
    return back_to(request, f"/datasets/{back.id}", f"{words.printable(back.name)} is back.")


@router.get("/datasets/{dataset}/purge")
def ask_purge(request: Request, dataset: int) -> Response:
    """Ask before bytes are given up for good."""
    user, hold = require_user(request), hold_of(request)
    return render_page(request, "datasets/purge.html", {"dataset": dataset_for(hold, user, str(dataset))})


@router.post("/datasets/{dataset}/purge")
def purge(request: Request, dataset: int) -> Response:
    """Give the bytes up for good."""
    user, hold = require_user(request), hold_of(request)
    gone = hold.remove(dataset_for(hold, user, str(dataset)).id, purge=True, actor=user.email)
    text = f"{words.printable(gone.name)} is purged."
    waits = why_bytes_wait(hold.catalog, gone)
    if waits is not None:
        text += f" {waits}"
    return back_to(request, f"/datasets/{gone.id}", text)


def _page(
    request: Request,
    hold: Hold,
    dataset: Dataset,
    *,
    name_problem: str | None = None,
    label_rows: list[LabelRow] | None = None,
    label_problem: str | None = None,
) -> Response:
    full_path, key = hold.full_path(dataset), _key(hold, dataset)
    stored = any(one.state in {"present", "suspect"} for one in dataset.replicas)
    if dataset.state == "new" and not stored:
        full_path = None  # nothing lies there yet
    trouble = _trouble(hold, dataset)
    preview, trouble = _preview(hold, dataset) if full_path and stored and trouble is None else (None, trouble)
    extra = hold.catalog.datasets.extra_files(dataset.id) if dataset.total_bytes != dataset.size_bytes else []
    content = f"/api/datasets/{dataset.id}/content"
    values: dict[str, Any] = {
        "dataset": dataset,
        "readable": stored and trouble is None,
        "content": content,
        "may_run": True,
        "may_move": require_user(request).is_admin and stored and len(hold.poolset.order) > 1,
        "full_path": full_path,
        "no_path": _no_path(hold, dataset, key),
        "key": key,
        "near": near_of(hold, dataset),
        "away": trouble,
        "name_problem": name_problem,
        "tags": tags_of(dataset.labels),
        "rows": rows_for(dataset.labels),
        "label_rows": label_rows,
        "label_problem": label_problem,
        "bytes_wait": why_bytes_wait(hold.catalog, dataset) if dataset.state == "purged" else None,
        "origin": _ORIGINS.get(dataset.origin, dataset.origin),
        "preview": preview,
        "extra_files": [
            {
                "path": one.path,
                "size_bytes": one.size_bytes,
                "href": f"{content}?extra_file={quote(one.path, safe='')}",
            }
            for one in extra[:EXTRA_SHOWN]
        ],
        "extra_more": max(0, len(extra) - EXTRA_SHOWN),
        "no_reason": "It lay in this pool before Holdfast knew of it, so nothing was decided."
        if dataset.origin == "adopted"
        else "No reason was recorded.",
        "events": hold.events(EVENTS_SHOWN, dataset_id=dataset.id),
    }
    return render_page(request, "datasets/show.html", values, 422 if name_problem or label_problem else 200)


def _preview(hold: Hold, dataset: Dataset) -> tuple[Preview | None, str | None]:
    """The beginning, if it is a text; and why the bytes cannot be read, if they cannot."""
    wanted = min(PREVIEW_BYTES, dataset.size_bytes, BLOCK_BYTES)
    try:
        with hold.open(dataset.id, range=ByteRange(0, wanted) if wanted else None) as stream:
            head = stream.read(wanted)
    except HoldfastError as error:
        return None, _trouble(hold, dataset) or words.sentence(f"Its bytes cannot be read now: {error}")
    text = _text_of(head, cut=len(head) < dataset.size_bytes)
    if not text:
        return None, None
    return Preview(text, len(head), cut=len(head) < dataset.size_bytes), None


def _text_of(head: bytes, *, cut: bool) -> str:
    """The bytes as text; empty for what is none."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not cut or error.start < len(head) - 3:
            return ""
        text = head[: error.start].decode("utf-8-sig")
    if any(ord(char) < 32 and char not in "\t\r\n\f\x1b" for char in text):
        return ""
    return text.replace("\r\n", "\n")


def _trouble(hold: Hold, dataset: Dataset) -> str | None:
    """Why its pool cannot be read now, in words."""
    if dataset.object_store_id is None or dataset.state == "purged":
        return None
    why = why_unavailable(dataset, hold.unavailable())
    return None if why is None else words.sentence(f"It cannot be read now: {why}")


def _no_path(hold: Hold, dataset: Dataset, key: str | None) -> str:
    """What stands where there is no full path; the key stands behind it."""
    if dataset.state == "purged":
        return "It was purged: there are no bytes any more."
    if dataset.state == "new":
        return "It is being written; its path is known when it is done."
    pool = None if dataset.object_store_id is None else hold.poolset.get(dataset.object_store_id)
    if pool is None:
        return f"Not known while the pool {dataset.object_store_id} is not in the configuration."
    if key is None:
        return f"The pool {pool.object_store_id} ({pool.facts.type}) keeps it without a local file."
    where = pool.facts.location or f"pool {pool.object_store_id}"
    return f"It has no local file. It lies in {where}, under the key"


def _key(hold: Hold, dataset: Dataset) -> str | None:
    """The key of its bytes in its pool; None where it has none, or the pool is not in the configuration."""
    if dataset.object_store_id is None or hold.poolset.get(dataset.object_store_id) is None:
        return None
    stored = (one for one in dataset.replicas if one.state not in {"gone", "retiring", "writing"})
    return next((str(one.key) for one in stored if one.object_store_id == dataset.object_store_id), None)
