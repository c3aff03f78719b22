"""What tests of the documentation share: the pages, their headings, their links, their fences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]*(?:\([^()]*\))?[^()\s]*)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Link:
    """A link or a picture of a page."""

    page: Path
    line: int
    target: str
    is_picture: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.target}"


def pages() -> list[Path]:
    """Every page that people read."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    return [*top, *sorted(DOCS.rglob("*.md"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def fences(path: Path, language: str) -> list[tuple[list[str], str]]:
    """(words of the info line, body) of each fence in that language."""
    found = []
    for _, info, body in _FENCE.findall(text_of(path)):
        words = info.split()
        if words and words[0] == language:
            found.append((words, body))
    return found


@cache
def anchors_of(path: Path) -> frozenset[str]:
    """The anchors of a page's headings, as its host makes them."""
    seen: dict[str, int] = {}
    anchors = set()
    for heading in _HEADING.findall(_FENCE.sub("", text_of(path))):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        anchors.add(slug if count == 0 else f"{slug}-{count}")
    return frozenset(anchors)


def links_of(path: Path) -> list[Link]:
    """The links of a page, outside of code."""
    text = _FENCE.sub(lambda match: "\n" * match[0].count("\n"), text_of(path))
    text = re.sub(r"`[^`\n]*`", lambda match: "x" * len(match[0]), text)
    return [
        Link(path, text.count("\n", 0, match.start()) + 1, match[3], match[1] == "!")
        for match in _LINK.finditer(text)
    ]
