"""A command as people type it: one line to arguments, and back.

    sort {input1}                        -> sort, {input1}
    sort {input1} | uniq > {output:u}    -> sh -c 'sort "${1}" | uniq > "${2}"' sh {input1} {output:u}

A job has no shell. A line that needs one (it has `|`, `>`, `;`, `*`, several lines, ...) is handed to `sh` as
it is, with its placeholders as positional parameters in double quotes: whatever is in a path, it stays one
word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from holdfast.errors import Malformed

_PLACEHOLDER = re.compile(r"(?<!\$)(?<!\{)\{((?:input|output)[^{}\s]*)\}(?!\})")
_OUTPUT = re.compile(r"output:(.+)")
_NEEDS_SHELL = frozenset("|&;<>()$`*?[]~#\n")
_PLAIN = re.compile(r"[\w@%+=:,./{}-]+", re.ASCII)
_POSITIONAL = re.compile(r"""'"\$\{(\d+)\}"'|"\$\{(\d+)\}"|\$\{(\d+)\}""")


def arguments(line: str, inputs: int) -> list[str]:
    """The arguments of a line. `Malformed` if a quote is not closed, or there is nothing."""
    line = line.replace("\r\n", "\n").strip()
    if not line:
        raise Malformed("write the command that is to run")
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise Malformed("a quote is opened and not closed; close it, or write a backslash before it") from error
    if _is_plain(line):
        return words
    script, used = _script(line, inputs)
    return ["sh", "-c", script, "sh", *(f"{{{name}}}" for name in used)]


def outputs(line: str) -> list[str]:
    """The names in `{output:NAME}`, each once, in their order."""
    found = (_OUTPUT.fullmatch(name) for name in _PLACEHOLDER.findall(line))
    return list(dict.fromkeys(match[1] for match in found if match))


def as_line(command: Sequence[str]) -> str:
    """The line that stands for these arguments."""
    if list(command[:2]) == ["sh", "-c"] and len(command) > 3 and command[3] == "sh":
        names = command[4:]
        if all(_PLACEHOLDER.fullmatch(name) for name in names):
            return _POSITIONAL.sub(lambda found: _name_at(names, found), command[2])
    return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in command)


def _name_at(names: Sequence[str], found: re.Match[str]) -> str:
    at = int(found[1] or found[2] or found[3]) - 1
    return names[at] if 0 <= at < len(names) else found[0]


def _is_plain(line: str) -> bool:
    """Whether no character outside quotes means something to a shell."""
    return not any(
        char in _NEEDS_SHELL and (quote is None or (quote == '"' and char in "$`")) for char, quote in _quoted(line)
    )


def _quoted(line: str) -> list[tuple[str, str | None]]:
    """Each character with the kind of quote that it stands in; quotes and escaped characters as such."""
    found: list[tuple[str, str | None]] = []
    quote: str | None = None
    escaped = False
    for char in line:
        if escaped:
            escaped = False
            found.append((char, "\\"))
        elif char == "\\" and quote != "'":
            escaped = True
            found.append((char, "\\"))
        elif quote is None and char in "'\"":
            quote = char
            found.append((char, "\\"))
        elif char == quote:
            quote = None
            found.append((char, "\\"))
        else:
            found.append((char, quote))
    return found


def _script(line: str, inputs: int) -> tuple[str, list[str]]:
    """The line for `sh`, and the placeholders that become its positional parameters."""
    quotes = [quote for _, quote in _quoted(line)]
    used: list[str] = []

    def parameter(name: str, quote: str | None) -> str:
        if name not in used:
            used.append(name)
        word = f"${{{used.index(name) + 1}}}"
        return {None: f'"{word}"', '"': word, "'": f"'\"{word}\"'"}.get(quote, word)

    def put(found: re.Match[str]) -> str:
        quote = quotes[found.start()]
        names = [f"input{at}" for at in range(1, inputs + 1)] if found[1] == "inputs" else [found[1]]
        return " ".join(parameter(name, quote) for name in names)

    return _PLACEHOLDER.sub(put, line), used
