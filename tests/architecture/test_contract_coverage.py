"""Every driver, layer and source, and the catalog, is held to its suite by a class in tests/contract/, or in
tests/servers/ where it talks to a server.

A suite is a class of holdfast.testing whose name ends in `Contract`. Held to it is what a test file of
these folders imports, if that file has a class that derives from a suite.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "holdfast"
NOT_CONCRETE = {"__init__", "base"}


def concrete_modules() -> list[str]:
    """Each driver, layer and source, a module or a package where one grew long; and the SQL catalog."""
    found = []
    for room in ("drivers", "layers", "sources"):
        for path in sorted((PACKAGE / room).glob("*")):
            is_one = path.suffix == ".py" or (path / "__init__.py").exists()
            if is_one and path.stem not in NOT_CONCRETE and not path.stem.startswith("_"):
                found.append(f"holdfast.{room}.{path.stem}")
    return found


def imports_beside_suites() -> set[str]:
    """What the files of these folders import that have a class derived from some `...Contract`."""
    found: set[str] = set()
    for path in [file for room in ("contract", "servers") for file in (ROOT / "tests" / room).rglob("*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        bases = [ast.unparse(base) for node in nodes if isinstance(node, ast.ClassDef) for base in node.bases]
        if any(base.endswith("Contract") for base in bases):
            for node in nodes:
                if isinstance(node, ast.ImportFrom) and node.module:
                    found.update(f"{node.module}.{alias.name}" for alias in node.names)
                elif isinstance(node, ast.Import):
                    found.update(f"{alias.name}." for alias in node.names)
    return found


@pytest.mark.parametrize("module", concrete_modules())
def test_module_is_held_to_its_contract(module: str):
    assert any(name.startswith(f"{module}.") for name in imports_beside_suites()), (
        f"{module} has no contract test: add to tests/contract/ or tests/servers/ a file that imports it "
        "and derives a class from its suite of holdfast.testing"
    )
