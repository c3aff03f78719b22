"""A laboratory with two pools on disk, and two ways to call the command line in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.main import main

DOCUMENT = """\
state_dir: state
pools:
  newdata: {type: disk, files_dir: data2, order: 0}
  olddata: {type: disk, files_dir: data, order: 1}
placement: hierarchical
"""

# What these tests start must not see the caller's own configuration, nor think that it has a terminal.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}


@dataclass(frozen=True)
class Answer:
    """What a call gave back."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


class Lab:
    """A folder with a holdfast.yml. `call` runs in this process, `program` as users do, in a new one."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys
        (home / "holdfast.yml").write_text(DOCUMENT)

    def call(self, *arguments: str | Path) -> Answer:
        self._capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    def begin(self) -> None:
        """Make the catalog, as a first look at the pools does."""
        assert self.call("pools").code == 0

    def json(self, *arguments: str | Path) -> Any:
        """The JSON answer of a call that must succeed and say nothing on stderr."""
        answer = self.call(*arguments, "--json")
        assert (answer.code, answer.err) == (0, "")
        return answer.json

    def program(self, *arguments: str | Path, stdin: bytes = b"", environment: dict[str, str] | None = None) -> Answer:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.home,
            env={**ENVIRONMENT, **(environment or {})},
            input=stdin,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    @staticmethod
    def command(*arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "holdfast", *map(str, arguments)]

    def file(self, name: str, content: bytes | str = b"ACGT\n") -> Path:
        """A file to be stored, outside the pools."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def put(self, name: str, content: bytes | str = b"ACGT\n", *options: str) -> dict[str, Any]:
        shape: dict[str, Any] = self.json("put", self.file(f"sources/{name}", content), *options)
        return shape

    def stored(self) -> dict[str, bytes]:
        """Every dataset's bytes that lie in the pools, by path: a look at the disk, not at the catalog."""
        found = [path for pool in ("data", "data2") for path in (self.home / pool).rglob("dataset_*.dat")]
        return {str(path.relative_to(self.home)): path.read_bytes() for path in found}
