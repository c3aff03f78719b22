"""Files that are out to do harm, or are no configuration at all: refused, quickly, and with a reason."""

from __future__ import annotations

import os
import time

import pytest

XML = "object_store_conf.xml"
YML = "object_store_conf.yml"
STORE = '<object_store type="disk" id="a"><files_dir path="/d"/></object_store>'

BILLION_LAUGHS = (
    '<?xml version="1.0"?>\n<!DOCTYPE lolz [\n<!ENTITY a "ha">\n'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">\n' for n in range(10))
    + ']>\n<object_store type="&k;"/>'
)

HOSTILE_XML = {
    "billion laughs": (BILLION_LAUGHS, 2, "document type"),
    "quadratic": (
        f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]><object_store>{"&a;" * 50_000}</object_store>',
        1,
        "document type",
    ),
    "external entity": (
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<object_store type="&a;"/>',
        1,
        "document type",
    ),
    "parameter entity": (
        '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:1/x">%a;]>\n<object_store/>',
        1,
        "document type",
    ),
    "external document type": (
        '<?xml version="1.0"?>\n<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">\n<object_store/>',
        2,
        "document type",
    ),
    "default attributes": (
        '<!DOCTYPE x [<!ATTLIST object_store type CDATA "disk">]><object_store/>',
        1,
        "document type",
    ),
    "xinclude": (
        '<object_store xmlns:xi="http://www.w3.org/2001/XInclude">\n<xi:include href="/etc/passwd"/></object_store>',
        1,
        "includes are refused",
    ),
    "xinclude, other prefix": (
        '<object_store xmlns:y="http://www.w3.org/2001/XInclude"><y:include href="x"/></object_store>',
        1,
        "includes are refused",
    ),
    "namespace": ('<object_store xmlns="urn:x" type="disk"/>', 1, "namespaces are refused"),
    "stylesheet": (
        '<?xml version="1.0"?>\n<?xml-stylesheet href="x.xsl"?>\n<object_store/>',
        2,
        "processing instructions",
    ),
    "deep": ("<object_store type='hierarchical'>" + "<backends>" * 100_000, 1, "64 levels"),
    "wide": (
        "<object_store type='hierarchical'><backends>" + "<b/>" * 30_000 + "</backends></object_store>",
        1,
        "20000 elements",
    ),
    "utf-7 trick": ('<?xml version="1.0" encoding="utf-7"?>\n+ADw-object_store/+AD4-', 2, "is not XML"),
    "cut off": (STORE[:40], 1, "is not XML"),
}

_WIDE = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)

HOSTILE_YAML = {
    "billion laughs": (_WIDE, None, "50000 values"),
    "merged laughs": (_WIDE.replace("[", "[{k: ").replace("]", "}]"), None, ""),
    "alias of itself": ("type: disk\nx: &x [*x]\n", 2, "refers to itself"),
    "key of itself": ("type: &x {*x : 1}\n", 1, "refers to itself"),
    "deep flow": ("type: " + "[" * 100_000, 1, "64 levels"),
    "deep mapping": ("type: " + "{a: " * 50_000, 1, "64 levels"),
    "deep block": ("".join(" " * n + "a:\n" for n in range(200)), None, "64 levels"),
    "python object": ("type: !!python/object/new:os.system [echo]\n", 1, "has the tag"),
    "many": ("type: [" + "a, " * 60_000 + "]\n", 1, "50000 values"),
    "mapping as a key": ("? {a: b}\n: c\n", 1, "a key must be a plain text"),
    "list as a key": ("? [a]\n: c\n", 1, "a key must be a plain text"),
    "control character": ("type: disk\nid: a\x07\n", 2, "U+0007"),
    "escaped control character": ('type: disk\nid: "a\\x07"\n', 2, "U+0007"),
    "escaped surrogate": ('type: disk\nid: "\\ud800"\n', 2, ""),
    "merge of a text": ("type: disk\n<<: text\n", 2, "<< takes a mapping"),
    "huge number": (
        "type: disk\nfiles_dir: /d\nid: a\nmax_percent_full: " + "9" * 10_000 + "\n",
        4,
        "is not a number",
    ),
    "huge directive": ("%YAML 99999999999999999999.1\n---\ntype: disk\n", None, ""),
}


def check(desk, text, name, line, message):
    started = time.perf_counter()
    problems = desk.problems(text, name)
    assert time.perf_counter() - started < 5
    assert message in problems[0].message, problems[0]
    assert line is None or problems[0].line == line
    assert all(len(str(problem)) < 1000 for problem in problems)


@pytest.mark.parametrize("case", HOSTILE_XML)
def test_hostile_xml_is_refused(desk, case):
    text, line, message = HOSTILE_XML[case]
    check(desk, text, XML, line, message)


@pytest.mark.parametrize("case", HOSTILE_YAML)
def test_hostile_yaml_is_refused(desk, case):
    text, line, message = HOSTILE_YAML[case]
    check(desk, text, YML, line, message)


def test_more_pools_than_anybody_has(desk):
    def pools(count: int) -> str:
        return "".join(f"- {{id: p{n}, type: disk, weight: 1, files_dir: /a/{n}x}}\n" for n in range(count))

    started = time.perf_counter()
    assert len(desk.read("type: distributed\nbackends:\n" + pools(1000), YML).pools()) == 1000
    (problem,) = desk.problems("type: distributed\nbackends:\n" + pools(1001), YML)
    assert "1001 pools; 1000 are allowed" in problem.message
    assert time.perf_counter() - started < 20


LONG_NAME = "x" * 300


def test_names_longer_than_a_file_system_takes(desk):
    config = desk.read("type: boto3\nid: a\nbucket: {name: b}\nauth: {secret_key: 'file:" + LONG_NAME + "'}\n", YML)
    assert any("there is no file" in note.message for note in config.notes)
    for key in ("file_sources", "object_store"):
        problems = desk.problems(f"{key}: {LONG_NAME}\npools: {{a: {{type: disk, files_dir: /a}}}}\n")
        assert problems


@pytest.mark.parametrize("name", [XML, YML])
def test_what_is_said_stays_short(desk, name):
    long = "x" * 1_000_000
    text = f'<object_store type="{long}" {long}="{long}" id="{long}"/>' if name == XML else f"type: {long}\n"
    for problem in desk.problems(text, name):
        assert len(str(problem)) < 1500


def test_hostile_xml_inside_a_document_is_refused(desk):
    desk.write(BILLION_LAUGHS, XML)
    problem = desk.problems(f"object_store: {XML}\n")[0]
    assert (problem.file, problem.line) == (XML, 2)


def test_the_words_of_a_document_type_in_a_comment_do_no_harm(desk):
    text = f'<!-- <!DOCTYPE x [<!ENTITY a "b">]> <?php ?> -->\n{STORE}'
    assert desk.read(text, XML).pools()[0].object_store_id == "a"


def test_entities_that_xml_itself_has_are_read(desk):
    text = STORE.replace("/d", "/a&amp;b&#x2f;&lt;c")
    assert desk.read(text, XML).pools()[0].files_dir == "/a&b/<c"


def test_small_aliases_and_merge_keys_are_read(desk):
    text = (
        "type: distributed\nbackends:\n"
        "- &one {id: one, type: disk, weight: 2, files_dir: /one, store_by: uuid}\n"
        "- {<<: *one, id: two, files_dir: /two}\n"
    )
    first, second = desk.read(text, YML).tree.children
    assert (first.weight, first.pool.store_by, first.pool.files_dir) == (2, "uuid", "/one")
    assert (second.weight, second.pool.store_by, second.pool.files_dir) == (2, "uuid", "/two")


FILES = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "only a comment": (b"# nothing\n", "nothing"),
    "nul": (b"type: disk\n\0\n", "NUL byte"),
    "not utf-8": (b"type: disk\nname: \xe9t\xe9\n", "is not UTF-8: the byte 0xe9"),
    "utf-16": ("type: disk\n".encode("utf-16"), "is UTF-16"),
    "binary": (bytes(range(256)) * 100, ""),
    "too large": (b"#" * (4 * 1024 * 1024 + 1), "is larger than 4 MiB"),
}


@pytest.mark.parametrize("name", [XML, YML, "holdfast.yml"])
@pytest.mark.parametrize("case", FILES)
def test_no_text_file(desk, case, name):
    data, message = FILES[case]
    problems = desk.problems(data, name)
    if not (case == "only a comment" and name == XML):
        assert message in problems[0].message


def test_a_byte_order_mark_does_no_harm(desk):
    assert desk.read(b"\xef\xbb\xbf" + STORE.encode(), XML).pools()[0].object_store_id == "a"


def test_a_hundred_megabytes_are_refused_without_reading_them(desk):
    path = desk.folder / YML
    with path.open("wb") as stream:
        stream.truncate(100 * 1024 * 1024)
    started = time.perf_counter()
    problem = desk.problems("object_store: " + YML)[0]
    assert "is larger than 4 MiB" in problem.message
    assert time.perf_counter() - started < 2


def test_what_is_no_ordinary_file(desk):
    os.mkfifo(desk.folder / "pipe.yml")
    (desk.folder / "folder.yml").mkdir()
    for name in ("pipe.yml", "/dev/zero"):
        assert "is not an ordinary file" in desk.problems(f"object_store: {name}\n")[0].message
    assert "is a folder" in desk.problems("object_store: folder.yml\n")[0].message
