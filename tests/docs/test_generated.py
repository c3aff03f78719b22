"""The generated pages are what the code says now, and lack nothing."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
from docs.making import advice, errors, http, reference
from docs.making.throwaway import throwaway_hold
from fastapi.routing import APIRoute
from tests.docs.pages import DOCS, REFERENCE, ROOT, anchors_of, text_of

from holdfast import errors as tree
from holdfast.catalog import schema
from holdfast.cli.tree import commands
from holdfast.config.vocabulary import POOL_KEYS, ROUTER_KEYS, TYPE_KEYS
from holdfast.config.vocabulary_document import DOCUMENT_KEYS
from holdfast.errors import OUTCOMES, HoldfastError
from holdfast.hold.hold import Hold

AGAIN = "write it again: make docs"


@pytest.mark.parametrize("name", sorted(reference.MAKERS))
def test_page_is_up_to_date(name: str):
    assert text_of(REFERENCE / name) == reference.MAKERS[name](), AGAIN


def test_no_page_is_left_over():
    assert {path.name for path in REFERENCE.glob("*.md")} == set(reference.MAKERS)


def test_every_command_is_there():
    text = text_of(REFERENCE / "cli.md")
    missing = [" ".join(words) for words, _ in commands() if f"\n### {' '.join(words)}\n" not in text]
    assert not missing


def test_every_key_of_a_document_is_there():
    text = text_of(REFERENCE / "configuration.md")
    keys = {key.name for key in (*DOCUMENT_KEYS, *POOL_KEYS, *ROUTER_KEYS)}
    keys |= {key.name for of_type in TYPE_KEYS.values() for key in of_type}
    assert len(keys) > 50
    assert not [key for key in sorted(keys) if f"| `{key}` |" not in text]


def test_every_route_is_there():
    text = text_of(REFERENCE / "http.md")
    from holdfast.server.app import create_app

    with throwaway_hold() as hold:
        found = {
            (method, route.path.replace(":path}", "}"))
            for route in _routes(create_app(hold).api.routes)
            if route.include_in_schema
            for method in route.methods
        }
    assert len(found) > 20
    assert not [f"{method} {path}" for method, path in sorted(found) if f"\n### {method} {path}\n" not in text]


def test_every_route_says_what_it_does():
    silent = [f"{method} {path}" for method, path, route in http.routes(http.openapi()) if not route.get("description")]
    assert not silent, "these routes have no docstring"


def test_every_error_class_is_there():
    text, anchors = text_of(REFERENCE / "errors.md"), anchors_of(REFERENCE / "errors.md")
    classes = [one for one in vars(tree).values() if inspect.isclass(one) and issubclass(one, HoldfastError)]
    assert len(classes) > 15
    for one in classes:
        assert one in OUTCOMES, f"{one.__name__} has no outcome of its own"
        assert f"`{one.__name__}`" in text
        assert OUTCOMES[one].page.partition("#")[2] in anchors


def test_every_error_has_advice():
    assert set(errors.anchors().values()) == set(advice.ADVICE)


def test_every_page_that_an_error_names_is_there():
    """The anchors that stand in the code, also of those that only the command line has."""
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        named |= set(re.findall(r'"errors#([a-z-]+)"', path.read_text(encoding="utf-8")))
    assert {"not-found", "usage"} <= named
    assert named <= anchors_of(REFERENCE / "errors.md")


def test_every_public_method_of_hold_is_there():
    text = text_of(REFERENCE / "python.md")
    public = [name for name in vars(Hold) if not name.startswith("_")]
    assert len(public) > 20
    assert not [name for name in public if f"\n### Hold.{name}\n" not in text]


def test_every_public_method_of_hold_says_what_it_does():
    silent = [
        name
        for name, found in vars(Hold).items()
        if not name.startswith("_") and not inspect.getdoc(found.fget if isinstance(found, property) else found)
    ]
    assert not silent


def test_every_table_is_there():
    text = text_of(REFERENCE / "catalog.md")
    assert not [name for name in schema.metadata.tables if f"\n## {name}\n" not in text]
    assert "| `owner`? | text |" in text, "columns, their types and whether they may be null"
    assert "the mark that the medium carries" in text, "the comments beside the columns"


def test_generating_touches_nothing_else():
    """`make docs` writes reference pages; whoever writes by hand writes elsewhere."""
    assert all("make docs" in text_of(path) for path in REFERENCE.glob("*.md"))
    others = [path for path in DOCS.rglob("*.md") if path.parent != REFERENCE]
    assert not [path for path in others if "<!-- Made from" in text_of(path)]


def _routes(routes: list) -> Iterator[APIRoute]:
    """The routes of an application, also of routers inside it."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router") and route.original_router.include_in_schema:
            yield from _routes(route.original_router.routes)
