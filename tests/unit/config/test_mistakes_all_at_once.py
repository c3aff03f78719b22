"""A mistake hides no other: whoever mends what is listed is done."""

from __future__ import annotations

import pytest

XML = "object_store_conf.xml"
YML = "object_store_conf.yml"

MANY = """\
<object_store type="TYPE">
  <backends>
    <backend id="a" type="disk" order="first"><files_dir path="/a"/></backend>
    <backend id="a" type="disk" order="1"><files_dir path="/b"/></backend>
    <backend id="c" type="disk"><files_dir path="/c"/></backend>
    <backend id="d" type="dsk" order="third" private="perhaps"><files_dir path="/d"/></backend>
    <backend id="d" type="disk" order="4"><files_dir path="/e" store_by="x"/></backend>
    <backend id="f" type="disk" order="5" store_by="name"><files_dir paht="/f"/></backend>
    <backend id="g" type="disk" order="6"><files_dir path="/a"/></backend>
  </backends>
</object_store>
"""
BELOW = [
    (3, "is not a whole number", "error"),
    (4, "the id 'a' is taken already", "error"),
    (5, "has no order", "error"),
    (6, "no type of store is called 'dsk'", "error"),
    (6, "is not a whole number", "error"),
    (6, "neither true nor false", "error"),
    (7, "the id 'd' is taken already", "error"),
    (7, "is not known here", "warning"),
    (8, "has no files_dir", "error"),
    (8, "is not known here", "warning"),
    (8, "is not one of id, uuid", "error"),
    (9, "/a is the folder of pool 'a' already", "error"),
]


def lines_of(desk, text: str, name: str) -> list[tuple[int | None, str, str]]:
    return [(problem.line, problem.message, problem.severity) for problem in desk.problems(text, name)]


def assert_are(found, expected):
    left = list(found)
    for line, message, severity in expected:
        match = next((each for each in left if each[0] == line and message in each[1] and each[2] == severity), None)
        assert match, f"{line}: {message} is missing in {left}"
        left.remove(match)
    assert not left, f"nothing else is said: {left}"


def test_below_a_root_that_is_right(desk):
    assert_are(lines_of(desk, MANY.replace("TYPE", "hierarchical"), XML), BELOW)


@pytest.mark.parametrize("word", ["hierachical", "hierarchic", "Hierarchical"])
def test_a_misspelt_router_hides_nothing(desk, word):
    found = lines_of(desk, MANY.replace("TYPE", word), XML)
    assert_are(found, [(1, f"no type of store is called '{word}'", "error"), *BELOW])


@pytest.mark.parametrize("text", ["<object_store>", '<object_store type="">', '<object_store type="nested">'])
def test_a_router_without_a_type_is_taken_for_what_its_children_ask_for(desk, text):
    first = (1, "'nested'" if "nested" in text else "has no type", "error")
    assert_are(lines_of(desk, MANY.replace('<object_store type="TYPE">', text), XML), [first, *BELOW])


def test_another_name_of_the_root_hides_nothing(desk):
    text = MANY.replace("TYPE", "hierarchical").replace("object_store", "objectstore")
    assert_are(lines_of(desk, text, XML), [(1, "the root is <objectstore>", "error"), *BELOW])


def test_what_is_written_instead_fits_what_stands_there(desk):
    def instead(text: str, name: str) -> str | None:
        [about_type] = [problem for problem in desk.problems(text, name) if "type of store" in problem.message]
        return about_type.instead

    weighed = '<object_store type="x"><backends><backend weight="1" type="disk"/></backends></object_store>'
    assert instead(weighed, XML) == 'type="distributed"'
    assert instead("type: x\nbackends: [{type: disk, files_dir: /a, id: a}]\n", YML) == "type: hierarchical"
    assert instead("type: distribute\nbackends: [{type: disk, files_dir: /a, id: a}]\n", YML) == "type: distributed"
    assert instead("type: dsk\nfiles_dir: /a\n", YML) == "type: disk"


def test_an_unknown_medium_brings_no_complaints_about_keys_that_may_be_right(desk):
    text = MANY.replace("TYPE", "hierarchical").replace(
        '<backend id="c" type="disk"><files_dir path="/c"/></backend>',
        '<backend id="c" type="tape" order="2" ordr="2" maxpctfull="x"><drive number="3"/></backend>',
    )
    own = [
        (5, "no type of store is called 'tape'", "error"), (5, "is not a number", "error"),
        (5, "is not known here", "warning"),
    ]  # fmt: skip
    assert_are(lines_of(desk, text, XML), [each for each in BELOW if each[0] != 5] + own)


def test_in_yaml(desk):
    text = (
        "type: hierachical\nbackends:\n- {type: dsk, id: a, files_dir: /a, private: perhaps}\n"
        "- {type: disk, id: a, files_dir: /b}\n- {type: tape, id: c, drive: 3, store_by: x}\n"
    )
    expected = [
        (1, "'hierachical'", "error"), (3, "'dsk'", "error"), (3, "neither true nor false", "error"),
        (4, "is taken already", "error"), (5, "'tape'", "error"), (5, "is not one of id, uuid", "error"),
    ]  # fmt: skip
    assert_are(lines_of(desk, text, YML), expected)


def test_in_our_own(desk):
    text = (
        "pools:\n  a: {type: dsk, files_dir: /a, private: perhaps, ordr: 1}\n  b: {type: tape, drive: 3, store_by: x}\n"
        "  c: {type: distribted, files_dir: /c, order: one}\nplacement: hierarchical\n"
    )
    expected = [
        (2, "'dsk'", "error"), (2, "neither true nor false", "error"), (2, "is not known here", "error"),
        (3, "'tape'", "error"), (3, "is not one of id, uuid", "error"),
        (4, "'distribted'", "error"), (4, "is not a whole number", "error"),
    ]  # fmt: skip
    found = lines_of(desk, text, "holdfast.yml")
    assert_are(found, expected)
