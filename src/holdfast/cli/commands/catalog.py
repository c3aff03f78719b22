"""catalog upgrade and catalog create."""

from __future__ import annotations

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
    import os

    from holdfast.catalog.catalog import Catalog

    config = call.read_config()
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    schema = Catalog.create(config.catalog_address(os.environ), config.state_dir)
    call.answer({"schema": schema}, f"An empty catalog was made, with schema {schema}.")
