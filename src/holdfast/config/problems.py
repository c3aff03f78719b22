"""Collects everything that is wrong with a document, so that it can be said at once.

Reading never stops at the first mistake: whoever finds one writes it down here and goes on with what is
left. At the end `raise_if_wrong` raises one `ConfigError` with all of them. Warnings (probably not what was
meant) and notes (worth knowing, above all where Galaxy behaves differently) stop nothing.

The list is bounded: after `PROBLEMS_MAX` findings one line says that there are more.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal

from holdfast.config.nodes import Spot, shorten
from holdfast.errors import ConfigError, Problem

PROBLEMS_MAX = 200
WHERE_CHARS_MAX = 160
MESSAGE_CHARS_MAX = 400

Severity = Literal["error", "warning", "note"]


class ProblemLog:
    """The findings of one document and of all files that it includes."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._wrong = False
        self._left_out = 0

    def error(self, spot: Spot, message: str, instead: str | None = None) -> None:
        """The document cannot be used like this."""
        self._wrong = True
        self._add("error", spot, message, instead)

    def warn(self, spot: Spot, message: str, instead: str | None = None) -> None:
        """It can be used, but is probably not what was meant."""
        self._add("warning", spot, message, instead)

    def note(self, spot: Spot, message: str, instead: str | None = None) -> None:
        """Worth knowing: what has no effect, what Galaxy does differently."""
        self._add("note", spot, message, instead)

    @property
    def wrong(self) -> bool:
        """Whether an error was found."""
        return self._wrong

    def raise_if_wrong(self) -> None:
        """Raises `ConfigError` with every error and warning, by file and line, if there is an error."""
        if self._wrong:
            raise ConfigError(self.errors_and_warnings())

    def errors_and_warnings(self) -> list[Problem]:
        """What `raise_if_wrong` raises."""
        return [problem for problem in self.found() if problem.severity != "note"]

    def found(self) -> tuple[Problem, ...]:
        """Everything found so far, by file and line. The files stand in the order in which they were read."""
        files = {file: rank for rank, file in enumerate(dict.fromkeys(problem.file for problem in self._found))}
        ordered = sorted(self._found, key=lambda problem: (files[problem.file], problem.line or 0))
        if self._left_out:
            more = f"and {self._left_out} more findings: mend these first"
            ordered.append(Problem(ordered[-1].file, None, "", more, severity="warning"))
        return tuple(ordered)

    def _add(self, severity: Severity, spot: Spot, message: str, instead: str | None) -> None:
        where, words = shorten(spot.where, WHERE_CHARS_MAX), shorten(message, MESSAGE_CHARS_MAX)
        instead = instead and shorten(instead, MESSAGE_CHARS_MAX)
        problem = Problem(spot.file, spot.line or None, where, words, instead, severity)
        if len(self._found) < PROBLEMS_MAX:
            self._found[problem] = None
        elif problem not in self._found:
            self._left_out += 1


def nearest(word: str, choices: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The choice that `word` was probably meant to be, or None. `likeness`: how alike they have to be, up to 1."""
    by_folded = {choice.casefold().replace("-", "_"): choice for choice in choices}
    found = difflib.get_close_matches(word[:80].casefold().replace("-", "_"), list(by_folded), n=1, cutoff=likeness)
    return by_folded[found[0]] if found else None
