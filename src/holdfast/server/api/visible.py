"""What somebody may see: their own. To everybody else it does not exist; administrators see all."""

from __future__ import annotations

from typing import cast

from holdfast.catalog.accounts import Account
from holdfast.catalog.base import Dataset
from holdfast.errors import InvalidKey, NotFound
from holdfast.hold.hold import Hold
from holdfast.hold.lease import identify
from holdfast.server.problem import NotFoundHere


def dataset_for(hold: Hold, account: Account, ident: str) -> Dataset:
    """The dataset with that id or uuid, if this account may see it; else 404, whatever the reason.

    Only for administrators is data looked for that nobody recorded yet: it belongs to nobody.
    """
    try:
        dataset_id, uuid = identify(ident)
        if account.is_admin:
            return hold.find(ident)
    except (InvalidKey, NotFound):
        raise NotFoundHere(f"dataset {ident[:64]}") from None
    ledger = hold.catalog.datasets
    found = ledger.find(dataset_id) if dataset_id is not None else ledger.find_uuid(cast("str", uuid))
    if found is None or found.owner != account.email:
        raise NotFoundHere(f"dataset {ident[:64]}")
    return found


def owner_filter(account: Account, owner: str | None) -> str | None:
    """Whose things to list: one's own; an administrator's choice."""
    return owner if account.is_admin else account.email
