"""catalog upgrade, catalog create and catalog copy."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command


@command(example="holdfast catalog upgrade")
def upgrade(call: Invocation) -> None:
    """Bring the catalog to this version's schema.

    Stop the servers first, and keep a copy of the catalog: there is no way back to an older schema. Where
    nothing is to be done, nothing is.
    """
    from holdfast.config.build import upgrade_catalog

    before, after = upgrade_catalog(call.read_config())
    if before == after:
        text = f"The catalog has schema {after} already."
    elif before is None:
        text = f"The catalog was made, with schema {after}."
    else:
        text = f"The catalog was brought from schema {before} to {after}."
    call.answer({"from": before, "to": after}, text)


@command(example="holdfast catalog create")
def create(call: Invocation) -> None:
    """Make an empty catalog where the old one is lost.

    Restore a backup instead if you have one. A state directory that has been worked with gets no new catalog
    by itself. Afterwards holdfast reconcile --adopt records what lies in the pools, and holdfast pool set ID
    --state active takes pools over that belonged to the old one.
    """
    from holdfast.catalog.catalog import Catalog

    config = call.read_config()
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    schema = Catalog.create(config.catalog_address(os.environ), config.state_dir)
    call.answer({"schema": schema}, f"An empty catalog was made, with schema {schema}.")


@command(example="holdfast catalog copy --to postgresql://holdfast@db/holdfast\nholdfast catalog copy --to sqlite")
def copy(
    call: Invocation,
    to: Annotated[
        str,
        typer.Option("--to", metavar="URL", help="postgresql://..., or sqlite for the file in the state directory."),
    ],
) -> None:
    """Copy the whole catalog to another database.

    Stop every server and worker first. The target must be empty. All of it arrives, counted, or nothing; the
    catalog that is copied stays as it is. Then write the new address into the document, under catalog.
    """
    from holdfast.catalog.catalog import SQLITE_FILE
    from holdfast.catalog.copying import copy_between, rows_at

    config = call.read_config()
    file = f"sqlite:///{config.state_dir / SQLITE_FILE}"
    if to != "sqlite" and not to.startswith(("postgresql://", "sqlite:///")):
        raise UsageError(f"{to!r} is no catalog; write: --to postgresql://holdfast@db/holdfast, or --to sqlite")
    source, target = config.catalog_address(os.environ) or file, file if to == "sqlite" else to
    if source == target:
        raise UsageError("the catalog is there already; say where else it is to go: --to postgresql://holdfast@db/name")
    with call.progress("Copying", rows_at(source), "objects") as progress:
        counts = copy_between(source, target, progress.update)
    total = sum(counts.values())
    lines = [
        f"Copied {total} rows: {counts['dataset']} datasets, {counts['account']} accounts, {counts['event']} events.",
        f"The catalog that was copied stays as it is. Now write into the document: catalog: {_without_password(to)}",
    ]
    call.answer({"to": _without_password(to), "rows": counts}, *lines)


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{user.partition(':')[0]}{at}{host}"
