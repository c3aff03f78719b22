"""docs/reference/python.md: the Python interface, from its docstrings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

_HEAD = """\
# Python

<!-- Made from docstrings by `make docs`. Edit src/holdfast/, not this page. -->

```python
import holdfast

with holdfast.open("holdfast.yml") as hold:
    dataset = hold.put("reads.fastq")
    with hold.open(dataset.id) as stream:
        first_line = stream.readline()
    with hold.lease(dataset.id) as path:
        ...                                    # a local pathlib.Path, valid until the block ends
    print(hold.find(dataset.id).object_store_id)
```

A `Hold` may be used from many threads. Several processes may work on one catalog at the same time, and a
process that forks may go on in parent and child. Errors are those of [errors](errors.md). Names that begin
with an underscore, and modules that this page does not name, may change at any time.
"""
_LINE_CHARS = 100


def page() -> str:
    """The whole page."""
    import holdfast
    from holdfast.hold.hold import Hold
    from holdfast.hold.lease import Lease
    from holdfast.hold.writer import Writer

    parts = [_HEAD, _function("holdfast.open", holdfast.open, "##")]
    parts += _class("Hold", Hold)
    parts += _class("Lease", Lease)
    parts += _class("Writer", Writer)
    parts += [_value(cls) for cls in _values()]
    parts += _jobs()
    return "\n".join(parts).rstrip() + "\n"


def _values() -> list[type[Any]]:
    from holdfast.blobs import BlobStat, ByteRange, FileBody, GetOptions
    from holdfast.catalog.base import Dataset, Event, ExtraFile, Filter, Replica, Verdict
    from holdfast.hold import PoolCheck, PoolInfo, PutItem
    from holdfast.placement.policy import Choice

    return [
        Dataset, Replica, Verdict, ExtraFile, Filter, PutItem, ByteRange, GetOptions, BlobStat, FileBody, PoolInfo,
        PoolCheck, Choice, Event,
    ]  # fmt: skip


def _jobs() -> list[str]:
    from holdfast.catalog.jobs import Job
    from holdfast.jobs.jobs import Jobs

    return [*_class("Jobs", Jobs), _value(Job)]


def _class(name: str, cls: type[Any]) -> Iterator[str]:
    yield f"## {name}\n\n`{cls.__module__}.{cls.__name__}`\n\n{_text(cls)}\n"
    for member, found in vars(cls).items():
        if member.startswith("_"):
            continue
        if isinstance(found, property):
            yield f"### {name}.{member}\n\n{_text(found.fget)}\n"
        elif callable(found) and inspect.isfunction(found):
            yield _function(f"{name}.{member}", found, "###")


def _function(name: str, function: Any, level: str) -> str:
    return f"{level} {name}\n\n```python\n{_signature(name.rpartition('.')[2], function)}\n```\n\n{_text(function)}\n"


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    parameters = [one for one in signature.parameters.values() if one.name != "self"]
    texts: list[str] = []
    starred = False
    for one in parameters:
        if one.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            texts.append("*")
            starred = True
        texts.append(_parameter(one))
    returned = signature.return_annotation
    tail = "" if returned is inspect.Signature.empty else f" -> {returned}"
    line = f"{name}({', '.join(texts)}){tail}"
    if len(line) <= _LINE_CHARS:
        return line
    inner = "\n".join(f"    {text}," for text in texts)
    return f"{name}(\n{inner}\n){tail}"


def _parameter(one: inspect.Parameter) -> str:
    """As it is written: annotations are texts already."""
    typed = "" if one.annotation is inspect.Parameter.empty else f": {one.annotation}"
    given = "" if one.default is inspect.Parameter.empty else f" = {one.default!r}"
    return f"{one.name}{typed}{given}"


def _value(cls: type[Any]) -> str:
    rows = [f"| `{one.name}` | `{_escaped(str(one.type))}` | {_default(one)} |" for one in dataclasses.fields(cls)]
    rows += [
        f"| `{name}` | `{_escaped(str(inspect.signature(found.fget).return_annotation))}` | from the others |"
        for name, found in vars(cls).items()
        if isinstance(found, property) and not name.startswith("_")
    ]
    table = "\n".join(["| field | type | default |", "|---|---|---|", *rows])
    return f"## {cls.__name__}\n\n`{cls.__module__}.{cls.__name__}`, frozen\n\n{_text(cls)}\n\n{table}\n"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    return ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _text(documented: Any) -> str:
    return inspect.cleandoc(documented.__doc__ or "")
