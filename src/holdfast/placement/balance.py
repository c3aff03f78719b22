"""How much should lie in each pool: pure functions over snapshots.

`by_weights`: as the tree's weights say, as if everything were put anew. `by_percent`: so that every pool is equally
full. Nobody is given more than fits below his limit; what he cannot take, the others do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from holdfast.placement.policy import Branch, Leaf, Node


@dataclass(frozen=True, slots=True)
class Part:
    """One pool that takes part. `used_bytes` are the datasets', `others_bytes` what else lies on its medium,
    `limit_bytes` how much of its capacity may be taken in all; None means no limit."""

    used_bytes: int
    others_bytes: int = 0
    capacity_bytes: int | None = None
    limit_bytes: int | None = None

    @property
    def most_bytes(self) -> int | None:
        """How many bytes of datasets may lie there."""
        return None if self.limit_bytes is None else max(0, self.limit_bytes - self.others_bytes)


def by_weights(tree: Node, parts: Mapping[str, Part]) -> dict[str, int]:
    """pool -> bytes, by the shares of the tree among the pools that take part."""
    total = sum(part.used_bytes for part in parts.values())
    shares = _shares(tree, frozenset(parts), Fraction(1))
    return _poured(total, {name: shares.get(name, Fraction(0)) for name in parts}, parts)


def by_percent(parts: Mapping[str, Part]) -> dict[str, int]:
    """pool -> bytes, so that (datasets + others) / capacity is the same everywhere, as far as that can be: one that is
    fuller than that by what is not ours gets nothing."""
    total = sum(part.used_bytes for part in parts.values())
    sized = {name: part for name, part in parts.items() if part.capacity_bytes}
    goal = dict.fromkeys(parts, 0)
    while sized:
        level = Fraction(
            total + sum(part.others_bytes for part in sized.values()),
            sum(part.capacity_bytes or 0 for part in sized.values()),
        )
        over = [name for name, part in sized.items() if part.others_bytes > level * (part.capacity_bytes or 0)]
        if not over:
            shares = {
                name: max(Fraction(0), level * (part.capacity_bytes or 0) - part.others_bytes)
                for name, part in sized.items()
            }
            return goal | _poured(total, shares, sized)
        for name in over:
            del sized[name]
    return {name: part.used_bytes for name, part in parts.items()}


def _shares(node: Node, taking: frozenset[str], share: Fraction) -> dict[str, Fraction]:
    """pool -> its part of `share`. The children of a hierarchical node count alike: their order says who is first, not
    how much."""
    if isinstance(node, Leaf):
        return {node.object_store_id: share} if node.object_store_id in taking else {}
    children = [child for child in node.children if _any(child, taking)]
    weights = [child.weight if node.kind == "distributed" else Fraction(1) for child in children]
    whole = sum(weights, Fraction(0))
    found: dict[str, Fraction] = {}
    for child, weight in zip(children, weights, strict=True):
        if whole:
            found |= _shares(child, taking, share * weight / whole)
    return found


def _any(node: Node, taking: frozenset[str]) -> bool:
    if isinstance(node, Branch):
        return any(_any(child, taking) for child in node.children)
    return node.object_store_id in taking


def _poured(total: int, shares: Mapping[str, Fraction], parts: Mapping[str, Part]) -> dict[str, int]:
    """`total` by these shares; who has reached his limit takes no more, and the rest is poured on the others."""
    goal = dict.fromkeys(shares, 0)
    open_ = {name for name, share in shares.items() if share}
    left = total
    while open_ and left > 0:
        whole = sum((shares[name] for name in open_), Fraction(0))
        filled = set()
        for name in open_:
            most = parts[name].most_bytes
            if most is not None and left * shares[name] / whole >= most - goal[name]:
                filled.add(name)
        if not filled:
            for name in sorted(open_):
                goal[name] += int(left * shares[name] / whole)
            break
        for name in filled:
            most = parts[name].most_bytes or 0
            left -= most - goal[name]
            goal[name] = most
        open_ -= filled
    return goal
