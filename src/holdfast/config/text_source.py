"""Reads a configuration file as text, within bounds, and says what is wrong with the file itself."""

from __future__ import annotations

import stat
from pathlib import Path

from holdfast.config.nodes import Spot
from holdfast.config.problems import ProblemLog

FILE_BYTES_MAX = 4 * 1024 * 1024

_XML_ENDINGS = (".xml", ".xml.sample", ".xml.j2")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_text_file(path: Path, shown: str, problems: ProblemLog) -> str | None:
    """The text of a UTF-8 file of at most `FILE_BYTES_MAX`; None when `problems` has been told why not."""
    spot = Spot(shown, 0)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            problems.error(spot, "is a folder, not a file", f"{shown.rstrip('/')}/holdfast.yml")
            return None
        if not stat.S_ISREG(mode):
            problems.error(spot, "is not an ordinary file")
            return None
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems.error(spot, f"cannot be read: {reason}")
        return None
    return _decode(data, shown, problems)


def _decode(data: bytes, shown: str, problems: ProblemLog) -> str | None:
    spot = Spot(shown, 0)
    if len(data) > FILE_BYTES_MAX:
        problems.error(spot, f"is larger than {FILE_BYTES_MAX // 1024 // 1024} MiB: this is no configuration file")
        return None
    if data.startswith(_UTF_16):
        problems.error(Spot(shown, 1), "is UTF-16", "the file in UTF-8")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.error(
            Spot(shown, line),
            f"is not UTF-8: the byte 0x{data[error.start]:02x} is no text",
            "the file in UTF-8",
        )
        return None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        problems.error(Spot(shown, line), "holds a NUL byte: this is no text file", "the file in UTF-8")
        return None
    if not text.strip():
        problems.error(Spot(shown, 1), "is empty", "holdfast init, which writes a file to begin with")
        return None
    return text


def looks_like_xml(shown: str, text: str) -> bool:
    """Whether to read it as XML: by its name, or by its first character."""
    return shown.endswith(_XML_ENDINGS) or text.lstrip()[:1] == "<"
