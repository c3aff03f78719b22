"""Links lead somewhere, every page can be reached, and what a page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, ROOT, anchors_of, links_of, name_of, pages, text_of

LINE_CHARS_MAX = 400


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path):
    broken = []
    for link in links_of(page):
        if re.match(r"[a-z]+:", link.target):
            continue
        file, _, anchor = link.target.partition("#")
        target = (page.parent / file).resolve() if file else page
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (anchor and anchor not in anchors_of(target)):
            broken.append(str(link))
    assert not broken


def test_links_are_found():
    """The look for links sees what is there: else the other tests pass on nothing."""
    assert sum(len(links_of(page)) for page in pages()) > 80


def test_pictures_have_words():
    silent = [
        str(link) for page in pages() for link in links_of(page) if link.is_picture and "![](" in text_of(page)
    ]
    assert not silent


def test_every_page_can_be_reached_from_the_index():
    seen, queue = set(), [DOCS / "index.md"]
    while queue:
        page = queue.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        queue += [(page.parent / link.target.partition("#")[0]).resolve() for link in links_of(page)]
    assert not {name_of(page) for page in DOCS.rglob("*.md")} - {name_of(page) for page in seen}


def test_the_index_can_be_reached_from_the_readme():
    assert DOCS / "index.md" in {(ROOT / link.target).resolve() for link in links_of(ROOT / "README.md")}


def test_design_notes_are_numbered_without_a_gap():
    numbers = sorted(int(path.name[:4]) for path in (DOCS / "design").glob("0*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
    for path in (DOCS / "design").glob("0*.md"):
        text = text_of(path)
        assert text.startswith(f"# {path.name[:4]} ")
        for part in ("**Problem.**", "**Decision.**", "**Alternatives.**", "**Caveats.**", "**Tests.**"):
            assert part in text, f"{name_of(path)} lacks {part}"
        assert "`tests/" in text.partition("**Tests.**")[2], f"{name_of(path)} names no tests"


def test_files_that_pages_name_are_there():
    """`src/...`, `tests/...`, `tools/...` in the text of a page."""
    missing = [
        f"{name_of(page)}: {name}"
        for page in pages()
        for name in re.findall(r"`((?:src|tests|tools|bench|docs|changes|locks)/[\w./-]*)", text_of(page))
        if not (ROOT / name).exists() and not re.search(r"[A-Z]{4}", name)  # NAME, TOPIC: to be filled in
    ]
    assert not missing


def test_make_targets_that_pages_name_are_there():
    targets = set(re.findall(r"^([a-z.][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    command = re.compile(r"(?:`|^\$ |^    )make ([a-z][a-z-]*)", re.MULTILINE)
    named = {name for page in pages() for name in command.findall(text_of(page))}
    assert {"demo", "test", "check"} <= named
    assert named <= targets


def test_no_line_is_endless():
    long = [
        f"{name_of(page)}:{number}"
        for page in pages()
        if page.parent.name != "reference"
        for number, line in enumerate(text_of(page).splitlines(), 1)
        if len(line) > LINE_CHARS_MAX and "|" not in line
    ]
    assert not long
