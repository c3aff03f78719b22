"""A clock that jumps: by hours, by years, forwards and back, between any two looks at it. Everything goes on.

What hangs on the time of day (who is dead, what has expired) may come early or late; no byte is lost by it, no
write is recorded that is not there, and what waits does not wait longer.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from tests.unit.hold_kit import audit, make_hold
from tests.unit.told import run

from holdfast.catalog.catalog import Catalog
from holdfast.errors import Conflict, NotFound
from holdfast.hold import Hold
from holdfast.hold.bodies import PutItem
from holdfast.jobs.jobs import Jobs
from holdfast.operations.reap import Reap, recover
from holdfast.operations.runner import Operations
from holdfast.seams import SystemClock

DAY_US = 86_400 * 1_000_000
BIRTH_OF_UNIX_US = 0
FAR_US = 8_000 * 365 * DAY_US  # a year of five digits


class Jumping(SystemClock):
    """Shows another time at every look."""

    def __init__(self, seed: int = 0) -> None:
        self._chance = random.Random(seed)
        self.shift_us: int | None = None  # fixed from then on

    def now_us(self) -> int:
        if self.shift_us is not None:
            return super().now_us() + self.shift_us
        jump_us = self._chance.choice((0, -1, 1, -3_600_000_000, -400 * DAY_US, 400 * DAY_US))
        return self._chance.choice((BIRTH_OF_UNIX_US, FAR_US, super().now_us() + jump_us))


@pytest.mark.parametrize("seed", range(3))
def test_a_history_goes_on_and_loses_nothing(tmp_path: Path, seed: int):
    clock, chance = Jumping(seed), random.Random(seed)
    with make_hold(tmp_path, clock=clock, kind="distributed") as hold:
        contents: dict[int, bytes] = {}
        removed: dict[int, bytes] = {}
        for turn in range(60):
            raw = b"%d " % turn * chance.randint(0, 300)
            kind = chance.choice(["put", "put", "many", "replace", "remove", "restore", "purge", "scrub", "reconcile"])
            if kind == "put" or not contents:
                contents[hold.put(raw, name=f"put {turn}").id] = raw
            elif kind == "many":
                contents |= {one.id: raw for one in hold.put_many([PutItem(raw, f"many {turn}")] * 3)}
            elif kind == "replace":
                which = chance.choice([*contents])
                hold.replace(which, raw)
                contents[which] = raw
            elif kind == "remove":
                which = chance.choice([*contents])
                hold.remove(which)
                removed[which] = contents.pop(which)
            elif kind == "restore" and removed:
                which = chance.choice([*removed])
                hold.restore(which)
                contents[which] = removed.pop(which)
            elif kind == "purge":
                which = chance.choice([*contents])
                hold.remove(which, purge=True)
                del contents[which]
            else:
                assert run(hold, kind if kind in ("scrub", "reconcile") else "scrub").failures == []
        clock.shift_us = 0
        assert run(hold, "reap", grace_s=0).failures == []
        for which, raw in contents.items():
            assert hold.open(which).read() == raw
            assert hold.to_json(hold.find(which))["state"] == "ok"
        listed = [one.id for one in hold.datasets()]
        assert listed == sorted(contents, reverse=True)[: len(listed)], "lists are by id, whatever the time said"
        audit(hold)


@pytest.mark.parametrize("jump_us", [2 * DAY_US, -2 * DAY_US, FAR_US, -(10**16)])
def test_a_write_that_is_under_way_is_recorded_or_refused(tmp_path: Path, jump_us: int):
    """Reaping while the clock has jumped: a write that seems silent for a day may be taken for dead, and then it is
    told so; what it wrote goes."""
    clock = Jumping()
    clock.shift_us = 0
    with make_hold(tmp_path, clock=clock) as hold:
        kept = hold.put(b"kept", name="kept").id

        def reap_meanwhile(_: int) -> None:
            if clock.shift_us == 0:
                clock.shift_us = jump_us
                run(hold, "reap")

        for attempt in (lambda: hold.put(b"x" * 3_000_000, name="new", on_progress=reap_meanwhile).id,
                        lambda: hold.replace(kept, b"y" * 3_000_000, on_progress=reap_meanwhile).id):  # fmt: skip
            clock.shift_us = 0
            try:
                done = attempt()
            except Conflict:
                assert jump_us >= DAY_US, "nothing seemed silent"
            else:
                assert len(hold.open(done).read()) == 3_000_000
        run(hold, "reap", grace_s=0)
        assert hold.open(kept).read() in (b"kept", b"y" * 3_000_000)
        audit(hold)


class Shifted(SystemClock):
    """The machine's time, and a shift that tests change."""

    shift_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.shift_us

    def pass_days(self, hold: Hold, days: int) -> None:
        """Days that are seen to pass: somebody looks twice in each."""
        for _ in range(2 * days):
            self.shift_us += DAY_US // 2
            recover(hold)


def test_a_jump_purges_nothing_that_was_removed(tmp_path: Path):
    """Two years ahead, for an hour or for days: what was removed can be restored, and the result says why."""
    clock = Shifted()
    with make_hold(tmp_path, clock=clock) as hold:
        removed = [hold.put(b"%d" % at, name=f"{at}").id for at in range(3)]
        for which in removed:
            hold.remove(which)
        clock.shift_us = 730 * DAY_US
        blockers = [blocker.why for blocker in Reap().plan(hold, {}).blockers]
        assert any("days ahead of the time that was seen to pass" in why for why in blockers), blockers
        for _ in range(5):
            told = run(hold, "reap")
            assert told.counts == {"kept_because_the_clock_jumped": 3}
            clock.shift_us += DAY_US // 2
        assert hold.restore(removed[0]).state == "ok"
        assert hold.open(removed[0]).read() == b"0"
        clock.shift_us = 3 * DAY_US  # put right: it is as if nothing had been
        assert run(hold, "reap").counts == {}
        audit(hold)


def test_time_that_is_seen_to_pass_expires_what_was_removed(tmp_path: Path):
    clock = Shifted()
    with make_hold(tmp_path, clock=clock) as hold:
        which = hold.put(b"x", name="x").id
        hold.remove(which)
        recover(hold)
        clock.pass_days(hold, 29)
        assert run(hold, "reap").counts == {}
        clock.pass_days(hold, 2)
        assert run(hold, "reap").counts == {"expired": 1}
        assert hold.to_json(hold.find(which))["state"] == "purged"


def test_a_leap_that_stands_for_a_week_is_believed(tmp_path: Path):
    """Whoever was switched off for two months does not wait for ever."""
    clock = Shifted()
    with make_hold(tmp_path, clock=clock) as hold:
        which = hold.put(b"x", name="x").id
        hold.remove(which)
        recover(hold)
        clock.shift_us = 60 * DAY_US
        clock.pass_days(hold, 6)
        assert run(hold, "reap").counts == {"kept_because_the_clock_jumped": 1}
        clock.pass_days(hold, 2)
        assert run(hold, "reap").counts == {"expired": 1}


def test_whoever_reaps_once_in_a_while_expires_a_little_later(tmp_path: Path):
    """By cron, every ten days, and no server: each look believes the one before."""
    clock = Shifted()
    with make_hold(tmp_path, clock=clock) as hold:
        hold.remove(hold.put(b"x", name="x").id)
        expired_after: list[int] = []
        for day in range(10, 80, 10):
            clock.shift_us = day * DAY_US + 1
            if run(hold, "reap").counts.get("expired"):
                expired_after.append(day)
        assert expired_after == [40]


def test_a_clock_without_a_battery(tmp_path: Path):
    """1970 at every start, put right a moment later."""
    clock = Shifted()
    with make_hold(tmp_path, clock=clock) as hold:
        kept = hold.put(b"x", name="x").id
        hold.remove(kept)
        for boot in range(1, 4):
            clock.shift_us = -clock.now_us() + clock.shift_us + 1_000_000
            assert "expired" not in run(hold, "reap").counts
            clock.shift_us = boot * DAY_US
            assert "expired" not in run(hold, "reap").counts
        assert hold.restore(kept).state == "ok"


def test_jobs_and_operations_come_to_their_end(tmp_path: Path):
    with make_hold(tmp_path, clock=Jumping(7)) as hold:
        jobs, operations = Jobs(hold), Operations(hold)
        start = time.monotonic()
        for _ in range(3):
            job = jobs.submit(["sh", "-c", "echo said; echo made > {output:o}"], outputs=["o"])
            job = jobs.run(job.id)
            assert (job.state, jobs.tail(job.id, "stdout")) == ("ok", "said\n")
            assert jobs.to_json(job)["exit_code"] == 0
        row = operations.run(operations.submit("scrub", {}).id)
        assert row.state == "done"
        assert operations.to_json(row)["failures"] == []
        assert time.monotonic() - start < 20
        audit(hold)


def test_whoever_died_is_known_to_be_dead(tmp_path: Path):
    """On one machine that is seen, not reckoned: no jump makes a living process dead, or a dead one living."""
    clock = Jumping(3)
    catalog = Catalog.open(None, tmp_path, clock=clock)
    own = catalog.holders.own("test")
    for _ in range(20):
        assert catalog.holders.lives(own)
        assert catalog.holders.dead() == []
    catalog.close()


def test_data_that_was_there_before_has_the_time_of_its_file(tmp_path: Path):
    with make_hold(tmp_path, clock=Jumping(1)) as hold:
        _lay_from_the_future(hold, tmp_path)
        assert hold.open(7).read() == b"early"
        assert hold.to_json(hold.find(7))["created"] is not None
        with pytest.raises(NotFound):
            hold.find(8)


def _lay_from_the_future(hold: Hold, folder: Path) -> None:
    path = folder / "a" / "000" / "dataset_7.dat"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"early")
    os.utime(path, (4_000_000_000, 4_000_000_000))
    assert hold.poolset.order[0] == "a"
