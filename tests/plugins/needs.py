"""What a test needs of the machine it runs on: `@pytest.mark.needs("postgres")`.

Promises: a test whose need is missing is skipped, with the command that would install it; with
`HOLDFAST_REQUIRE=postgres,uml` in the environment such a skip, and any other skip of a test with that
need, is a failure, and so is a whole run in which no test with that need ran at all.

Does not: install (`tools/setup_test_servers.sh` does) or start anything (each suite starts its own servers).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.testing import object_servers

_ENVIRONMENT = "HOLDFAST_REQUIRE"
_SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
_OBJECT_SERVERS = Path(__file__).resolve().parents[2] / object_servers.FOLDER
_SEEN = "needs"  # under this name a report carries its test's needs, also from a worker of xdist


def find_program(*names: str) -> str | None:
    """The first of these programs that is on the path or among the system's own, as an absolute path."""
    found = (shutil.which(name, path=_SYSTEM_PATH) for name in names)
    return next((program for program in found if program), None)


def find_postgres() -> Path | None:
    """The folder with `initdb` and `postgres`, the newest version's where there are several."""
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(folders, key=lambda program: float(program.parts[4]), default=None)
    found = newest or find_program("initdb")
    return Path(found).parent if found else None


def _missing_postgres() -> str | None:
    return None if find_postgres() else "PostgreSQL is not installed: apt-get install postgresql"


def _missing_nginx() -> str | None:
    return None if find_program("nginx") else "nginx is not installed: apt-get install nginx-light"


def _missing_chromium() -> str | None:
    if not find_program("chromium", "chromium-browser"):
        return "Chromium is not installed: apt-get install chromium"
    return None if importlib.util.find_spec("playwright") else "playwright is not installed: make test"


def _missing_uml() -> str | None:
    programs = {"linux.uml": "user-mode-linux", "mkfs.ext4": "e2fsprogs"}
    missing = [package for program, package in programs.items() if not find_program(program)]
    return f"user-mode Linux cannot run here: apt-get install {' '.join(missing)}" if missing else None


def _missing_fork() -> str | None:
    return None if hasattr(os, "fork") else "this system has no fork"


NEEDS: dict[str, Callable[[], str | None]] = {
    "postgres": _missing_postgres,
    "nginx": _missing_nginx,
    "chromium": _missing_chromium,
    "uml": _missing_uml,
    "fork": _missing_fork,
    **{name: functools.partial(object_servers.missing, name, _OBJECT_SERVERS) for name in object_servers.NAMES},
}


def required() -> frozenset[str]:
    """The needs that must not be skipped in this run."""
    return frozenset(name.strip() for name in os.environ.get(_ENVIRONMENT, "").split(",") if name.strip())


def pytest_configure(config: pytest.Config) -> None:
    unknown = required() - NEEDS.keys()
    if unknown:
        raise pytest.UsageError(
            f"{_ENVIRONMENT} names {', '.join(sorted(unknown))}; there are: {', '.join(sorted(NEEDS))}"
        )
    missing = {name: why for name in required() if (why := NEEDS[name]())}
    if missing and not hasattr(config, "workerinput"):
        raise pytest.UsageError(f"{_ENVIRONMENT}: {'; '.join(missing.values())}")
    config.pluginmanager.register(_Ran(), "holdfast-needs-ran")


@pytest.hookimpl(trylast=True)  # a folder's conftest may still add the mark to its tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {name: probe() for name, probe in NEEDS.items()}
    for item in items:
        for name in _needs_of(item):
            if name not in NEEDS:
                raise pytest.UsageError(
                    f"{item.nodeid} needs {name!r}; there are: {', '.join(sorted(NEEDS))}"
                )
            item.user_properties.append((_SEEN, name))
            if reason := reasons[name]:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.skipped and not hasattr(report, "wasxfail"):
        must = sorted(required() & set(_needs_of(item)))
        if must:
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            report.outcome = "failed"
            report.longrepr = (
                f"{_ENVIRONMENT} says that tests with {', '.join(must)} may not be skipped. {why}"
            )
    return report  # type: ignore[return-value]


class _Ran:
    """Remembers which needs were met by a test that really ran. State of one session."""

    def __init__(self) -> None:
        self.needs: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self.needs.update(str(value) for name, value in report.user_properties if name == _SEEN)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._without_tests(session.config) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if unseen := self._without_tests(config):
            terminalreporter.section(_ENVIRONMENT, sep="=", red=True)
            terminalreporter.line(
                f"no test ran that needs {', '.join(unseen)}: this run proves nothing about it"
            )

    def _without_tests(self, config: pytest.Config) -> list[str]:
        """Required needs that no test had, in a run of the whole tree (a part of it may leave some out)."""
        whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        filtered = config.option.keyword or config.option.markexpr or getattr(config.option, "lf", False)
        if hasattr(config, "workerinput") or not whole or filtered or config.option.collectonly:
            return []
        return sorted(required() - self.needs)


def _needs_of(item: pytest.Item) -> list[str]:
    return [str(name) for mark in item.iter_markers("needs") for name in mark.args]
