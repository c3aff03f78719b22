"""docs/reference/configuration.md: the table of keys, from the lines that the readers use."""

from __future__ import annotations

_HEAD = """\
# Configuration

<!-- Made from the table of keys by `make docs`. Edit src/holdfast/config/vocabulary*.py, not this page. -->

Holdfast reads one document. It is looked for as `--config FILE`, then `$HOLDFAST_CONFIG`, then
`./holdfast.yml`. It may be our own spelling, or Galaxy's `object_store_conf.xml` or `object_store_conf.yml`
as they are. All three mean the same tree; `holdfast config show --expanded` prints that tree with every
default, and `holdfast check` says what is wrong, has no effect, or would be read differently by Galaxy.

Relative paths mean the folder of the file they stand in. Sizes are bytes, or a number with a unit
(`200 GiB`, `1 TB`); times are seconds, or a number with a unit (`12 h`, `7 days`). A key that ends in
`_bytes` or `_s` also exists without that ending: then its value must bring a unit. Secrets are references:
`env:NAME` or `file:PATH`. Dots in a key stand for blocks: `server.port` is `port` in the block `server:`.

Only pools of type `disk` can be used today. The other types are read in full and checked, and `holdfast
check` says that their driver is not there yet.
"""


def page() -> str:
    """The whole page."""
    from holdfast.config.reference import key_tables

    return f"{_HEAD}\n{key_tables()}".rstrip() + "\n"
