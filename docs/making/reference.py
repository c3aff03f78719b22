"""Every generated page of docs/reference/, by file name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.making import catalog, configuration, errors, http, metrics, python


def pages() -> dict[str, str]:
    """File name -> the whole page, ending in one newline."""
    return {name: make() for name, make in MAKERS.items()}


def _command_line() -> str:
    from holdfast.cli import reference

    return reference.page()


MAKERS: Mapping[str, Callable[[], str]] = {
    "cli.md": _command_line,
    "configuration.md": configuration.page,
    "errors.md": errors.page,
    "http.md": http.page,
    "python.md": python.page,
    "catalog.md": catalog.page,
    "metrics.md": metrics.page,
}
