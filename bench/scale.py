"""What a million datasets cost: find, put, ls, and the pages as a browser gets them; against the same with a
thousand."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.holds import make_hold
from bench.http import SERVE
from bench.measuring import Row, costs
from holdfast.catalog.accounts import Accounts
from holdfast.catalog.base import Filter
from holdfast.hold.hold import Hold
from holdfast.testing.servers import free_port

MANY, FEW = 1_000_000, 1_000
AT_MOST = 1.5
ADMIN, OWNER = "admin@example.org", "a@example.org"  # who sees all; who owns all
COOKIE = "holdfast_session"
PAGES = 30
START_S = 30.0


def fill(hold: Hold, count: int) -> None:
    """Record so many datasets as `put` would, without their bytes: straight into the catalog's tables."""
    now = hold.clock.now_us()
    step = 50_000
    pools = hold.poolset.order
    for first in range(1, count + 1, step):
        ids = range(first, min(first + step, count + 1))
        with hold.catalog.db.write() as cursor:
            cursor.executemany(
                "INSERT INTO dataset (id, uuid, name, name_key, owner, state, size_bytes, total_bytes, checksum, "
                "object_store_id, origin, labels, hidden, created_us, updated_us) "
                "VALUES (?, ?, ?, ?, 'a@example.org', 'ok', 100, 100, NULL, ?, 'put', '{}', 0, ?, ?)",
                [
                    (i, f"00000000-0000-4000-8000-{i:012x}", f"reads_{i}.fastq", f"reads_{i}.fastq",
                     pools[i % len(pools)], now, now)
                    for i in ids
                ],
            )  # fmt: skip
            cursor.executemany(
                "INSERT INTO replica (dataset_id, object_store_id, state, key, size_bytes, created_us, changed_us) "
                "VALUES (?, ?, 'present', ?, 100, ?, ?)",
                [(i, pools[i % len(pools)], hold.poolset.key(pools[i % len(pools)], i, ""), now, now) for i in ids],
            )
            cursor.execute("UPDATE sequence SET next = ? WHERE name = 'dataset'", (ids[-1] + 1,))
            for name in pools:
                mine = sum(1 for i in ids if pools[i % len(pools)] == name)
                hold.catalog.counters.add_to_pool(cursor, name, datasets=mine, used=100 * mine)
            hold.catalog.counters.add_to_states(cursor, {"ok": len(ids)})


def main(folder: Path) -> list[Row]:
    """All rows about scale."""
    large, small = make_hold(folder / "large", 2), make_hold(folder / "small", 2)
    fill(large, MANY)
    fill(small, FEW)
    looks = [(hold, [1 + (k * 7919) % count for k in range(500)]) for hold, count in ((large, MANY), (small, FEW))]

    def find(which: int) -> None:
        hold, ids = looks[which]
        for dataset_id in ids:
            hold.catalog.datasets.find(dataset_id)

    def put(hold: Hold) -> None:
        for _ in range(20):
            hold.put(b"x" * 100, name="new.txt")

    def page(hold: Hold, which: Filter) -> None:
        for _ in range(50):
            hold.datasets(which)

    def pools(hold: Hold) -> None:
        for _ in range(50):
            hold.pools()

    rows = [
        costs("find, 1,000,000 against 1,000", lambda: find(0), lambda: find(1), at_most=AT_MOST),
        costs("put, 1,000,000 against 1,000", lambda: put(large), lambda: put(small), at_most=AT_MOST),
        costs(
            "ls, 1,000,000 against 1,000", lambda: page(large, Filter()), lambda: page(small, Filter()),
            at_most=AT_MOST,
        ),
        costs(
            "ls --user --pool, 1,000,000 against 1,000",
            lambda: page(large, Filter(owner="a@example.org", pool="pool1")),
            lambda: page(small, Filter(owner="a@example.org", pool="pool1")),
            at_most=AT_MOST,
        ),
        costs("pools, 1,000,000 against 1,000", lambda: pools(large), lambda: pools(small), at_most=AT_MOST),
    ]  # fmt: skip
    sessions = [{who: _session(hold, who) for who in (ADMIN, OWNER)} for hold in (large, small)]
    large.close()
    small.close()
    return rows + _pages(folder, sessions[0], sessions[1])


# -- the pages --------------------------------------------------------------------------------------------


def _pages(folder: Path, many: dict[str, str], few: dict[str, str]) -> list[Row]:
    """The pages from two servers, by people who are signed in."""
    last = f"/datasets?after={FEW // 2}"
    looks = (
        ("the datasets page", ADMIN, "/datasets"),
        ("the datasets page of their owner", OWNER, "/datasets"),
        ("the datasets page, the oldest", ADMIN, last),
        ("the datasets page, one pool", ADMIN, "/datasets?pool=pool1"),
        ("the pools page", ADMIN, "/pools"),
    )
    with _served(folder / "large") as large, _served(folder / "small") as small:
        return [
            costs(
                f"{name}, 1,000,000 against 1,000", _looking(large, path, many[who]), _looking(small, path, few[who]),
                at_most=AT_MOST, rounds=7,
            )
            for name, who, path in looks
        ]  # fmt: skip


def _session(hold: Hold, who: str) -> str:
    accounts = Accounts(hold.catalog.db, hold.clock, hold.entropy)
    accounts.create(who, is_admin=who == ADMIN)
    return accounts.new_session(who)


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[int]:
    """A server over the hold of that folder; its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder / "holdfast.yml"), str(port)])
    try:
        end_s = time.monotonic() + START_S
        while not _answers(port):
            if time.monotonic() > end_s or process.poll() is not None:
                raise SystemExit(f"the server on port {port} did not start")
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _looking(port: int, path: str, session: str) -> Callable[[], None]:
    """Get a page so many times, over one connection."""

    def look() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(PAGES):
            connection.request("GET", path, headers={"Cookie": f"{COOKIE}={session}"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == http.HTTPStatus.OK, (answer.status, answer.getheader("location"))
            assert (b"reads_" in body or b"new.txt" in body) == path.startswith("/datasets"), body[:2000]
        connection.close()

    return look
