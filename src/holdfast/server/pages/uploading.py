"""Uploading by a plain form, for browsers without a script. With one, uploads go through tus in pieces."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from holdfast.catalog.base import Dataset
from holdfast.server.auth import confirm_csrf
from holdfast.server.context import hold_of, require_user, visit_of
from holdfast.server.inflow import Inflow
from holdfast.server.intake import FORM_EXTRA_BYTES, Wanted, put_form, take_in
from holdfast.server.pages import words
from holdfast.server.pages.rendering import back_to

router = APIRouter()


@router.post("/upload")
async def upload(request: Request) -> Response:
    """Store the form's file while it arrives, then show the dataset."""
    visit = visit_of(request)
    proof = visit.proof or visit.unconfirmed
    if proof is None:
        require_user(request)
    assert proof is not None, "a stranger has been turned away"
    account, hold, kind = proof.account, hold_of(request), request.headers.get("content-type", "")

    def work(stream: Inflow) -> Dataset:
        return put_form(
            hold,
            stream,
            kind,
            owner=account.email,
            preferred=account.preferred_pool,
            defaults=Wanted(),
            on_csrf_token=lambda token: confirm_csrf(request, token),
        )

    dataset = await take_in(request, work, extra_bytes=FORM_EXTRA_BYTES)
    return back_to(request, f"/datasets/{dataset.id}", f"{words.printable(dataset.name)} is stored.")
