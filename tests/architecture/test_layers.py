"""Each layer has decided about each method of `Driver`, in its own body; and no layer knows another.

A layer that inherits a method, or forwards what it does not know by `__getattr__`, passes on by accident what it should
have retried, limited, counted or kept. A method that is added to the contract makes every layer fail here.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import holdfast.layers
from holdfast.stores.base import Driver, Store

PACKAGE = Path(holdfast.layers.__file__).parent
BY_ITSELF = ("__getattr__", "__getattribute__")


def layers() -> list[type[Driver]]:
    """Every driver that is defined in holdfast.layers."""
    found = []
    for module in pkgutil.walk_packages(holdfast.layers.__path__, "holdfast.layers."):
        for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if one.__module__ == module.name and issubclass(one, Store):
                found.append(one)
    return sorted(found, key=lambda one: one.__qualname__)


def methods() -> list[str]:
    """What the contract asks of a driver."""
    return sorted(
        name
        for cls in (Store, Driver)
        for name, member in vars(cls).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property))
    )


def test_there_is_something_to_look_at():
    assert len(methods()) > 20
    assert {"stat", "open", "put", "list", "name", "capabilities", "usage", "mark"} <= set(methods())
    assert "RetriedDriver" in [one.__name__ for one in layers()]


@pytest.mark.parametrize("layer", layers(), ids=lambda one: one.__name__)
def test_it_has_decided_about_every_method(layer: type[Driver]):
    undecided = [name for name in methods() if name not in vars(layer)]
    assert not undecided, f"{layer.__name__} inherits {undecided}: write down what it does with each"
    catch_all = [name for name in BY_ITSELF if name in vars(layer)]
    assert not catch_all, f"{layer.__name__} has {catch_all}: it would forward what nobody decided about"


@pytest.mark.parametrize("layer", layers(), ids=lambda one: one.__name__)
def test_it_asks_for_what_the_contract_asks_for(layer: type[Driver]):
    for name in methods():
        ours, theirs = vars(layer)[name], getattr(Driver, name)
        if isinstance(theirs, property):
            assert isinstance(ours, property), name
            continue
        shape = [(one.name, one.kind, one.default) for one in inspect.signature(ours).parameters.values()]
        expected = [(one.name, one.kind, one.default) for one in inspect.signature(theirs).parameters.values()]
        assert shape == expected, f"{layer.__name__}.{name}"


@pytest.mark.parametrize("layer", layers(), ids=lambda one: one.__name__)
def test_it_has_exactly_one_inner_driver(layer: type[Driver]):
    assert issubclass(layer, Driver)
    parameters = list(inspect.signature(layer).parameters.values())
    drivers = [one.name for one in parameters if one.annotation in ("Driver", "Store")]
    assert drivers == ["inner"] == [parameters[0].name]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_it_knows_no_other_layer(path: Path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("holdfast.layers."):
                assert name.split(".")[2] == own, f"{path.name}:{node.lineno} imports {name}"
