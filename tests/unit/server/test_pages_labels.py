"""What the search box understands, and what the form of labels makes of its rows."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from holdfast.errors import InvalidKey
from holdfast.server.pages.labelling import LabelRow, relabelled, rows_for
from holdfast.server.pages.searching import label_word, tags_of, understood


@pytest.mark.parametrize(
    ("typed", "name", "labels"),
    [
        ("", None, ()),
        ("reads 7", "reads 7", ()),
        ("  two  blanks", "  two  blanks", ()),
        ("label:run=7", None, (("run", "7"),)),
        ("a label:run=7 b", "a b", (("run", "7"),)),
        ('label:"project=apollo 11" label:run=', None, (("project", "apollo 11"), ("run", ""))),
        ('label:"quote=\\"x\\" \\\\"', None, (("quote", '"x" \\'),)),
        ("label:a=b=c", None, (("a", "b=c"),)),
        ("mylabel:a=b", "mylabel:a=b", ()),
        ("labels", "labels", ()),
    ],
)
def test_what_the_box_understands(typed: str, name: str | None, labels: tuple[tuple[str, str], ...]):
    found = understood(typed)
    assert (found.name, found.labels, found.problem) == (name, labels, None)


@pytest.mark.parametrize("typed", ["label:", "label:run", "reads label:=7", 'label:"run"', " ".join(["label:a=b"] * 9)])
def test_what_it_does_not_understand_is_said(typed: str):
    assert understood(typed).problem


@pytest.mark.parametrize(
    ("key", "value"),
    [("run", "7"), ("a b", "c d"), ("q", '"'), ("s", "\\"), ("né", "größer"), ("e", ""), ("r", "\u202e")],
)
def test_the_word_for_a_label_finds_it(key: str, value: str):
    assert understood(label_word(key, value)).labels == ((key, value),)
    [tag] = tags_of({key: value})
    assert understood(parse_qs(tag.href.partition("?")[2])["q"][0]).labels == ((key, value),)


def test_only_what_the_form_changed_is_changed():
    shown = {"project": "apollo", "run": "7"}
    rows = rows_for(shown)
    assert relabelled(shown, rows) == shown
    now = {"project": "gemini", "lab": "4"}  # somebody else was here since
    edited = [rows[0], LabelRow("run", "7", "run", "8"), LabelRow(key="new", value="x"), LabelRow()]
    assert relabelled(now, edited) == {"project": "gemini", "lab": "4", "run": "8", "new": "x"}


def test_add_change_rename_remove_and_swap():
    shown = {"a": "1", "b": "2"}
    a, b, *empty = rows_for(shown)
    assert relabelled(shown, [a, b, LabelRow(key="c", value="3")]) == {"a": "1", "b": "2", "c": "3"}
    assert relabelled(shown, [LabelRow("a", "1", "z", "1"), b]) == {"z": "1", "b": "2"}
    assert relabelled(shown, [LabelRow("a", "1", "", "1"), b]) == {"b": "2"}
    assert relabelled(shown, [a, b, *empty], removed=1) == {"a": "1"}
    assert relabelled(shown, [LabelRow("a", "1", "b", "1"), LabelRow("b", "2", "a", "2")]) == {"b": "1", "a": "2"}
    assert relabelled(shown, [LabelRow("a", "1", "", ""), b, LabelRow(key="a", value="9")]) == {"a": "9", "b": "2"}
    with pytest.raises(InvalidKey, match="twice"):
        relabelled(shown, [a, b, LabelRow(key="a", value="3")])
    with pytest.raises(InvalidKey, match="has no key"):
        relabelled(shown, [a, b, LabelRow(value="3")])
