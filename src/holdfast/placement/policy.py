"""Placement: the pure ranking of pools for a new dataset, with a reason for each.

`rank` looks at frozen snapshots and answers with every pool in the order in which to try them, then those
that are passed over; each with its reason in words. It does no I/O and keeps nothing.

* hierarchical: children by order; the first that is active and has room comes first.
* distributed: by weight, evenly. For children with shares p, the one is chosen that keeps every child within
  one dataset of n*p after any n (Tijdeman's solution of the chairman assignment problem, Discrete
  Mathematics 32 (1980) 323-330). Weight 0 is never chosen. The counts of a round come from the catalog and
  belong to one set of eligible children: when a pool fills up, joins or leaves, a new round starts from
  zero, so that a new pool takes its share and not all that the others already have.

Trees nest to any depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import Literal

PoolState = Literal["active", "read-only", "draining", "offline"]
Code = Literal["ok", "full", "state", "unreachable", "weight", "not-asked"]


@dataclass(frozen=True, slots=True)
class PoolView:
    """A snapshot of one pool. None means "no such number".

    `used_bytes` is what is taken of the capacity, without reservations. `free_bytes` is what the medium has
    left, and `medium_reserved_bytes` what all pools on that medium have promised of it.
    """

    object_store_id: str
    state: PoolState = "active"
    reachable: bool = True
    unreachable_because: str = ""
    private: bool = False
    capacity_bytes: int | None = None
    used_bytes: int = 0
    reserved_bytes: int = 0
    free_bytes: int | None = None
    medium_reserved_bytes: int | None = None
    medium: str | None = None
    max_percent_full: float | None = None
    unwritable_because: str = ""  # its medium can be read, and takes nothing just now
    state_because: str = ""  # why it has its state, where nobody has chosen it

    def updated(
        self,
        *,
        reserved_bytes: int | None = None,
        medium_reserved_bytes: int | None = None,
        failed_because: str | None = None,
    ) -> PoolView:
        """The same pool with other promises, or one that has just failed."""
        return PoolView(
            self.object_store_id, self.state, self.reachable and failed_because is None,
            failed_because or self.unreachable_because, self.private, self.capacity_bytes, self.used_bytes,
            self.reserved_bytes if reserved_bytes is None else reserved_bytes, self.free_bytes,
            self.medium_reserved_bytes if medium_reserved_bytes is None else medium_reserved_bytes, self.medium,
            self.max_percent_full, self.unwritable_because, self.state_because,
        )  # fmt: skip

    def limit_bytes(self) -> int | None:
        """The number of bytes that may be taken in all."""
        if self.capacity_bytes is None:
            return None
        if self.max_percent_full is None:
            return self.capacity_bytes
        return int(self.capacity_bytes * self.max_percent_full / 100)

    def percent_full(self) -> float | None:
        """Bytes taken and reserved, in percent of the capacity; 100 at most. Bytes of writes under way that are on the
        medium already are in both: nobody can tell which of the medium's bytes these are."""
        if not self.capacity_bytes:
            return None
        return min(100.0, 100 * (self.used_bytes + self.reserved_bytes) / self.capacity_bytes)

    def kept_bytes(self) -> int:
        """Room that is kept for writes under way: what is reserved, but no more than is left. What does not fit into
        that must have arrived."""
        left = [self.reserved_bytes]
        left += [] if self.capacity_bytes is None else [self.capacity_bytes - self.used_bytes]
        left += [] if self.free_bytes is None else [self.free_bytes]
        return max(0, min(left))

    def open_bytes(self) -> int | None:
        """Room that nobody has and that was promised to nobody, whatever the limit: with what is used and what is kept,
        never more than the capacity. None if there is no such number."""
        if self.free_bytes is None:
            return None
        promised = self.reserved_bytes if self.medium_reserved_bytes is None else self.medium_reserved_bytes
        rooms = [self.free_bytes - promised]
        rooms += [] if self.capacity_bytes is None else [self.capacity_bytes - self.used_bytes - self.reserved_bytes]
        return max(0, min(rooms))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A pool's place in the tree."""

    object_store_id: str
    weight: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Branch:
    """A node over others. `node_id` names its rounds in the catalog. Children stand in their order."""

    node_id: str
    kind: Literal["hierarchical", "distributed"]
    children: tuple[Node, ...]
    weight: Fraction = Fraction(1)


Node = Leaf | Branch


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be placed. `pool` demands one pool; `preferred` asks for one and takes another if it must.

    With `settled` the tree itself has chosen `pool` at an earlier time, for somebody who has worked there since:
    it counts in the rounds as if it were chosen now. `settled` says so, in words that follow "it was".
    """

    size_bytes: int = 0
    owner: str | None = None
    pool: str | None = None
    preferred: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    settled: str | None = None


@dataclass(frozen=True, slots=True)
class RoundStep:
    """A distributed node's count that goes up when this choice is taken."""

    node_id: str
    signature: str
    child: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One pool's verdict. Those with `possible` come first, in the order in which to try them.

    `reason` is for people, `code` for programs: ok, full, state, unreachable, weight, not-asked.
    """

    object_store_id: str
    reason: str
    code: Code = "ok"
    rounds: tuple[RoundStep, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether the dataset could go there now."""
        return self.code == "ok"


RoundCounts = Callable[[str, str], Mapping[str, int]]
"""(node_id, signature) -> how often each child was chosen in that round."""


def no_rounds(_node_id: str, _signature: str) -> Mapping[str, int]:
    """A fresh round everywhere."""
    return {}


def rank(
    request: Request, tree: Node, views: Mapping[str, PoolView], rounds: RoundCounts = no_rounds
) -> list[Choice]:
    """Every pool of the tree, those to try first in their order, then those passed over, with reasons."""
    possible, passed = _rank(request, tree, views, rounds, _place_words(tree))
    wanted = request.pool or request.preferred
    if wanted is None:
        return possible + passed
    asked = request.settled or "asked for"
    word = asked if request.pool else "preferred by its owner"
    # what somebody asked for stands outside the rounds: it must not shift the others' shares
    chosen = [
        Choice(c.object_store_id, f"{word}; {c.reason}", rounds=c.rounds if request.settled else ())
        for c in possible
        if c.object_store_id == wanted
    ]
    refused = [
        Choice(c.object_store_id, f"{word}, but {c.reason}", c.code) for c in passed if c.object_store_id == wanted
    ]
    others = [choice for choice in possible if choice.object_store_id != wanted]
    rest = [choice for choice in passed if choice.object_store_id != wanted]
    if request.pool:
        why = f"{request.pool} was {asked}"
        not_asked = [Choice(c.object_store_id, why, "not-asked") for c in others]
        return chosen + refused + not_asked + rest
    return chosen + others + refused + rest


def leaves(tree: Node) -> list[Leaf]:
    """The pools of a tree in the order in which they are probed."""
    if isinstance(tree, Leaf):
        return [tree]
    return [leaf for child in tree.children for leaf in leaves(child)]


def refusal(request: Request, view: PoolView) -> tuple[Code, str] | None:
    """Why this pool cannot take the dataset, or None if it can."""
    if view.state != "active":
        why = f": {view.state_because}" if view.state_because else ""
        return "state", _STATE_WORDS[view.state] + why
    if not view.reachable:
        why = view.unreachable_because
        return "unreachable", f"it cannot be used now: {why}" if why else "it cannot be used now"
    if view.unwritable_because:
        return "unreachable", f"it takes nothing now: {view.unwritable_because}"
    limit = view.limit_bytes()
    if limit is not None and view.used_bytes + view.reserved_bytes + request.size_bytes > limit:
        asked = size_words(request.size_bytes)
        return "full", f"it has no room: {_fullness(view)}{_limit_words(view)}, {asked} asked for"
    promised = view.reserved_bytes if view.medium_reserved_bytes is None else view.medium_reserved_bytes
    if view.free_bytes is not None and promised + request.size_bytes > view.free_bytes:
        return "full", f"its disk has {size_words(view.free_bytes)} free, {size_words(request.size_bytes)} asked for"
    return None


OFFLINE_WORDS = "it is offline"
_STATE_WORDS: Mapping[str, str] = {
    "read-only": "it is read-only", "draining": "it is being drained", "offline": OFFLINE_WORDS,
}  # fmt: skip


# -- inside -----------------------------------------------------------------------------------------------


def _rank(
    request: Request, node: Node, views: Mapping[str, PoolView], rounds: RoundCounts, words: Mapping[str, str]
) -> tuple[list[Choice], list[Choice]]:
    if isinstance(node, Leaf):
        view = views.get(node.object_store_id)
        if view is None:
            return [], [Choice(node.object_store_id, "it is not open", "unreachable")]
        place = words[node.object_store_id]
        refused = refusal(request, view)
        if refused is not None:
            code, why = refused
            return [], [Choice(node.object_store_id, f"{place}: {why}" if place else why, code)]
        reason = f"{place}, {_fullness(view)}" if place else _fullness(view)
        return [Choice(node.object_store_id, reason)], []
    if node.kind == "hierarchical":
        possible: list[Choice] = []
        passed: list[Choice] = []
        for child in node.children:
            yes, no = _rank(request, child, views, rounds, words)
            possible += yes
            passed += no
        return possible, passed
    return _rank_distributed(request, node, views, rounds, words)


def _rank_distributed(
    request: Request, node: Branch, views: Mapping[str, PoolView], rounds: RoundCounts, words: Mapping[str, str]
) -> tuple[list[Choice], list[Choice]]:
    ranked: dict[str, list[Choice]] = {}
    weights: dict[str, Fraction] = {}
    passed: list[Choice] = []
    for child in node.children:
        name = child_name(child)
        yes, no = _rank(request, child, views, rounds, words)
        passed += no
        if child.weight == 0:
            why = "weight 0: it is read, never chosen"
            passed += [Choice(choice.object_store_id, why, "weight") for choice in yes]
        elif yes:
            ranked[name], weights[name] = yes, child.weight
    if not ranked:
        return [], passed
    signature = ",".join(f"{name}={weights[name]}" for name in sorted(weights))
    counts = rounds(node.node_id, signature)
    order = turn(weights, {name: counts.get(name, 0) for name in weights})
    total = sum(weights.values())
    placed = sum(counts.get(name, 0) for name in weights)
    possible: list[Choice] = []
    for name in order:
        step = RoundStep(node.node_id, signature, name)
        share = weights[name] / total
        standing = f"has {counts.get(name, 0)} of {placed}, its share is {_percent(share)}"
        for choice in ranked[name]:
            reason = f"{choice.reason}; {standing}"
            possible.append(Choice(choice.object_store_id, reason, "ok", (step, *choice.rounds)))
    return possible, passed


def turn(weights: Mapping[str, Fraction], counts: Mapping[str, int]) -> list[str]:
    """Whose turn it is: the names with positive weight, best first.

    If the best is always taken, then after any n turns from zero every count differs from n * share by at
    most 1 - 1/(2k-2) for k names: always less than one.
    """
    names = sorted(weights)
    if len(names) < 2:
        return names
    whole = lcm(*(weights[name].denominator for name in names))
    parts = {name: int(weights[name] * whole) for name in names}  # shares as whole parts: exact, and quick
    total = sum(parts.values())
    n = sum(counts[name] for name in names) + 1
    slots = 2 * len(names) - 2
    due: list[tuple[int, int, str]] = []
    rest: list[tuple[int, str]] = []
    for name in names:
        behind = n * parts[name] - counts[name] * total  # in parts of a dataset
        if behind * slots >= total:
            # how many more turns until it would fall a whole dataset behind
            deadline = -((behind * slots - total * (slots - 1)) // (parts[name] * slots))
            due.append((deadline, -behind, name))
        else:
            rest.append((-behind, name))
    return [name for *_, name in sorted(due)] + [name for _, name in sorted(rest)]


def child_name(node: Node) -> str:
    """How a node is called in its parent's rounds."""
    return node.object_store_id if isinstance(node, Leaf) else node.node_id


def _place_words(tree: Node) -> dict[str, str]:
    words: dict[str, str] = {}

    def visit(node: Node, place: str) -> None:
        if isinstance(node, Leaf):
            words[node.object_store_id] = place
            return
        for at, child in enumerate(node.children):
            own = f"order {at}" if node.kind == "hierarchical" else f"weight {_number(child.weight)}"
            visit(child, f"{place}, {own}" if place else own)

    visit(tree, "")
    return words


def _fullness(view: PoolView) -> str:
    percent = view.percent_full()
    if percent is None:
        return "room unknown"
    return f"{percent if percent == 100 else min(percent, 99):.0f}% full"


def _limit_words(view: PoolView) -> str:
    return "" if view.max_percent_full is None else f", limit {_number(Fraction(view.max_percent_full))}%"


def _percent(share: Fraction) -> str:
    return f"{float(share) * 100:.4g}%"


def _number(value: Fraction) -> str:
    return f"{float(value):g}"


def size_words(size_bytes: int) -> str:
    """A number of bytes for people, in binary units."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
