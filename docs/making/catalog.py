"""docs/reference/catalog.md: the tables of the catalog, with the comments that stand beside them in the code."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

_HEAD = """\
# Catalog

<!-- Made from src/holdfast/catalog/schema.py by `make docs`. Edit that file, not this page. -->

The catalog is one database: `catalog.sqlite` in the state directory (SQLite in WAL mode, fully synchronous),
or a PostgreSQL database. Both have the same tables. This page is for looking, in an emergency or for a report
of your own; write only through Holdfast, because counters are kept in the same transaction as what they
count.

Columns hold integers and texts only. `_us` is microseconds since 1970, UTC; `_bytes` is bytes; switches are 0
and 1; structures are JSON texts. `*` marks the primary key, `?` a column that may be null.

"""


def page() -> str:
    """The whole page."""
    from holdfast.catalog import schema

    above, beside = _comments(Path(schema.__file__))
    parts = [_HEAD + f"The schema of this version is `{schema.HEAD}`.\n"]
    for table in schema.metadata.tables.values():
        rows = []
        for column in table.columns:
            mark = "*" if column.primary_key else "?" if column.nullable else ""
            words = _escaped(beside.get((table.name, column.name), ""))
            kind = "integer" if issubclass(column.type.python_type, int) else "text"
            refers = "".join(f" → `{key.target_fullname}`" for key in column.foreign_keys)
            default = "" if column.server_default is None else f"`{_default(column)}`"
            rows.append(f"| `{column.name}`{mark} | {kind}{refers} | {default} | {words} |")
        head = ["| column | type | default | |", "|---|---|---|---|"]
        words = above.get(table.name, "")
        parts.append("\n".join([f"## {table.name}\n", *([f"{words}\n"] if words else []), *head, *rows, ""]))
    return "\n".join(parts).rstrip() + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _default(column: object) -> str:
    text = str(column.server_default.arg)  # type: ignore[attr-defined]
    return text or "''"


def _comments(path: Path) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """(table -> the comment above it, (table, column) -> the comment beside it)."""
    source = path.read_text(encoding="utf-8")
    alone: dict[int, str] = {}
    trailing: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ").strip()
            at_start = not token.line[: token.start[1]].strip()
            (alone if at_start else trailing)[token.start[0]] = text
    above: dict[str, str] = {}
    beside: dict[tuple[str, str], str] = {}
    for node in ast.parse(source).body:
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        if not (isinstance(node.value.func, ast.Name) and node.value.func.id == "Table"):
            continue
        table = ast.literal_eval(node.value.args[0])
        lines: list[str] = []
        line = node.lineno - 1
        while line in alone:
            lines.insert(0, alone[line])
            line -= 1
        above[table] = " ".join(lines)
        for argument in node.value.args[2:]:
            named = isinstance(argument, ast.Call) and argument.args and isinstance(argument.args[0], ast.Constant)
            if named and argument.end_lineno in trailing:
                beside[table, str(argument.args[0].value)] = trailing[argument.end_lineno]
    return above, beside
