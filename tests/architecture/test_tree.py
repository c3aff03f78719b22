"""The tracked files: nothing of a developer's machine, no package registry, scripts that can run."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Written in pieces, so that this file does not find itself.
MACHINE_PATHS = [
    re.compile(r"(?<![\w.])/" + name + r"/\w")
    for name in ("wor" + "k", "hom" + "e/(?!holdfast|galaxy|user|alice|you)", "roo" + "t", "User" + "s")
]
REGISTRIES = re.compile(
    "|".join(
        ["pypi" + r"\.org", "pythonhosted" + r"\.org", "test" + r"\.pypi", r"--(?:extra-)?index" + "-url"]
    )
)
MAY_NAME_REGISTRIES = {"tools/lock.sh", "tests/architecture/test_tree.py"}
LARGEST_BYTES = 2**20


@cache
def tracked() -> dict[str, bytes]:
    """Every file that git knows and that is there, with its bytes."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    names = [name for name in listed.decode().split("\0") if name]
    return {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}


def texts() -> dict[str, str]:
    return {name: body.decode() for name, body in tracked().items() if b"\0" not in body[:8192]}


def lines_with(pattern: re.Pattern[str], *, leave_out: frozenset[str] = frozenset()) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in texts().items()
        if name not in leave_out
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_git_knows_files():
    assert len(tracked()) > 20


def test_no_path_of_a_developers_machine():
    found = [line for pattern in MACHINE_PATHS for line in lines_with(pattern)]
    assert not found, "\n".join(found)


def test_no_package_registry_is_named():
    assert not lines_with(REGISTRIES, leave_out=frozenset(MAY_NAME_REGISTRIES))


def test_locks_pin_every_package_by_hash():
    locks = [name for name in texts() if name.startswith("locks/") and name.endswith(".txt")]
    assert len(locks) >= 4
    for name in locks:
        entries = [line for line in texts()[name].splitlines() if re.match(r"^[A-Za-z0-9]", line)]
        assert entries
        for line in entries:
            assert re.match(r"^[A-Za-z0-9._-]+==\S+( ;.*)? \\$", line), (
                f"{name}: {line} has no version and hash"
            )
        assert "://" not in texts()[name], f"{name} names a place where packages come from"


def test_lock_covers_what_pyproject_asks_for():
    import tomllib

    project = tomllib.loads(texts()["pyproject.toml"])["project"]
    plain = re.compile(r"^[A-Za-z0-9._-]+")

    def names(requirements: list[str]) -> set[str]:
        return {re.sub(r"[-_.]+", "-", plain.match(entry)[0]).lower() for entry in requirements}

    for lock, extras in {"runtime.txt": [], "test.txt": ["test"], "bench.txt": ["test", "bench"]}.items():
        wanted = names(project["dependencies"]).union(
            *[names(project["optional-dependencies"][extra]) for extra in extras]
        )
        pinned = names([line for line in texts()[f"locks/{lock}"].splitlines() if plain.match(line)])
        assert wanted <= pinned, f"locks/{lock} lacks {sorted(wanted - pinned)}: make lock"


def test_no_large_files():
    large = {name: len(body) for name, body in tracked().items() if len(body) > LARGEST_BYTES}
    assert not large


def test_scripts_can_be_run():
    for name, body in tracked().items():
        if body.startswith(b"#!") and not name.startswith("tests/"):
            assert os.access(ROOT / name, os.X_OK), f"{name} starts with #! and is not executable"


def test_text_files_end_with_one_newline():
    leave_out = (".svg", ".xml", ".json", ".txt")
    wrong = [
        name
        for name, text in texts().items()
        if text and name != "LICENSE" and not name.endswith(leave_out)
        if not text.endswith("\n") or text.endswith("\n\n")
    ]
    assert not wrong, wrong
