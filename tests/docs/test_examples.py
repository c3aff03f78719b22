"""The examples of the pages, run as a reader would run them, print what the pages show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs.making import examples
from tests.docs.pages import DOCS, ROOT, fences, name_of, pages

from holdfast.config.read import read_document

PAGES = examples.pages_with_examples(ROOT)
TUTORIAL = DOCS / "tutorial" / "first-two-pools.md"


def _needs(page: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.needs("moto")] if examples.needs_store(page.read_text(encoding="utf-8")) else []


def test_there_are_examples():
    assert {name_of(page) for page in PAGES} >= {"README.md", "docs/tutorial/first-two-pools.md"}
    assert len(PAGES) > 8


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", [pytest.param(page, marks=_needs(page), id=name_of(page)) for page in PAGES])
def test_examples_print_what_the_page_shows(page: Path):
    wrong = [
        f"{name_of(page)}:{outcome.example.line}: {one}"
        for outcome in examples.run(page.read_text(encoding="utf-8"))
        for one in outcome.wrong
    ]
    assert not wrong, "\n".join([*wrong, "paste the output of now: python docs/generate.py --examples"])


def test_an_example_that_lies_is_noticed():
    text = "```console test\n$ echo one\ntwo\n```\n```console test exit=3\n$ (exit 4)\n```\n"
    outcomes = list(examples.run(text))
    assert "printed:\none" in outcomes[0].wrong[0]
    assert outcomes[0].body == "$ echo one\none\n"
    assert "ended with 4, not 3" in outcomes[1].wrong[0]


def test_python_that_fails_is_noticed():
    [outcome] = examples.run("```python test\nraise SystemExit(5)\n```\n")
    assert "exit code 5" in outcome.wrong[0]


def test_one_page_is_one_session():
    text = (
        "```text test file=sub/a.txt\nhere: /srv/lab\n```\n"
        "```console test\n$ cd sub\n$ cat \\\n> a.txt\nhere: /srv/lab\n```\n"
    )
    assert [outcome.wrong for outcome in examples.run(text)] == [(), ()]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("12 seconds ago", "just now", True),
        ("pool  ok   71% full", "pool ok 5.5% full", True),
        ("2 GiB free", "1.5 TiB free", True),
        ("stored dataset 1 in newdata", "stored dataset 2 in newdata", False),
        ("4.0 MiB", "5.0 MiB", False),
        ("hf_aa…", "hf_0123456789abcdef", True),
        ("a\nb", "a\n b\n", True),
        ("a b", "a\nb", False),
    ],
)
def test_what_differs_from_run_to_run_is_not_compared(shown: str, printed: str, same: bool):
    assert examples.alike(shown, printed) is same


# -- configuration that is only shown ------------------------------------------------------------------------

_YAML = [
    pytest.param(body, id=f"{name_of(page)}-{at}")
    for page in pages()
    for at, (words, body) in enumerate(fences(page, "yaml"))
    if "test" not in words
]
_POOLS = """\
pools:
  newdata: {type: disk, files_dir: data2}
  olddata: {type: disk, files_dir: data}
placement: distributed
"""


@pytest.mark.parametrize("body", _YAML)
def test_configuration_that_is_shown_can_be_read(body: str, tmp_path: Path):
    """Each YAML of the pages is a document, once it has pools."""
    [(_, tutorial), *_] = fences(TUTORIAL, "xml")
    (tmp_path / "object_store_conf.xml").write_text(tutorial)
    if not re.search(r"^(pools|object_store):", body, re.MULTILINE):
        body += _POOLS
    (tmp_path / "holdfast.yml").write_text(body)
    named = re.findall(r"env:(\w+)", body)
    config = read_document(tmp_path / "holdfast.yml", environ=dict.fromkeys(named, "a secret"))
    assert len(config.pools()) >= 1
    assert not [note for note in config.notes if note.severity != "note"], config.notes


def test_the_tutorials_files_are_the_tutorials():
    """Exercise 1 and 2 have the files that the tutorial prints, but for the folders."""
    formats = ROOT / "tests" / "formats" / "config"
    shown = [body for _, body in fences(TUTORIAL, "xml")]
    for body, name in zip(shown, ("tutorial-hierarchical", "tutorial-distributed"), strict=True):
        original = (formats / name / "object_store_conf.xml").read_text(encoding="utf-8")
        assert body.replace("/srv/lab/", "/").split() == original.split()
