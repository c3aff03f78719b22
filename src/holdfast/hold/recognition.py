"""Which medium is whose: pools become known to the catalog, carry a mark, and are recognised by it.

A local pool is recognised when the hold opens. A remote one is not asked then: one whose mark the catalog knows is
expected to carry it, any other is a stranger until somebody is about to write to it (`ready`), to give out ids
(`meet_strangers`) or asks for a check. Meeting a stranger makes its bucket if it is missing, marks it, and surveys it:
whatever lies in it is listed once, so that no new dataset takes an id that it has. It happens in a thread of its own;
whoever does not need this very pool does not wait for it longer than a moment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from holdfast import layout
from holdfast.catalog.base import PoolRow
from holdfast.catalog.catalog import Catalog
from holdfast.errors import AlreadyExists, Conflict, Denied, HoldfastError, Problem, StoreError, Unavailable
from holdfast.hold.facts import Pool, PoolFacts
from holdfast.seams import Entropy
from holdfast.stores.base import Driver

MOMENT_S = 1.0  # how long who needs another pool waits for a stranger
PATIENCE_S = 60.0  # how long who needs this pool waits for it
AGAIN_S = 30.0  # when a stranger that did not answer is asked again
ID_REACHED = 10**15  # ids beyond are somebody's mistake; new ones will never get there


class Recognition:
    """Makes the catalog and the media agree on who is who."""

    def __init__(self, pools: Mapping[str, Pool], catalog: Catalog, entropy: Entropy) -> None:
        self._pools, self._catalog, self._entropy = pools, catalog, entropy
        self.warnings: list[Problem] = []
        self._strangers: set[str] = set()
        self._meetings: dict[str, _Meeting] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Bring the catalog's pools up to date with the configuration. Touches only local media that are new."""
        rows = {row.object_store_id: row for row in self._catalog.pools.all()}
        self._register(rows)
        for name, pool in self._pools.items():
            if pool.driver is None:
                continue
            row = rows.get(name)
            identity = row.identity if row is not None else None
            if identity is not None:
                pool.driver.expect(identity)
                if self.is_foreign(identity):
                    self._warn_of_foreign(name)
            if not pool.driver.capabilities.remote:
                if identity is None:
                    self._recognise(pool, rows)
            elif identity is None or row is None or not row.surveyed:
                self._strangers.add(name)

    def _register(self, rows: Mapping[str, PoolRow]) -> None:
        changed = [pool for pool in self._pools.values() if not _same(pool.facts, rows.get(pool.object_store_id))]
        removed = [row for row in rows.values() if row.configured and row.object_store_id not in self._pools]
        if not changed and not removed:
            return
        now = self._catalog.clock.now_us()
        with self._catalog.db.write() as cursor:
            for pool in changed:
                self._catalog.pools.register(
                    cursor, pool.object_store_id, kind=pool.facts.type, location=pool.facts.location,
                    configured=True, now_us=now,
                )  # fmt: skip
                if pool.object_store_id not in rows:
                    self._catalog.events.add(
                        cursor, now, "pool.add", f"pool {pool.object_store_id} was added",
                        object_store_id=pool.object_store_id,
                    )  # fmt: skip
            for row in removed:
                self._catalog.pools.register(
                    cursor, row.object_store_id, kind=row.type, location=row.location, configured=False, now_us=now
                )
                self._catalog.events.add(
                    cursor, now, "pool.remove",
                    f"pool {row.object_store_id} is no longer in the configuration; its {row.datasets} datasets "
                    "are unavailable until it is back",
                    object_store_id=row.object_store_id,
                )  # fmt: skip

    # -- marks --------------------------------------------------------------------------------------------

    def is_foreign(self, identity: str) -> bool:
        """Whether a mark says that the pool belongs to another catalog."""
        owner = identity.partition("@")[2]
        return bool(owner) and owner != self._catalog.instance()

    def is_known_foreign(self, object_store_id: str) -> bool:
        """Whether the catalog knows by now that the pool belongs to another one."""
        identity = self._catalog.pools.find(object_store_id).identity
        return identity is not None and self.is_foreign(identity)

    def take_over(self, object_store_id: str) -> bool:
        """Mark a pool of another catalog as this one's, whether the catalog knows that it is foreign, or expects a mark
        that the medium no longer carries, as after a backup was restored. The other catalog does not recognise it any
        more. Whether there was anything to take over; `Conflict` if the medium is that of another pool of this one."""
        pool = self._pools[object_store_id]
        if object_store_id in self._strangers:
            self._meet(object_store_id).wait(PATIENCE_S)
        known = self._catalog.pools.find(object_store_id).identity
        identity = self.carried(object_store_id) or known
        if pool.driver is None or identity is None or (identity == known and not self.is_foreign(identity)):
            return False
        twin = next((row for row in self._catalog.pools.all() if row.identity == identity), None)
        if twin is not None and twin.object_store_id != object_store_id:
            raise Conflict(
                f"what is mounted as pool {object_store_id} is the medium of pool {twin.object_store_id}; put each in "
                "its place, or look with: holdfast check"
            )
        own = self._fresh_identity()
        pool.driver.mark(own, replacing=identity)
        self._catalog.pools.identify(object_store_id, own)
        if pool.driver.capabilities.remote:
            self._catalog.pools.surveyed(object_store_id, known=False)
            with self._lock:
                self._strangers.add(object_store_id)
                self._meetings.pop(object_store_id, None)
        return True

    def carried(self, object_store_id: str) -> str | None:
        """The mark that the medium carries, if it is not the one that the catalog expects. None also if there is none,
        or it cannot be read: a medium that is away is no stranger's."""
        driver, known = self._pools[object_store_id].driver, self._catalog.pools.find(object_store_id).identity
        if driver is None or known is None:
            return None
        try:
            carried = driver.identity()
        except StoreError:
            return None
        return None if carried == known else carried

    def _recognise(self, pool: Pool, rows: Mapping[str, PoolRow]) -> None:
        """Look for the mark, or make it. What cannot be done is a warning."""
        try:
            self._become_known(pool, rows)
        except Denied as error:
            self.warn(
                pool.object_store_id,
                f"its medium cannot be marked, so a vanished mount would not be noticed: {error}",
            )
        except StoreError as error:
            self.warn(pool.object_store_id, str(error))

    def _become_known(self, pool: Pool, rows: Mapping[str, PoolRow]) -> None:
        driver, name = pool.store(), pool.object_store_id
        driver.prepare()
        identity = driver.identity()
        if identity is None:
            identity = self._marked(driver)
        driver.expect(identity)
        twin = next((one for one in rows.values() if one.identity == identity and one.object_store_id != name), None)
        if twin is not None:
            other = twin.object_store_id
            gone = f", which is no longer in the file; if only the id changed: holdfast pool rename {other} {name}"
            what = "bucket" if driver.capabilities.remote else "folder"
            self.warn(name, f"its {what} is the one of pool {other}" + ("" if other in self._pools else gone))
        self._catalog.pools.identify(name, identity)
        if self.is_foreign(identity):
            self._warn_of_foreign(name)
            with self._catalog.db.write() as cursor:
                self._catalog.pools.set_state(cursor, name, "read-only")
                self._catalog.events.add(
                    cursor, self._catalog.clock.now_us(), "pool.state",
                    f"pool {name} belongs to another catalog and is read-only here", object_store_id=name,
                )  # fmt: skip

    def _marked(self, driver: Driver) -> str:
        """Mark a new medium; the mark that it carries then, ours or that of a process that was quicker."""
        identity = self._fresh_identity()
        try:
            driver.mark(identity)
        except AlreadyExists:
            return driver.identity() or identity
        return identity

    def _fresh_identity(self) -> str:
        """A mark: the pool's own name for ever, and the catalog that it belongs to."""
        return f"{self._entropy.uuid()}@{self._catalog.instance()}"

    def _warn_of_foreign(self, name: str) -> None:
        self.warn(
            name,
            "it belongs to another catalog, and is read-only here: two catalogs would delete each other's data. If the "
            f"other one is gone for good, take the pool over: holdfast pool set {name} --state active",
        )

    def warn(self, name: str, message: str) -> None:
        """Something odd, to be shown to whoever opened the hold."""
        self.warnings.append(Problem("pools", None, f"pool {name}", message, severity="warning"))

    # -- strangers ----------------------------------------------------------------------------------------

    def ready(self, object_store_id: str) -> None:
        """Before the first byte goes to a pool: it is known, or its own error. Free for pools that are."""
        if object_store_id not in self._strangers:
            return
        self._meet(object_store_id, needed=True).wait(PATIENCE_S)
        row = self._catalog.pools.find(object_store_id)
        if row.identity is not None and self.is_foreign(row.identity):
            raise Unavailable(
                f"pool {object_store_id} belongs to another catalog and is read-only here",
                store=object_store_id, operation="put", retryable=False,
            )  # fmt: skip

    def meet_strangers(self) -> None:
        """Before ids are given out: know what lies in each pool that answers within a moment."""
        for name in list(self._strangers):
            try:
                meeting = self._meet(name)
                meeting.wait(max(0.0, meeting.begun_s + MOMENT_S - self._catalog.clock.monotonic_s()))
            except HoldfastError:
                continue

    def _meet(self, name: str, *, needed: bool = False) -> _Meeting:
        """The meeting with a stranger that goes on, or a new one; at once if it is `needed` and was only put off."""
        with self._lock:
            if self._pid != os.getpid():  # the parent's threads are not here
                self._pid, self._meetings = os.getpid(), {}
            meeting = self._meetings.get(name)
            now_s = self._catalog.clock.monotonic_s()
            if meeting is None or meeting.is_stale(now_s, needed=needed):
                meeting = self._meetings[name] = _Meeting(name, now_s)
                threading.Thread(target=self._hold_meeting, args=(meeting,), name=f"meet {name}", daemon=True).start()
            return meeting

    def _hold_meeting(self, meeting: _Meeting) -> None:
        try:
            rows = {row.object_store_id: row for row in self._catalog.pools.all()}
            pool, row = self._pools[meeting.name], rows[meeting.name]
            if row.state != "offline":
                if row.identity is None:
                    self._become_known(pool, rows)
                self._survey(pool)
                self._strangers.discard(meeting.name)
        except Exception as error:  # noqa: BLE001 - it is raised by whoever waits
            meeting.end(error)
        else:
            meeting.end(None)

    def _survey(self, pool: Pool) -> None:
        """Know the highest id that lies in a pool, so that it is never given out again."""
        highest = 0
        if pool.facts.store_by == "id":
            for stat in pool.store().list():
                dataset_id = layout.parse(stat.key).dataset_id or 0
                if highest < dataset_id < ID_REACHED:
                    highest = dataset_id
        self._catalog.adoptions.pass_over_ids(highest)
        self._catalog.pools.surveyed(pool.object_store_id)


class _Meeting:
    """A stranger is being met: who waits, what came of it."""

    def __init__(self, name: str, begun_s: float) -> None:
        self.name, self.begun_s = name, begun_s
        self._done = threading.Event()
        self._error: Exception | None = None

    def is_stale(self, now_s: float, *, needed: bool) -> bool:
        """Whether it is over, and time for another: it failed, or the pool was offline then."""
        was_put_off = self._error is None
        return self._done.is_set() and (now_s - self.begun_s > AGAIN_S or (needed and was_put_off))

    def end(self, error: Exception | None) -> None:
        self._error = error
        self._done.set()

    def wait(self, patience_s: float) -> None:
        """Until it is over; the stranger's own error, or `Unavailable` if it takes longer."""
        if not self._done.wait(patience_s):
            raise Unavailable(
                f"pool {self.name} has not answered for {patience_s:.0f} s; what lies in it is not known yet",
                store=self.name, operation="put",
            )  # fmt: skip
        if self._error is not None:
            raise self._error


def _same(facts: PoolFacts, row: PoolRow | None) -> bool:
    return row is not None and row.configured and row.type == facts.type and row.location == facts.location
