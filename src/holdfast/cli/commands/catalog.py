"""catalog upgrade."""

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
