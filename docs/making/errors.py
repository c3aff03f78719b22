"""docs/reference/errors.md: every error class, under the anchor that `errors.OUTCOMES` gives it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

_HEAD = """\
# Errors

<!-- Made from src/holdfast/errors.py by `make docs`. What to do stands in docs/making/advice.py. -->

Every error has one class. The class decides the HTTP status, the exit code of the command line, and the
heading under which it stands here. The message of an error says what happened and, where that can be known,
what to do instead.

Over HTTP an error is `application/problem+json` with `type`, `title`, `status`, `detail` and, where waiting
helps, `retry_after_s`. `type` ends in the anchor of this page. With `--json` the command line prints the same
members to stderr, and `exit_code`. In Python the classes come from `holdfast.errors`; all of them derive from
`HoldfastError`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, _overview(), *_sections(), _only_http()]).rstrip() + "\n"


def anchors() -> dict[str, str]:
    """Class name -> its anchor on the page."""
    from holdfast.errors import OUTCOMES

    return {cls.__name__: found.page.partition("#")[2] for cls, found in OUTCOMES.items()}


def heading_of(anchor: str) -> str:
    """A heading whose anchor is `anchor`, also where pages are rendered by others."""
    return anchor.replace("-", " ").capitalize()


def _overview() -> str:
    from holdfast.errors import OUTCOMES

    rows = [
        f"| [`{cls.__name__}`](#{found.page.partition('#')[2]}) | {found.title} | {found.http_status} "
        f"| {found.exit_code} |"
        for cls, found in OUTCOMES.items()
    ]
    return "\n".join(["| class | title | HTTP | exit code |", "|---|---|---|---|", *rows, ""])


def _sections() -> Iterator[str]:
    from docs.making.advice import ADVICE, ONLY_COMMAND_LINE

    from holdfast.errors import OUTCOMES, HoldfastError

    for cls, found in OUTCOMES.items():
        anchor = found.page.partition("#")[2]
        above = cls.__mro__[1]
        family = f"`{cls.__name__}`" + (f", a `{above.__name__}`" if issubclass(above, HoldfastError) else "")
        again = "Asking again, unchanged, may succeed." if cls.retryable else "Asking again, unchanged, will not help."
        meaning = inspect.cleandoc(cls.__doc__ or "")
        yield (
            f"## {heading_of(anchor)}\n\n{family}. HTTP {found.http_status}, exit code {found.exit_code}. {again}\n\n"
            f"{meaning}\n\n**What to do.** {ADVICE[anchor]}\n"
        )
    for anchor, (code, words) in ONLY_COMMAND_LINE.items():
        yield f"## {heading_of(anchor)}\n\nCommand line only, exit code {code}.\n\n{words}\n"


def _only_http() -> str:
    from holdfast.server.problem import _TITLES

    rows = [f"| {status} | {title} |" for status, title in sorted(_TITLES.items())]
    return "\n".join(
        [
            "## Statuses that only HTTP knows", "",
            "A request can be wrong as a request: too large, without a length, for another host, for something that is",
            "not there or not yours. Then `type` is `about:blank` and the status says what it is.", "",
            "| status | title |", "|---|---|", *rows, "",
        ]
    )  # fmt: skip
