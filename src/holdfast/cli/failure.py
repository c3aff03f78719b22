"""From an exception to what the user gets: one clear sentence on stderr, and an exit code.

The exit codes are those of `errors.OUTCOMES`; this adds what only a command line meets: wrong usage (2), the
system's own errors, Ctrl-C (130), a reader that went away (141), and bugs (1). With `--json` the sentence is
a problem object, with the same members as the server's.
"""

from __future__ import annotations

import errno
import os
import traceback
from dataclasses import dataclass, field
from typing import Any, TextIO

from typer import Abort, Exit, TyperException

from holdfast.cli import render
from holdfast.errors import ConfigError, HoldfastError, outcome

TYPE = "urn:holdfast:error:"  # followed by the error's heading in the documentation, as in the server's answers
DEBUG_VARIABLE = "HOLDFAST_DEBUG"
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # what a program gets that SIGPIPE ends


class UsageError(Exception):
    """The command was not called in a way that makes sense. The message says what to type instead."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What is printed and returned. `lines` are complete sentences, usually one."""

    title: str
    lines: tuple[str, ...]
    exit_code: int
    status: int = 500
    page: str = "errors#bug"
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A problem object: the members of RFC 9457, and the exit code."""
        return {
            "type": TYPE + self.page.partition("#")[2],
            "title": self.title,
            "status": self.status,
            "detail": "\n".join(self.lines),
            "exit_code": self.exit_code,
            **self.extra,
        }


def failure_of(error: BaseException) -> Failure:
    """What to say about `error`."""
    if isinstance(error, ConfigError):
        return _configuration(error)
    if isinstance(error, HoldfastError):
        found = outcome(error)
        wait = {} if error.retry_after_s is None else {"retry_after_s": error.retry_after_s}
        return Failure(found.title, (_sentence(error),), found.exit_code, found.http_status, found.page, wait)
    if isinstance(error, UsageError):
        return _usage(str(error))
    if isinstance(error, TyperException):
        return _usage(_typed(error))
    if isinstance(error, (KeyboardInterrupt, Abort)):
        return Failure("Interrupted", ("interrupted",), EXIT_INTERRUPTED, 499, "errors#interrupted")
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return _usage("what was typed holds bytes that are no UTF-8 text; only the names of files may")
    if isinstance(error, OSError) and error.errno is not None:
        return _system(error)
    return Failure("A bug in Holdfast", (_bug(error),), EXIT_BUG)


def report(failure: Failure, stream: TextIO, *, as_json: bool) -> None:
    """Print it."""
    if as_json:
        render.write_json(failure.to_json(), stream)
        return
    prefix = "" if failure.page == "errors#configuration" else "holdfast: "  # those begin with file and line
    stream.writelines(f"{prefix}{line}\n" for line in failure.lines)


def trace_if_asked(error: BaseException, stream: TextIO) -> None:
    """The traceback, if HOLDFAST_DEBUG is set."""
    if os.environ.get(DEBUG_VARIABLE, "") not in ("", "0"):
        traceback.print_exception(error, file=stream)


def exit_code_of(error: Exit) -> int:
    """Typer's way to end early (`--help`, `--version`)."""
    return error.exit_code


def _configuration(error: ConfigError) -> Failure:
    found = outcome(error)
    problems = [
        {
            "file": problem.file,
            "line": problem.line,
            "where": problem.where,
            "message": problem.message,
            "instead": problem.instead,
            "severity": problem.severity,
        }
        for problem in error.problems
    ]
    lines = tuple(render.clean(str(problem)) for problem in error.problems)
    return Failure(found.title, lines, found.exit_code, found.http_status, found.page, {"problems": problems})


def _usage(sentence: str) -> Failure:
    return Failure("Not called like that", (render.clean(sentence),), EXIT_USAGE, 400, "errors#usage")


def _typed(error: TyperException) -> str:
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    ending = "" if message.rstrip(".").endswith("?") else "."
    return f"{message.rstrip('.')}{ending} See: {context.command_path} --help"


_SYSTEM: dict[int, tuple[str, int, int, str]] = {
    errno.ENOENT: ("Not found", 3, 404, "errors#not-found"),
    errno.ENOTDIR: ("Not found", 3, 404, "errors#not-found"),
    errno.EISDIR: ("Not called like that", 2, 400, "errors#usage"),
    errno.EEXIST: ("It exists already", 8, 409, "errors#already-exists"),
    errno.EACCES: ("Not allowed", 7, 403, "errors#denied"),
    errno.EPERM: ("Not allowed", 7, 403, "errors#denied"),
    errno.EROFS: ("Not allowed", 7, 403, "errors#denied"),
    errno.ENOSPC: ("No space", 4, 507, "errors#no-space"),
    errno.EDQUOT: ("No space", 4, 507, "errors#no-space"),
    errno.EADDRINUSE: ("It exists already", 8, 409, "errors#already-exists"),
}


def _system(error: OSError) -> Failure:
    unavailable = ("Unavailable for the moment", 6, 503, "errors#unavailable")
    title, exit_code, status, page = _SYSTEM.get(error.errno or 0, unavailable)
    what = error.strerror or str(error)
    name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return Failure(title, (render.clean(f"{name}{what[:1].lower()}{what[1:]}"),), exit_code, status, page)


def _sentence(error: BaseException) -> str:
    return render.clean(" ".join(str(error).split())) or type(error).__name__


def _bug(error: BaseException) -> str:
    what = f"{type(error).__name__}: {_sentence(error)}"
    return f"this is a bug in Holdfast: {what} (set {DEBUG_VARIABLE}=1 for the traceback)"
