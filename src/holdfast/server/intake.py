"""Uploads in one request: a raw body or a multipart form, new or in place of old bytes.

The put runs in a thread that pulls the body out of the connection; the room is reserved before the first
byte is taken, so a refusal needs no body. Hashing happens while the bytes pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

from starlette.requests import Request

from holdfast.blobs import StreamBody
from holdfast.catalog.base import Dataset
from holdfast.errors import Unavailable
from holdfast.hold.hold import Hold
from holdfast.server.auth import CSRF_FIELD
from holdfast.server.context import house_of, visit_of
from holdfast.server.inflow import Inflow
from holdfast.server.multipart import BrokenForm, MultipartParser, boundary_of
from holdfast.server.problem import HttpProblem

FORM_EXTRA_BYTES = 256 * 1024  # a form's size is more than its file's by less than this
FIELDS = frozenset({"name", "pool", "labels", CSRF_FIELD})

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the sender says of a new dataset."""

    name: str | None = None
    pool: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def declared_bytes(request: Request) -> int | None:
    """The body's size by `Content-Length`; None for a chunked body."""
    header = request.headers.get("content-length")
    if header is None:
        return None
    if not header.isascii() or not header.isdigit():
        raise HttpProblem(400, f"Content-Length is {header[:40]!r}, which is no number of bytes")
    return int(header)


async def take_in(
    request: Request, work: Callable[[Inflow], R], *, extra_bytes: int = 0, idle_s: float | None = None
) -> R:
    """Run `work` in a thread, with this request's body as a stream. 413 and 503 come before the body.

    `extra_bytes` is what the body may have beyond the limit for uploads, `idle_s` how long it may be silent.
    """
    house = house_of(request)
    size_bytes = declared_bytes(request)
    most = house.settings.upload_bytes_max
    if most is not None and size_bytes is not None and size_bytes > most + extra_bytes:
        raise HttpProblem(413, f"an upload may have {most} bytes here; this one has {size_bytes}")
    if house.intakes.all_busy:
        raise Unavailable(
            f"{house.settings.uploads_at_once} uploads are under way; try again in a moment", retry_after_s=5
        )
    inflow = Inflow(
        request.receive,
        house.intakes,
        size_bytes=size_bytes,
        idle_s=house.settings.body_idle_s if idle_s is None else idle_s,
        bytes_max=None if most is None else most + extra_bytes,
    )
    visit_of(request).inflow = inflow
    return await inflow.run(work)


def put_form(
    hold: Hold,
    stream: Inflow,
    content_type: str,
    *,
    owner: str,
    preferred: str | None,
    defaults: Wanted,
    on_csrf_token: Callable[[str | None], None],
) -> Dataset:
    """The dataset that a form brings: fields first, then its file. For a thread.

    `on_csrf_token` is called before the file is touched, and raises if the form is forged. `defaults` count
    where the form has no such field.
    """
    try:
        form = _Form(stream, boundary_of(content_type))
        file_name = form.find_file()
    except BrokenForm as error:
        raise HttpProblem(400, f"the form cannot be read: {error}") from error
    on_csrf_token(form.fields.get(CSRF_FIELD))
    labels = form.fields.get("labels")
    return hold.put(
        # what follows the file is not known, so neither is its size: the hold reserves as bytes come
        StreamBody(cast("BinaryIO", form)),
        name=form.fields.get("name") or defaults.name or file_name,
        pool=form.fields.get("pool") or defaults.pool,
        preferred=preferred,
        owner=owner,
        labels=defaults.labels if labels is None else parse_labels(labels),
    )


def parse_labels(text: str) -> dict[str, str]:
    """`k=v,k2=v2` as labels; 422 for anything else."""
    labels: dict[str, str] = {}
    for pair in text.split(","):
        if not pair.strip():
            continue
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise HttpProblem(422, f"labels are written k=v,k2=v2; {pair[:60]!r} is none")
        labels[key.strip()] = value.strip()
    return labels


class _Form:
    """A form's file as a blocking stream; its fields are collected on the way to it."""

    def __init__(self, stream: Inflow, boundary: bytes) -> None:
        self._stream = stream
        self._waiting: deque[memoryview] = deque()
        self._file_name: str | None = None
        self._body_ended = False
        self._parser = MultipartParser(
            boundary,
            on_field=self._take_field,
            on_file_begin=self._begin_file,
            on_file_data=self._waiting.append,
            on_file_end=lambda: None,
        )
        self.fields: dict[str, str] = {}

    def find_file(self) -> str:
        """Read up to the file; its name. 422 if the form has none."""
        while self._file_name is None and not self._body_ended:
            self._feed()
        if self._file_name is None:
            raise HttpProblem(422, "the form has no file; send one as the field `file`")
        return self._file_name

    def read(self, size_bytes: int = -1, /) -> memoryview:
        """The file's next bytes; empty at its end, when the rest of the form was read and found good."""
        try:
            while not self._waiting and not self._body_ended:
                self._feed()
        except BrokenForm as error:
            raise HttpProblem(400, f"the form cannot be read: {error}") from error
        if not self._waiting:
            return memoryview(b"")
        block = self._waiting.popleft()
        if 0 <= size_bytes < len(block):
            self._waiting.appendleft(block[size_bytes:])
            block = block[:size_bytes]
        return block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def _feed(self) -> None:
        block = self._stream.read()
        if len(block):
            self._parser.feed(block)
            return
        self._body_ended = True
        self._parser.finish()

    def _take_field(self, name: str, value: str) -> None:
        if name not in FIELDS:
            raise HttpProblem(422, f"the form has a field {name[:60]!r}; it may have: {', '.join(sorted(FIELDS))}")
        if self._file_name is not None:
            raise HttpProblem(422, f"the field {name!r} comes after the file; put it before the file")
        self.fields[name] = value

    def _begin_file(self, name: str, file_name: str) -> None:
        if self._file_name is not None:
            raise HttpProblem(422, "the form has several files; send one form for each")
        self._file_name = file_name
