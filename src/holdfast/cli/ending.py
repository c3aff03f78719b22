"""From what was typed to an exit code: parses, runs one command, and says what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from typer import Exit

from holdfast.cli import failure
from holdfast.cli.parsing import PROGRAM, build_root


def run(given: Sequence[str]) -> int:
    """Run one command and return its exit code. Prints errors; raises nothing but SystemExit."""
    try:
        code = _run(list(given) or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
        return failure.EXIT_PIPE_CLOSED
    return code


def _run(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 shows escapes
    try:
        root = build_root()
        with root.make_context(PROGRAM, list(arguments)) as context:  # root.main has endings of its own
            code = root.invoke(context)
    except BrokenPipeError:
        raise
    except Exit as early:
        return failure.exit_code_of(early)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last line: it becomes an exit code
        failure.trace_if_asked(error, sys.stderr)
        found = failure.failure_of(error)
        failure.report(found, sys.stderr, as_json=_wants_json(arguments))
        return found.exit_code
    return code if isinstance(code, int) else 0


def _wants_json(arguments: list[str]) -> bool:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own


def _forget_stdout() -> None:
    """The reader is gone: what is still buffered goes nowhere, and Python's own last flush stays quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
