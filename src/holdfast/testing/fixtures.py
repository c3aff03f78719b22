"""The kit as pytest fixtures: `pytest_plugins = ["holdfast.testing.fixtures"]` in the outermost conftest.

`postgres_url` is a fresh database for one test, on one server per test process; `nginx`, `small_disk` and
`power_cut_machine` start what the test asks for and end it with the test. Where the machine cannot do it the
test is skipped with the reason; whoever must not skip says so (`needs`, HOLDFAST_REQUIRE).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.testing.here import CannotRunHere

if TYPE_CHECKING:
    from holdfast.testing.disks import Disk
    from holdfast.testing.power import PowerCutMachine
    from holdfast.testing.servers import Postgres, Server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server, started once for this test process."""
    from holdfast.testing import servers

    with contextlib.ExitStack() as stack:
        yield _here(lambda: stack.enter_context(servers.postgres()))


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """`postgresql://...` of an empty database that is this test's own."""
    url = postgres_server.fresh_database()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def nginx() -> Iterator[Callable[..., Server]]:
    """`nginx(http_block, port=free_port())` starts one; see `servers.nginx`."""
    from holdfast.testing import servers

    yield from _each(servers.nginx)


@pytest.fixture
def small_disk() -> Iterator[Callable[..., Disk]]:
    """`small_disk(16, kind="ext4")` mounts one; see `disks.small_disk`."""
    from holdfast.testing import disks

    yield from _each(disks.small_disk)


@pytest.fixture
def power_cut_machine(pytestconfig: pytest.Config) -> Iterator[Callable[..., PowerCutMachine]]:
    """`power_cut_machine(image_size_mib=64)` makes one; see `power.PowerCutMachine`."""
    from holdfast.testing.power import PowerCutMachine

    cache = pytestconfig.rootpath / ".cache"
    yield from _each(lambda **options: PowerCutMachine(**{"cache": cache, **options}))


def _each(make: Callable[..., contextlib.AbstractContextManager[Any]]) -> Iterator[Callable[..., Any]]:
    """A maker whose things end, last first, when the test does."""
    with contextlib.ExitStack() as stack:
        yield lambda *given, **options: _here(lambda: stack.enter_context(make(*given, **options)))


def _here(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except CannotRunHere as reason:
        pytest.skip(str(reason))
