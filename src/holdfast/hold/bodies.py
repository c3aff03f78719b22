"""What callers may put: a path, bytes, a binary stream, a `Body`, or a `PutItem` that says more.

Also folders of extra files: walked once, links that leave the folder refused, names checked.
"""

from __future__ import annotations

import io
import os
import stat as modes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from holdfast.blobs import Body, BytesBody, FileBody, StreamBody
from holdfast.errors import Denied, InvalidKey, NotFound, StoreError
from holdfast.keys import Key

EXTRA_FILES_MAX = 100_000
DEPTH_MAX = 64

Source = str | Path | bytes | BinaryIO | Body


@dataclass(frozen=True, slots=True)
class PutItem:
    """One dataset of a `put_many`. What is None is taken from the call."""

    source: Source
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    digest: str | None = None


def body_of(source: Source, name: str | None) -> tuple[Body, str]:
    """(body, name) of what was given; a file gives its own name, everything else needs one."""
    if isinstance(source, str | Path):
        if not str(source):
            raise InvalidKey("an empty name is no file; give the path of one", operation="put")
        path = Path(source)
        body: Body = file_body(path)
        return body, name or _shown(path.name)
    if isinstance(source, bytes):
        body = BytesBody(source)
    elif isinstance(source, Body):
        body = source
    else:
        _check_stream(source)
        body = StreamBody(source, _stream_size(source))
    if isinstance(body, FileBody):
        name = name or _shown(body.path.name)
    elif name is None:
        given = getattr(source, "name", None)
        name = _shown(os.path.basename(given)) if isinstance(given, str) and given else None
    if not name:
        raise InvalidKey('the data comes without a name; give it one: name="reads.fastq"', operation="put")
    return body, name


def _check_stream(source: object) -> None:
    """`InvalidKey` for what callers hand over by mistake."""
    is_text = isinstance(source, io.TextIOBase)
    if is_text or not (hasattr(source, "read") or hasattr(source, "readinto")):
        kind = "a text stream" if is_text else type(source).__name__
        raise InvalidKey(f"bytes cannot be had from {kind}; give a path, bytes, or a file opened with 'rb'")


def file_body(path: Path, *, consume: bool = False, checksum: str | None = None) -> FileBody:
    """The file at `path`; `NotFound`, `Denied` or `InvalidKey` if it cannot be put."""
    try:
        found = FileBody.of(path)
    except OSError as error:
        raise _unusable(path, error) from error
    except ValueError as error:  # a NUL in its name
        raise InvalidKey(f"{str(path)!r} cannot be the name of a file: {error}", operation="put") from error
    return FileBody(path, found.size_bytes, consume=consume, checksum=checksum)


def _unusable(path: str | Path, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(f"there is no file {path}", operation="put")
    if isinstance(error, PermissionError):
        return Denied(f"{path} may not be read", operation="put")
    return InvalidKey(f"{path} cannot be read: {error.strerror or error}", operation="put")


def extra_files_of(folder: str | Path | None) -> list[tuple[str, FileBody]]:
    """(relative name, body) of every file below `folder`, by name.

    Links inside the folder are followed; `Denied` for one that leads out of it, `InvalidKey` for a name that
    cannot be stored, a device, a socket, or too many files.
    """
    if folder is None:
        return []
    root = Path(folder)
    if not os.path.isdir(root):
        raise NotFound(f"there is no folder {root}; extra files are given as a folder", operation="put")
    real = os.path.realpath(root)
    try:
        found = sorted(_walk(root, real, "", 0))
    except OSError as error:
        raise _unusable(error.filename or root, error) from error
    if len(found) > EXTRA_FILES_MAX:
        raise InvalidKey(f"{root} holds more than {EXTRA_FILES_MAX} files; pack them into an archive")
    return [(relative, file_body(path)) for relative, path in found]


def _walk(folder: Path, real_root: str, base: str, depth: int) -> Iterator[tuple[str, Path]]:
    if depth > DEPTH_MAX:
        raise InvalidKey(f"{folder} is nested deeper than {DEPTH_MAX} folders, or a link leads back to itself")
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        relative = base + entry.name
        Key.parse(relative)
        if entry.is_symlink():
            try:
                target = os.path.realpath(entry.path, strict=True)
            except OSError as error:
                raise NotFound(f"{entry.path} is a link that leads nowhere; take it away", operation="put") from error
            if not target.startswith(real_root + os.sep):
                raise Denied(f"{entry.path} is a link that leads out of the folder; copy the file there instead")
        mode = entry.stat().st_mode
        if modes.S_ISDIR(mode):
            yield from _walk(Path(entry.path), real_root, relative + "/", depth + 1)
        elif modes.S_ISREG(mode):
            yield relative, Path(entry.path)
        else:
            raise InvalidKey(f"{entry.path} is neither a file nor a folder and cannot be stored")


def _shown(file_name: str) -> str:
    """A file's name as text; bytes that are no text become readable escapes."""
    return os.fsencode(file_name).decode("utf-8", "backslashreplace")


def _stream_size(stream: BinaryIO) -> int | None:
    """How many bytes are left in a stream, if it is a regular file."""
    try:
        found = os.fstat(stream.fileno())
        if modes.S_ISREG(found.st_mode):
            return max(0, found.st_size - stream.tell())
    except (OSError, AttributeError):
        return None
    return None
