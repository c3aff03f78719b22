"""One history: movers, users and a reaper in one world, one step at a time, as a seed decides.

`History(seed).run()` raises `Broken` with what went wrong and the last steps. See `gates` for what a step is, and
`world` for what must be true after each, and at the end.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from tests.simulation.gates import Actor, How
from tests.simulation.world import DAY_S, DISKS, REMOTE, Process, World

from holdfast.catalog.moves import MoveWanted
from holdfast.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    HoldfastError,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    StoreError,
    Unavailable,
)
from holdfast.hold import Hold
from holdfast.operations.reap import Reap, recover

STEPS_MAX = 1500
GRACE_S = 20_000
POOLS = (*DISKS, REMOTE)
QUIET = ("store.open", "store.stat", "store.list", "start", "files.close", "files.sync")


class Broken(AssertionError):
    """What was promised is not so."""


class History:
    """See the module."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.world = World(rng, is_apart=rng.random() < 0.5, kind=rng.choice(["hierarchical", "distributed"]))
        self.grace_s = rng.choice([0, GRACE_S])
        self.fails = rng.choice([0.0, 0.0, 0.02])
        self.may_fail = self.fails > 0
        self.dies = rng.choice([0.0, 0.01, 0.03])
        self.freezes = rng.choice([0.0, 0.02])
        self.cut_at = rng.randrange(20, 300) if rng.random() < 0.2 else None
        self.stays = rng.choice([0.3, 0.7, 0.9])
        self.is_bad = self.world.is_apart and rng.random() < 0.2
        self.actors: dict[Actor, Process] = {}
        self.frozen: dict[Actor, int] = {}
        self.trace: deque[str] = deque(maxlen=400)
        self.versions: dict[int, list[bytes]] = {}
        self.sure: dict[int, int] = {}
        self.pending: dict[int, list[bytes]] = {}
        self.replaced: dict[int, int] = {}
        self.hidden: set[int] = set()  # that somebody wanted to remove or purge
        self.left = {"mover": rng.randrange(2, 5), "user": rng.randrange(2, 5), "reaper": rng.randrange(1, 4)}
        self.had_zombies = False
        self.entered = self.serial = 0
        self.moved = self.died = self.zombies = 0
        self.last: Actor | None = None

    def run(self) -> None:
        """Play it to its end."""
        try:
            self._play()
        except AssertionError as error:
            steps = "\n".join(self.trace)
            raise Broken(
                f"{error}\n\nThe last steps:\n{steps}\n\nPlay it again with: "
                f"HOLDFAST_SEED={self.seed} pytest tests/simulation"
            ) from error
        finally:
            for actor in list(self.actors):
                while not actor.is_over:
                    actor.step("die")

    # -- the play ---------------------------------------------------------------------------------------------------

    def _play(self) -> None:
        self._begin()
        if self.is_bad:
            for medium in self.world.media.values():
                medium.is_bad = lambda: self.rng.random() < 0.1
        for number in range(STEPS_MAX):
            self._people()
            if not self.actors:
                break
            if number == self.cut_at:
                self._cut_power()
                continue
            self._step(number)
        self.fails = self.dies = self.freezes = 0.0
        while self.actors:
            self._step(-1)
        self._end()

    def _begin(self) -> None:
        """Some datasets, one with extra files."""
        process = self.world.process()
        folder = self.world.root / "state" / "extra"
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "index").write_bytes(b"index")
        for at in range(self.rng.randrange(2, 5)):
            content = self._content()
            more = {"extra_files": folder} if at == 0 else {}
            dataset = process.hold.put(content, name=f"{at}", owner="u", pool=self.rng.choice("ab"), **more)
            self.versions[dataset.id], self.sure[dataset.id] = [content], 0
            if more:
                self.world.extras[dataset.id] = {"sub/index": b"index"}
        process.hold.close()
        self.world.ended(process)

    def _people(self) -> None:
        """Let those come who are still to come; but never two reapers, unless one is taken for dead."""
        for kind in ("mover", "user", "reaper"):
            at_work = [actor for actor in self.actors if actor.name == kind]
            awake = [actor for actor in at_work if actor not in self.frozen]
            if self.left[kind] and self.world.has_room_for_a_process() and len(awake) < (1 if kind == "reaper" else 2):
                if kind == "reaper" and self.rng.random() < 0.9:
                    continue
                self.left[kind] -= 1
                self._enter(kind)
        if not self.actors and self.left["reaper"]:
            self.left["reaper"] -= 1
            self._enter("reaper")

    def _enter(self, kind: str) -> None:
        process = self.world.process()
        work = {"mover": self._mover, "user": self._user, "reaper": self._reaper}[kind]
        self.entered += 1
        self.actors[Actor(kind, self.entered, lambda: work(process.hold))] = process

    def _step(self, number: int) -> None:
        actor = self._choose(number)
        if actor is None:
            return
        at, how = actor.at, self._how(actor)
        if how == "freeze":
            self._freeze(actor, number)
            return
        self.world.clock.us += self.rng.randrange(0, 2_000_000)
        self.trace.append(f"{actor} {how} {at}")
        actor.step(how)
        if actor.is_over:
            self._leave(actor)
        if not at.startswith(QUIET):
            self.world.check_step(self._possible())

    def _choose(self, number: int) -> Actor | None:
        for actor, until in list(self.frozen.items()):
            if number == -1 or number >= until:
                del self.frozen[actor]
                holder = self.actors[actor].holder
                self.world.dead.discard(holder or "")
                self.trace.append(f"{actor} wakes")
        awake = [actor for actor in self.actors if actor not in self.frozen]
        if not awake:
            return None
        if self.last in awake and self.rng.random() < self.stays:
            return self.last
        self.last = self.rng.choice(awake)
        return self.last

    def _how(self, actor: Actor) -> How | str:
        draw = self.rng.random()
        if draw < self.dies:
            return "die"
        if draw < self.dies + self.fails and actor.at not in ("start", "sleep"):
            return "fail"
        # what is frozen in front of a delete, past its last look, is what the grace period is for
        is_past_its_look = actor.at.startswith(("store.delete", "files.unlink", "catalog done"))
        may_freeze = actor.name != "user" and (self.grace_s > 0 or not is_past_its_look)
        return "freeze" if may_freeze and draw < self.dies + self.fails + self.freezes else "go"

    def _freeze(self, actor: Actor, number: int) -> None:
        """It is taken for dead, and wakes up some time."""
        holder = self.actors[actor].holder
        if holder is None:
            return
        self.trace.append(f"{actor} freezes before {actor.at}")
        self.frozen[actor] = number + self.rng.randrange(5, 200)
        self.world.dead.add(holder)
        self.world.clock.us += 1_000 * 1_000_000
        self.had_zombies, self.zombies = True, self.zombies + 1

    def _leave(self, actor: Actor) -> None:
        process = self.actors.pop(actor)
        self.frozen.pop(actor, None)
        self.died += actor.is_dead
        self.world.ended(process)
        if actor.error is not None:
            raise Broken(f"{actor.name} ended with {type(actor.error).__name__}: {actor.error}") from actor.error

    def _cut_power(self) -> None:
        self.trace.append("the power is cut")
        self.frozen.clear()
        for actor in list(self.actors):
            while not actor.is_over:
                actor.step("die")
            self._leave(actor)
        for medium in self.world.media.values():
            medium.cut(lambda: self.rng.random() < 0.7)
        self.world.check_step(self._possible())

    def _end(self) -> None:
        """Everybody is gone: reap twice, and look at all of it."""
        for medium in self.world.media.values():
            medium.is_bad = lambda: False
        self.world.clock.us += 3 * DAY_S * 1_000_000
        process = self.world.process()
        recover(process.hold)
        for _ in range(2):
            _reap(process.hold, 0)
        self.world.check_end(strays=self.had_zombies or self.is_bad)
        for dataset_id in self.versions:
            if dataset_id in self.hidden:
                continue
            self._read(process.hold, dataset_id)
        # and all of it can still be moved
        wanted = [MoveWanted(one, self.rng.choice("ab")) for one in self.versions]
        for moved in process.hold.moving.move(wanted, at_once=1):
            is_taken = self.had_zombies and isinstance(moved.error, AlreadyExists)  # by what a frozen one published
            assert moved.is_moved or moved.code == "done" or self.is_bad or is_taken, moved
        _reap(process.hold, 0)
        self.world.check_end(strays=self.had_zombies or self.is_bad)
        process.hold.close()

    # -- who they are -----------------------------------------------------------------------------------------------

    def _mover(self, hold: Hold) -> None:
        rng = random.Random(self.rng.random())
        for _ in range(rng.randrange(1, 4)):
            ids = rng.sample(sorted(self.versions), rng.randrange(1, len(self.versions) + 1))
            target = rng.choice([*POOLS, *POOLS, None])
            source = rng.choice(POOLS) if target is None else None
            keep = rng.random() < 0.15
            wanted = [MoveWanted(one, target, source, keep=keep and target is not None) for one in ids]
            try:
                for moved in hold.moving.move(wanted, at_once=1):
                    self.moved += moved.is_moved
                    if moved.error is not None and not self.is_bad:
                        assert not isinstance(moved.error, Corrupt), moved
            except (Unavailable, OutcomeUnknown) as error:
                self._expect_faults(error)

    def _reaper(self, hold: Hold) -> None:
        try:
            recover(hold)
            _reap(hold, self.grace_s)
        except (Unavailable, OutcomeUnknown) as error:
            self._expect_faults(error)

    def _user(self, hold: Hold) -> None:
        rng = random.Random(self.rng.random())
        acts: list[Callable[[Hold, int], None]] = [
            self._read, self._read, self._read, self._replace, self._replace, self._remove, self._purge, self._put,
            self._extra,
        ]  # fmt: skip
        for _ in range(rng.randrange(2, 7)):
            act = rng.choice(acts)
            if act == self._purge and rng.random() < 0.7:
                continue
            try:
                act(hold, rng.choice(sorted(self.versions)))
            except (Unavailable, OutcomeUnknown, StoreError) as error:
                if isinstance(error, NoSpace):
                    continue
                if not self.may_fail:
                    raise Broken(f"{act.__name__}: {type(error).__name__}: {error}") from error

    def _read(self, hold: Hold, dataset_id: int) -> None:
        since = self.sure[dataset_id]
        try:
            with hold.open(dataset_id) as stream:
                content = stream.read()
        except NotFound as error:
            self._expect_removed(dataset_id, error)
            return
        possible = self.versions[dataset_id][since:]
        assert content in possible, f"dataset {dataset_id} reads {content[:20]!r}, not one of {_short(possible)}"

    def _extra(self, hold: Hold, dataset_id: int) -> None:
        for one, extras in self.world.extras.items():
            try:
                with hold.open(one, extra_file="sub/index") as stream:
                    content = stream.read()
            except NotFound as error:
                self._expect_removed(one, error)
                return
            assert content == extras["sub/index"]

    def _replace(self, hold: Hold, dataset_id: int) -> None:
        content = self._content()
        versions, pending = self.versions[dataset_id], self.pending.setdefault(dataset_id, [])
        versions.append(content)
        pending.append(content)
        before = self.replaced.get(dataset_id, 0)
        try:
            hold.replace(dataset_id, content)
        except Conflict:
            pending.remove(content)
            return
        pending.remove(content)
        if self.replaced.get(dataset_id, 0) == before:
            self.sure[dataset_id] = len(versions)  # from now on it is this, or one that ends after it
        versions.extend([content, *pending])  # else nobody knows whose came last: the answers may come in another order
        self.replaced[dataset_id] = self.replaced.get(dataset_id, 0) + 1

    def _remove(self, hold: Hold, dataset_id: int) -> None:
        if dataset_id in self.hidden:
            return
        self.hidden.add(dataset_id)
        with suppress(Conflict):
            hold.remove(dataset_id)
            hold.restore(dataset_id)

    def _purge(self, hold: Hold, dataset_id: int) -> None:
        if len(self.versions) - len(self.hidden) < 2:
            return
        self.hidden.add(dataset_id)
        with suppress(Conflict):
            hold.remove(dataset_id, purge=True)

    def _put(self, hold: Hold, _: int) -> None:
        content = self._content()
        dataset = hold.put(content, name="new", owner="u")
        self.versions[dataset.id], self.sure[dataset.id] = [content], 0

    def _expect_faults(self, error: Exception) -> None:
        if not self.may_fail:
            raise Broken(f"nothing fails in this history, and yet: {error}") from error

    def _expect_removed(self, dataset_id: int, error: Exception) -> None:
        if dataset_id not in self.hidden:
            raise Broken(f"dataset {dataset_id} is gone, and nobody removed it: {error}") from error

    def _content(self) -> bytes:
        self.serial += 1
        return f"{self.seed}.{self.serial};".encode() * self.rng.randrange(1, 60)

    def _possible(self) -> dict[int, set[bytes]]:
        return {one: set(versions) for one, versions in self.versions.items()}


class _Progress:
    """Nobody watches."""

    def done(self, *, objects: int = 0, size_bytes: int = 0) -> None: ...

    def failed(self, item: object, error: object, why: str = "", *, object_store_id: str | None = None) -> None: ...

    def count(self, name: str, number: int = 1) -> None: ...

    def note(self, text: str) -> None: ...

    def check(self) -> None: ...


def _reap(hold: Hold, grace_s: float) -> None:
    for batch in Reap().batches(hold, {"grace_s": grace_s}, None):
        try:
            batch.apply(_Progress())
        except StoreError:
            continue
        except HoldfastError as error:
            if not isinstance(error, Conflict):
                raise


def _short(versions: list[bytes]) -> list[bytes]:
    return [one[:20] for one in versions]
