"""Mistakes in Galaxy's XML and YAML: each with its file, its line, its place and what to write instead."""

from __future__ import annotations

import pytest

XML = "object_store_conf.xml"
YML = "object_store_conf.yml"


def hierarchical(*backends: str) -> str:
    """An XML file whose first backend stands in line 3."""
    inside = "\n".join(backends)
    return f'<object_store type="hierarchical">\n<backends>\n{inside}\n</backends>\n</object_store>\n'


def distributed(*backends: str) -> str:
    return hierarchical(*backends).replace("hierarchical", "distributed")


def disk(attributes: str, files_dir: str = "/d", inside: str = "") -> str:
    return f'<backend type="disk" {attributes}><files_dir path="{files_dir}"/>{inside}</backend>'


GOOD = disk('id="good" order="0"', "/good")

XML_ERRORS = [
    # text, line, where, message, instead
    (hierarchical(GOOD, disk('id="a"')), 4, 'backend "a"', "has no order", 'order="1"'),
    (
        hierarchical(GOOD, disk('id="a" order="one"')),
        4,
        'backend "a", order',
        "not a whole number",
        'order="0"',
    ),
    (
        hierarchical(GOOD, disk('id="good" order="1"')),
        4,
        'backend "good", id',
        "taken already, in line 3",
        "an id of its own",
    ),
    (
        hierarchical(GOOD, '<backend id="a" order="1" type="disc"/>'),
        4,
        'backend "a"',
        "no type of store is called 'disc'",
        'type="disk"',
    ),
    (hierarchical(GOOD, '<backend id="a" order="1"/>'), 4, 'backend "a"', "has no type", 'type="disk"'),
    (
        hierarchical(GOOD, '<backend id="a" order="1" type="disk"/>'),
        4,
        'backend "a"',
        "has no files_dir: Galaxy takes file_path",
        '<files_dir path="/data2"/>',
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1" store_by="x"')),
        4,
        'backend "a", store_by',
        "not one of id, uuid",
        'store_by="id"',
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1" private="x"')),
        4,
        'backend "a", private',
        "neither true nor false",
        'private="true"',
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1" maxpctfull="x"')),
        4,
        'backend "a", maxpctfull',
        "not a number",
        'maxpctfull="90"',
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1" maxpctfull="120"')),
        4,
        "maxpctfull",
        "between 0 and 100",
        'maxpctfull="90"',
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1"', "")),
        4,
        'backend "a", <files_dir> path',
        "is empty",
        '<files_dir path="/data2"/>',
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1"', "{{ dir }}")),
        4,
        "<files_dir> path",
        "template's placeholder",
        "render it first",
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1"', "/d", '<files_dir path="/e"/>')),
        4,
        'backend "a", <files_dir>',
        "written twice",
        "it once",
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1"', "/d", '<extra_dir path="/e"/>')),
        4,
        'backend "a", <extra_dir>',
        "a type and a path",
        '<extra_dir type="job_work"',
    ),
    (
        hierarchical(
            GOOD,
            disk(
                'id="a" order="1"',
                "/d",
                '<extra_dir type="temp" path="/e"/><extra_dir type="temp" path="/f"/>',
            ),
        ),
        4,
        "<extra_dir>",
        "temp is given twice",
        "one folder for each",
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1"', "/d", "<badges><fast/></badges>")),
        4,
        'backend "a", <badges>, <fast>',
        "'fast' is not known",
        "<faster>",
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1"', "/d", "<badges><faster/><slower/></badges>")),
        4,
        "<slower>",
        "slower contradicts faster",
        "one of the two",
    ),
    (
        hierarchical(GOOD, disk('id="a" order="1"', "/d", '<quota enabled="perhaps"/>')),
        4,
        "<quota> enabled",
        "neither true nor false",
        '<quota enabled="true"/>',
    ),
    (distributed(GOOD, disk("")), 4, "backend 2", "has no id: datasets are recorded under it", 'id="d"'),
    (distributed(GOOD, disk('id="a" weight="-1"')), 4, 'backend "a", weight', "is negative", 'weight="0"'),
    (
        distributed(disk('id="a" weight="0"'), disk('id="b" weight="0"', "/e")),
        1,
        "the root",
        "no new dataset can go anywhere",
        'weight="1"',
    ),
    (
        distributed(GOOD, disk('id="a"', "/good")),
        4,
        'backend "a", <files_dir> path',
        "folder of pool 'good' already, in line 3",
        "a folder of its own",
    ),
    (
        distributed(GOOD, disk('id="a"', "/good/000/x")),
        4,
        'backend "a"',
        "where that pool's datasets lie",
        "a folder outside",
    ),
    (
        distributed(GOOD, disk('id="a"', "/d", '<extra_dir type="job_work" path="/good/000"/>')),
        4,
        "<extra_dir>",
        "lies among the datasets of pool 'good'",
        "/good/job_work_dir",
    ),
    (
        distributed(GOOD, disk('id="a"', "/d", '<extra_dir type="job_work" path="/good"/>')),
        4,
        "<extra_dir>",
        "at once",
        "/good/job_work_dir",
    ),
    ("<object_store>\n</object_store>", 1, "the root", "has no type", 'type="disk"'),
    ('<object_store type="hierarchical">\n</object_store>', 1, "the root", "has no <backends>", "<backends>"),
    (
        '<object_store type="hierarchical">\n<backends>\n</backends></object_store>',
        2,
        "the root, <backends>",
        "holds no <backend>",
        "<backend …/>",
    ),
    ('<toolbox type="disk"/>', 1, "<toolbox>", "not an object store", "<object_store"),
    (
        '<object_store type="disk">\n  <files_dir path="/x">\n</object_store>',
        3,
        "",
        "is not XML: mismatched tag",
        "closed by its own",
    ),
    ("<object_store type=disk/>", 1, "", "is not XML: not well-formed", "quotes"),
    ('<object_store type="disk"><files_dir path="/a&b"/></object_store>', 1, "", "is not XML", "&amp;"),
    (
        '<object_store type="disk"><files_dir path="/a&bc;"/></object_store>',
        1,
        "",
        "undefined entity",
        "&amp;",
    ),
    ('\n<?xml version="1.0"?>\n<object_store type="disk"/>', 2, "", "not at start", "very first"),
    (
        distributed(GOOD, '<backend id="s" type="s3"><auth/><bucket name="b"/><connection port="x"/></backend>'),
        4,
        'backend "s", <connection> port',
        "not a whole number",
        '<connection port="443"/>',
    ),
    (
        distributed(GOOD, '<backend id="s" type="s3"><auth/><bucket/></backend>'),
        4,
        'backend "s"',
        "has no bucket.name",
        '<bucket name="…"/>',
    ),
    (
        distributed(
            GOOD,
            '<backend id="s" type="s3"><bucket name="b"/></backend>',
            '<backend id="t" type="aws_s3">\n<bucket name="b"/></backend>',
        ),
        6,
        'backend "t", <bucket> name',
        "same place as 's', in line 4",
        "a bucket of its own",
    ),
]


@pytest.mark.parametrize(("text", "line", "where", "message", "instead"), XML_ERRORS)
def test_mistake_in_xml(desk, text, line, where, message, instead):
    errors = [problem for problem in desk.problems(text, XML) if problem.severity == "error"]
    found = [problem for problem in errors if message in problem.message]
    assert found, "\n".join(map(str, errors))
    assert (found[0].file, found[0].line) == (XML, line)
    assert where in found[0].where
    assert instead in (found[0].instead or "")


YAML_ERRORS = [
    ("type: distributed\n", 1, "the root", "has no backends", "backends: ["),
    ("type: distributed\nbackends: []\n", 2, "backends", "has no backends", "backends: ["),
    ("type: distributed\nbackends: [disk]\n", 2, "backends[0]", "takes the keys of a store", "type: disk"),
    (
        "type: hierarchical\nbackends:\n- {type: disk, id: a, files_dir: /a}\n- {type: disk, id: a, files_dir: /b}\n",
        4,
        "backends[1].id",
        "taken already, in line 3",
        "an id of its own",
    ),
    (
        "type: distributed\nbackends:\n- {type: disk, weight: 1, files_dir: /a}\n",
        3,
        "backends[0]",
        "has no id",
        "id: a",
    ),
    (
        "type: distributed\nbackends:\n- {type: disk, id: a, weight: x, files_dir: /a}\n",
        3,
        "backends[0].weight",
        "not a number",
        "weight: 1",
    ),
    (
        "type: distributed\nbackends:\n- {id: a, weight: 1, bucket: {name: b}}\n",
        3,
        "backends[0] (a)",
        "has no type",
        "type: disk",
    ),
    ("type: disk\n", 1, "the root", "has no files_dir", "files_dir: /data2"),
    ("type: [disk]\n", 1, "the root", "has no type", "type: disk"),
    ("type: s3\nid: s\nbucket: b\n", 3, "bucket", "takes keys with values", "bucket: {…}"),
    (
        "type: boto3\nid: s\nbucket: {name: b}\ntransfer: {max_concurrency: many}\n",
        4,
        "transfer.max_concurrency",
        "not a whole number",
        "transfer: {max_concurrency",
    ),
    (
        "type: rucio\nid: s\naccount: a\nauth_host: https://a\nhost: https://b\ndownload_schemes: [{rse: X}]\n",
        6,
        "download_schemes[0]",
        "lacks scheme",
        "",
    ),
    (
        "type: disk\nid: a\nfiles_dir: /a\nfiles_dir: /b\n",
        4,
        "files_dir",
        "written twice; the first time in line 3",
        "it once",
    ),
    (
        "type: disk\nid: a\nfiles_dir: !include x.yml\n",
        3,
        "files_dir",
        "has the tag '!include'",
        "without a tag",
    ),
    (
        "type: disk\nid: a\nfiles_dir: !!python/object/apply:os.system [id]\n",
        3,
        "files_dir",
        "has the tag",
        "without a tag",
    ),
    ("type: disk\n---\ntype: disk\n", 2, "", "a second document", "one document"),
    ("type: disk\n\tid: a\n", 2, "", "is not YAML", "spaces instead of tabs"),
    ("type: disk\nid: a: b\n", 2, "", "is not YAML", "in quotes"),
    ("type: disk\nfiles_dir: *x\n", 2, "files_dir", "has no anchor &x", ""),
]


@pytest.mark.parametrize(("text", "line", "where", "message", "instead"), YAML_ERRORS)
def test_mistake_in_yaml(desk, text, line, where, message, instead):
    errors = [problem for problem in desk.problems(text, YML) if problem.severity == "error"]
    found = [problem for problem in errors if message in problem.message]
    assert found, "\n".join(map(str, errors))
    assert (found[0].file, found[0].line) == (YML, line)
    assert where in found[0].where
    assert instead in (found[0].instead or "")


NOTES = [
    # text, name, line, severity, message, instead
    (
        hierarchical(disk('id="a" order="1"'), disk('id="b" order="1"', "/e")),
        XML,
        4,
        "warning",
        'the same order 1 as backend "a"',
        "an order of its own",
    ),
    (
        hierarchical(disk('id="a" order="0" weight="0"')),
        XML,
        3,
        "warning",
        "so new datasets come here too",
        "read-only",
    ),
    (hierarchical(disk('id="a" order="0" wait="0"')), XML, 3, "warning", "is not known here", 'weight="1"'),
    (
        hierarchical(disk('id="a" order="0" files_dir="/x"')),
        XML,
        3,
        "warning",
        "is not known here",
        '<files_dir path="/data2"/>',
    ),
    (
        hierarchical(disk('id="a" order="0" max_percent_full="80"')),
        XML,
        3,
        "note",
        "Galaxy does not look at this",
        "",
    ),
    (hierarchical(disk('id="a" order="0"', "/d", "<jobs/>")), XML, 3, "warning", "is not known here", None),
    (hierarchical(disk('id="a" order="0"', "d")), XML, 3, "note", "a relative path", "an absolute path"),
    (
        hierarchical(disk('id="a" order="0"', "/${x}")),
        XML,
        3,
        "warning",
        "is not replaced",
        "the path itself",
    ),
    (hierarchical(disk('order="0"')), XML, 3, "warning", "it is called 'd'", 'id="d"'),
    (
        hierarchical('<backend id="a" order="0"><files_dir path="/d"/></backend>'),
        XML,
        3,
        "warning",
        "has no type",
        'type="disk"',
    ),
    (hierarchical("<pool/>", GOOD), XML, 3, "warning", "is not a store", "<backend"),
    (
        hierarchical(disk('id="a" order="0"'), disk('id="b" order="1"', "/d/sub")),
        XML,
        4,
        "warning",
        "lies inside /d",
        "a folder outside",
    ),
    (distributed(disk('id="a" order="3"')), XML, 3, "note", "order means nothing below a distributed", None),
    (
        "<object_store type='disk' id='a'>words<files_dir path='/d'/></object_store>",
        XML,
        1,
        "warning",
        "the text 'words' means nothing",
        None,
    ),
    ("type: disk\nid: a\nfiles_dir: /a\nfile_dir: /b\n", YML, 4, "warning", "is not known here", "files_dir"),
    ("type: disk\nid: a\nfiles_dir: /a\nweight: 1\n", YML, 4, "note", "means nothing at the root", None),
    ("type: disk\nid: a\nfiles_dir: /a\nname:\n", YML, 4, "note", "has no value", None),
    (
        "type: hierarchical\nbackends:\n- {type: disk, id: a, files_dir: /a, order: 2}\n",
        YML,
        3,
        "note",
        "the order of the list decides",
        None,
    ),
    (
        "type: hierarchical\nbackends:\n- {type: disk, id: a, files_dir: /a, private: true}\n",
        YML,
        3,
        "note",
        "Galaxy refuses a private that differs",
        None,
    ),
    (
        "type: distributed\nbackends:\n- {id: a, files_dir: /a, weight: 1}\n",
        YML,
        3,
        "warning",
        "Galaxy cannot load this",
        "type: disk",
    ),
    (
        "type: distributed\nbackends:\n- {id: a, type: disk, files_dir: /a}\n",
        YML,
        3,
        "note",
        "has no weight",
        "weight: 1",
    ),
    (
        "type: boto3\nid: a\nbucket: {name: b}\nmax_percent_full: 80\n",
        YML,
        4,
        "warning",
        "does not say how full it is",
        "capacity: 10 TiB",
    ),
    (
        "type: boto3\nid: a\nbucket: {name: b}\nauth: {secret_key: '${X}'}\n",
        YML,
        4,
        "warning",
        "is not replaced",
        "env:NAME",
    ),
    (
        "type: boto3\nid: a\nbucket: {name: b}\ncache: {path: /c, size: -1}\n",
        YML,
        4,
        "note",
        "for unbounded",
        "size: 100",
    ),
    (
        "type: disk\nid: a\nfiles_dir: /a\nextra_dirs: [{type: jobwork, path: /j}]\n",
        YML,
        4,
        "warning",
        "nothing uses",
        "job_work",
    ),
    (
        "type: disk\nid: a\nfiles_dir: /a\nbadges: [{type: quota, source: galaxy}]\n",
        YML,
        4,
        "note",
        "that Galaxy gives by itself",
        None,
    ),
]


@pytest.mark.parametrize(("text", "name", "line", "severity", "message", "instead"), NOTES)
def test_what_is_read_all_the_same_but_said(desk, text, name, line, severity, message, instead):
    notes = desk.read(text, name).notes
    found = [note for note in notes if message in note.message]
    assert found, "\n".join(map(str, notes))
    assert (found[0].line, found[0].severity) == (line, severity)
    assert instead is None or instead in (found[0].instead or "")


def test_mistakes_of_an_included_file_come_with_those_of_the_document(desk):
    desk.write(hierarchical(GOOD, disk('id="a" order="x"')), XML)
    problems = desk.problems(f"stat_dir: /x\nobject_store: {XML}\nserver: {{port: x}}\n")
    assert [(problem.file, problem.line) for problem in problems if problem.severity == "error"] == [
        ("holdfast.yml", 1),
        ("holdfast.yml", 3),
        (XML, 4),
    ]


def test_attributes_are_found_in_their_own_lines(desk):
    text = '<object_store\n  id="a"\n  type="disk"\n  store_by="never"\n>\n<files_dir\n path=""/></object_store>'
    assert [(problem.line, problem.where) for problem in desk.problems(text, XML)] == [
        (4, "the root, store_by"),
        (7, "the root, <files_dir> path"),
    ]


@pytest.mark.parametrize("inner", ["object_store: other.xml\n", "pools: {a: {type: disk, files_dir: /a}}\n"])
def test_our_own_document_is_no_object_store_file(desk, inner):
    desk.write(inner, "inner.yml")
    problem = desk.problems("object_store: inner.yml\n")[0]
    assert "is no Galaxy file" in problem.message


def test_a_document_that_includes_itself_ends(desk):
    assert "is no Galaxy file" in desk.problems("object_store: holdfast.yml\n")[0].message


def test_pools_here_and_there(desk):
    desk.write(hierarchical(GOOD), XML)
    problem = desk.problems(f"object_store: {XML}\npools: {{a: {{type: disk, files_dir: /a}}}}\n")[0]
    assert "in a file of their own" in problem.message


def test_a_missing_object_store_file(only_problem, desk):
    problem = next(each for each in desk.problems("object_store: nothing.xml\n"))
    assert (problem.file, problem.line, problem.where) == ("holdfast.yml", 1, "object_store")
    assert "there is no file nothing.xml" in problem.message
    assert "object_store_conf.xml" in (problem.instead or "")
