"""Reading a document that a test writes down as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from holdfast.config.document import HoldfastConfig
from holdfast.config.read import read_document
from holdfast.errors import ConfigError, Problem

STATE = Path("/var/lib/holdfast")


class Desk:
    """A folder to write documents in, and the two things a test asks of one: its meaning, its problems."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str | bytes, name: str = "holdfast.yml") -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Path(name)

    def read(
        self,
        text: str | bytes,
        name: str = "holdfast.yml",
        *,
        environ: Mapping[str, str] | None = None,
        state: Path | None = STATE,
    ) -> HoldfastConfig:
        return read_document(self.write(text, name), environ=environ or {}, state=state, cwd=self.folder)

    def problems(self, text: str | bytes, name: str = "holdfast.yml") -> tuple[Problem, ...]:
        """The problems that keep this document from being read."""
        with pytest.raises(ConfigError) as caught:
            self.read(text, name)
        assert any(problem.severity == "error" for problem in caught.value.problems)
        return caught.value.problems


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


Expect = Callable[..., Problem]


@pytest.fixture
def only_problem(desk: Desk) -> Expect:
    """Reads a document that has exactly one error; gives it back after comparing what is always there."""

    def expect(text: str | bytes, name: str = "holdfast.yml", *, line: int | None) -> Problem:
        errors = [problem for problem in desk.problems(text, name) if problem.severity == "error"]
        assert len(errors) == 1, "\n".join(map(str, errors))
        assert (errors[0].file, errors[0].line) == (name, line), errors[0]
        return errors[0]

    return expect
