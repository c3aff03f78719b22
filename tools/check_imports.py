"""Runs the import contracts of pyproject.toml over the modules that exist.

import-linter refuses a contract that names a module not yet written. This leaves those names out, and
hands the contracts to `lint-imports`. It decides nothing itself: what a contract says stands in
pyproject.toml alone.

Usage: python tools/check_imports.py      exit code 0: every contract is kept
"""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
MODULE_LISTS = ("modules", "source_modules", "forbidden_modules", "protected_modules", "allowed_importers")


def main() -> int:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        print(
            f"{program} is missing: run `make test` once, it installs what the checks need", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "contracts.ini"
        with document.open("w", encoding="utf-8") as stream:
            as_ini(settings).write(stream)
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command = [str(program), "--no-logo", "--no-cache", "--config", str(document)]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def as_ini(settings: dict[str, Any]) -> configparser.ConfigParser:
    """Our contracts in import-linter's other spelling, without the names that do not exist yet."""
    ini = configparser.ConfigParser(interpolation=None)
    ini["importlinter"] = {key: as_value(value) for key, value in settings.items() if key != "contracts"}
    for contract in settings["contracts"]:
        kept = {
            key: [name for name in value if exists(name)] if key in MODULE_LISTS else value
            for key, value in contract.items()
        }
        if all(kept.get(key, True) for key in MODULE_LISTS if key != "allowed_importers"):
            section = f"importlinter:contract:{contract['id']}"
            ini[section] = {key: as_value(value) for key, value in kept.items() if key != "id"}
    return ini


def exists(name: str) -> bool:
    """Whether a contract's module name can match: its package is there, or it is somebody else's."""
    if not name.startswith("holdfast"):
        return True
    wanted = SOURCE.joinpath(*[part for part in name.split(".") if part not in ("*", "**")])
    return (wanted / "__init__.py").exists() or wanted.with_suffix(".py").exists()


def as_value(value: Any) -> str:
    """A TOML value as import-linter reads it from an INI file."""
    return "\n" + "\n".join(value) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
