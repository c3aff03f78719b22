"""Whatever stands in a file: reading gives a configuration or `ConfigError`, and what it gives is stable."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.config.document import HoldfastConfig
from holdfast.config.expand import render_document, to_document
from holdfast.config.read import read_document
from holdfast.config.vocabulary import TYPE_ALIASES, TYPE_KEYS, keys_of
from holdfast.config.vocabulary_document import DOCUMENT_KEYS
from holdfast.errors import ConfigError

NAMES = ("holdfast.yml", "object_store_conf.yml", "object_store_conf.xml")
WORDS = sorted(
    {part for kind in TYPE_KEYS for key in keys_of(kind) for part in key.name.split(".")}
    | {part for key in DOCUMENT_KEYS for part in key.name.split(".")}
    | {"backends", "backend", "hierarchical", "distributed", "pool", "maxpctfull", *TYPE_KEYS, *TYPE_ALIASES}
)
VALUES = (
    "disk",
    "/data",
    "0",
    "-1",
    "1",
    "90",
    "true",
    "uuid",
    "200 GiB",
    "env:X",
    "~",
    "",
    "a b",
    "{{ x }}",
    "é",
    "\t",
)

thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(data: bytes, name: str) -> HoldfastConfig | None:
    """The configuration, or None if it was refused properly."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        try:
            return read_document(Path(name), environ={}, cwd=Path(folder), state=Path("/state"))
        except ConfigError as error:
            refused = error
    assert any(problem.severity == "error" for problem in refused.problems)
    assert all(problem.file and problem.message for problem in refused.problems)
    return None


def check(data: bytes, name: str) -> None:
    config = read(data, name)
    if config is not None:
        again = render_document(to_document(config, secrets="shown"))
        assert read(again.encode(), "holdfast.yml") == config, again


@thorough
@given(st.binary(max_size=400), st.sampled_from(NAMES))
def test_any_bytes(data: bytes, name: str):
    check(data, name)


@thorough
@given(st.text(max_size=400), st.sampled_from(NAMES))
def test_any_text(text: str, name: str):
    check(text.encode(), name)


scalars = st.one_of(st.sampled_from(VALUES), st.sampled_from(WORDS), st.text(max_size=8))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), inner, max_size=6),
    ),
    max_leaves=25,
)


def as_yaml(node: object) -> str:
    if isinstance(node, dict):
        return "{" + ", ".join(f"{quoted(key)}: {as_yaml(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(as_yaml, node)) + "]"
    return quoted(str(node))


def quoted(text: str) -> str:
    return text if text.isalnum() and text.isascii() else "'" + text.replace("'", "''") + "'"


@thorough
@given(st.dictionaries(st.sampled_from([*WORDS, "pools", "placement", "type", "backends"]), trees, max_size=8))
def test_any_yaml_of_known_words(tree: dict[str, object]):
    check(as_yaml(tree).encode(), "holdfast.yml")
    check(as_yaml({"type": "distributed", **tree}).encode(), "object_store_conf.yml")


pool_keys = st.dictionaries(st.sampled_from([*WORDS, "files_dir"]), trees, max_size=8)


@thorough
@given(
    st.dictionaries(st.sampled_from("abc"), pool_keys, min_size=1),
    st.sampled_from(sorted({*TYPE_KEYS, *TYPE_ALIASES})),
    trees,
)
def test_any_pools(pools: dict[str, dict[str, object]], kind: str, placement: object):
    for name, pool in pools.items():
        pool.update({"type": kind, "files_dir": f"/{name}"} if kind == "disk" else {"type": kind})
    document = {"pools": pools, "placement": placement if len(str(placement)) % 2 else "distributed"}
    check(as_yaml(document).encode(), "holdfast.yml")


attributes = st.dictionaries(
    st.sampled_from(WORDS), st.one_of(st.sampled_from(VALUES), st.text(max_size=6)), max_size=5
)
elements = st.recursive(
    st.tuples(st.sampled_from(WORDS), attributes, st.just([])),
    lambda inner: st.tuples(st.sampled_from(WORDS), attributes, st.lists(inner, max_size=4)),
    max_leaves=12,
)


def as_xml(element: tuple[str, dict[str, str], list]) -> str:
    tag, given_attributes, children = element
    pairs = "".join(f' {name}="{escaped(text)}"' for name, text in given_attributes.items())
    return f"<{tag}{pairs}>{''.join(map(as_xml, children))}</{tag}>"


def escaped(text: str) -> str:
    return "".join(char if char.isalnum() and char.isascii() else f"&#{ord(char)};" for char in text)


@thorough
@given(st.sampled_from(["disk", "hierarchical", "distributed", "boto3"]), st.lists(elements, max_size=5))
def test_any_xml_of_known_words(kind: str, children: list):
    inside = "".join(map(as_xml, children))
    check(f'<object_store type="{kind}" id="x">{inside}</object_store>'.encode(), "object_store_conf.xml")
    tree = f'<object_store type="{kind}"><backends>{inside}</backends></object_store>'
    check(tree.encode(), "object_store_conf.xml")


sizes = st.integers(min_value=0, max_value=2**62)


@thorough
@given(
    folders=st.lists(st.text(alphabet="abc/. -_é:#'\"", min_size=1, max_size=12), min_size=1, max_size=4, unique=True),
    capacity=sizes,
    weight=st.one_of(st.integers(0, 9), st.floats(0, 10, allow_nan=False)),
    percent=st.floats(0.001, 100),
    description=st.text(max_size=60),
    kind=st.sampled_from(["hierarchical", "distributed"]),
)
def test_values_that_are_right_come_through(folders, capacity, weight, percent, description, kind):
    pools = {
        f"pool{number}": {
            "type": "disk",
            "files_dir": f"/base{number}/{folder}",
            "capacity_bytes": capacity,
            "weight": weight if number else 1,
            "max_percent_full": percent,
            "description": description,
        }
        for number, folder in enumerate(folders)
    }
    text = render_document({"pools": pools, "placement": kind, "state_dir": "/state"})
    config = read(text.encode(), "holdfast.yml")
    if config is None:
        return
    for pool in config.pools():
        assert pool.capacity_bytes == capacity
        assert pool.max_percent_full == percent
    check(text.encode(), "holdfast.yml")
