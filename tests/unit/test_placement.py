"""Placement: which pool, in which order, and why. Pure: no pool is touched here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.placement.locator import Place, candidates
from holdfast.placement.policy import (
    Branch,
    Choice,
    Leaf,
    Node,
    PoolView,
    Request,
    child_name,
    leaves,
    no_rounds,
    rank,
    refusal,
    turn,
)

WEIGHTS = st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(1, 1000), min_size=1, max_size=12)


def hierarchical(*children: Node | str, name: str = "root") -> Branch:
    return Branch(name, "hierarchical", tuple(Leaf(one) if isinstance(one, str) else one for one in children))


def distributed(weights: Mapping[str, float], name: str = "root") -> Branch:
    return Branch(name, "distributed", tuple(Leaf(one, Fraction(weight)) for one, weight in weights.items()))


def views(*names: str, **others: PoolView) -> dict[str, PoolView]:
    return {**{name: PoolView(name) for name in names}, **others}


class Rounds:
    """What the catalog keeps: counts go up when a choice is taken."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def __call__(self, node_id: str, signature: str) -> Mapping[str, int]:
        asked = node_id, signature
        return {child: count for (*round_id, child), count in self.counts.items() if tuple(round_id) == asked}

    def take(self, choices: list[Choice]) -> str:
        assert choices[0].possible
        for step in choices[0].rounds:
            self.counts[step.node_id, step.signature, step.child] += 1
        return choices[0].object_store_id


def run(
    tree: Node, pools: Mapping[str, PoolView], count: int, rounds: Rounds | None = None, **asked: object
) -> list[str]:
    rounds = rounds or Rounds()
    return [rounds.take(rank(Request(**asked), tree, pools, rounds)) for _ in range(count)]  # type: ignore[arg-type]


def within_one(chosen: list[str], weights: Mapping[str, float]) -> None:
    total = sum(map(Fraction, weights.values()))
    counts: Counter[str] = Counter()
    for at, name in enumerate(chosen, 1):
        counts[name] += 1
        for one, weight in weights.items():
            assert abs(counts[one] - at * Fraction(weight) / total) < 1, (at, one, counts)


# -- hierarchical -----------------------------------------------------------------------------------------------------


def test_the_first_by_order():
    choices = rank(Request(), hierarchical("new", "old"), views("new", "old"))
    assert [(one.object_store_id, one.possible) for one in choices] == [("new", True), ("old", True)]
    assert [one.reason for one in choices] == ["order 0, room unknown", "order 1, room unknown"]
    assert all(one.rounds == () for one in choices)


REFUSALS = {
    "read-only": (PoolView("a", state="read-only"), "state", "it is read-only"),
    "draining": (PoolView("a", state="draining"), "state", "it is being drained"),
    "offline": (PoolView("a", state="offline"), "state", "it is offline"),
    "unreachable": (
        PoolView("a", reachable=False, unreachable_because="the folder is not there"),
        "unreachable",
        "it cannot be used now: the folder is not there",
    ),
    "full": (
        PoolView("a", capacity_bytes=1000, used_bytes=900, reserved_bytes=50),
        "full",
        "it has no room: 95% full, 51 B asked for",
    ),
    "over its limit": (
        PoolView("a", capacity_bytes=1000, used_bytes=750, reserved_bytes=0, max_percent_full=80),
        "full",
        "it has no room: 75% full, limit 80%, 51 B asked for",
    ),
    "on a full disk": (PoolView("a", free_bytes=50), "full", "its disk has 50 B free, 51 B asked for"),
    "on a disk that others have spoken for": (
        PoolView("a", free_bytes=1000, medium_reserved_bytes=950),
        "full",
        "its disk has 1000 B free, 51 B asked for",
    ),
}


@pytest.mark.parametrize("how", REFUSALS)
def test_what_is_passed_over_says_why(how: str):
    view, code, why = REFUSALS[how]
    for tree in (hierarchical("a", "b"), distributed({"a": 1, "b": 1})):
        choices = rank(Request(51), tree, views("b", a=view))
        assert [(one.object_store_id, one.possible) for one in choices] == [("b", True), ("a", False)]
        assert choices[1].code == code
        assert choices[1].reason.endswith(why)
    alone = rank(Request(51), Leaf("a"), views(a=view))
    assert [(one.code, one.reason) for one in alone] == [(code, why)]


@pytest.mark.parametrize(
    ("view", "most"),
    [
        (PoolView("a", capacity_bytes=1000), 1000),
        (PoolView("a", capacity_bytes=1000, used_bytes=400, reserved_bytes=300), 300),
        (PoolView("a", capacity_bytes=1000, used_bytes=400, max_percent_full=90), 500),
        (PoolView("a", capacity_bytes=1001, max_percent_full=33.3), 333),
        (PoolView("a", free_bytes=70), 70),
        (PoolView("a", free_bytes=70, reserved_bytes=20), 50),
        (PoolView("a", free_bytes=70, reserved_bytes=20, medium_reserved_bytes=60), 10),
        (PoolView("a", capacity_bytes=1000, used_bytes=400, free_bytes=70), 70),
        (PoolView("a", capacity_bytes=0), 0),
    ],
)
def test_to_the_last_byte_and_not_beyond(view: PoolView, most: int):
    assert rank(Request(most), Leaf("a"), {"a": view})[0].possible
    assert not rank(Request(most + 1), Leaf("a"), {"a": view})[0].possible


def test_a_pool_over_its_limit_takes_not_even_nothing():
    view = PoolView("a", capacity_bytes=1000, used_bytes=950, max_percent_full=90)
    assert not rank(Request(0), Leaf("a"), {"a": view})[0].possible


def test_a_pool_that_is_not_open_is_unreachable():
    choices = rank(Request(), hierarchical("a", "b"), views("b"))
    assert [(one.object_store_id, one.code) for one in choices] == [("b", "ok"), ("a", "unreachable")]


# -- distributed ------------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(WEIGHTS)
def test_turns_are_within_one_of_the_ideal(weights: dict[str, int]):
    counts = dict.fromkeys(weights, 0)
    total = sum(weights.values())
    exact = {name: Fraction(weight) for name, weight in weights.items()}
    for at in range(1, 301):
        counts[turn(exact, counts)[0]] += 1
        worst = max(abs(counts[name] * total - at * weight) for name, weight in weights.items())
        assert worst < total, (at, counts)


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1, "b": 1},
        {"a": 4, "b": 1},
        {"a": 1000, "b": 1, "c": 1, "d": 1},
        {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8, "i": 9, "j": 10, "k": 11, "l": 12},
        dict.fromkeys("abcdefghijkl", 1),
        {"a": 997, "b": 991, "c": 983, "d": 2},
        {"a": Fraction(1, 3), "b": Fraction(1, 7), "c": Fraction(5, 2)},
        {"a": 0.1, "b": 0.2, "c": 0.7},
    ],
    ids=str,
)
def test_choices_are_within_one_of_the_ideal(weights: dict[str, float]):
    within_one(run(distributed(weights), views(*weights), 1500 if len(weights) < 5 else 300), weights)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.lists(st.integers(0, 5), max_size=300))
def test_turns_survive_choices_that_come_to_nothing(weights: dict[str, int], fates: list[int]):
    """A put that fails gives its turn back: those that last stay within one of the ideal, and one for each open."""
    exact = {name: Fraction(weight) for name, weight in weights.items()}
    total = sum(weights.values())
    counts = dict.fromkeys(weights, 0)
    for fate in fates:
        name = turn(exact, counts)[0]
        counts[name] += 1
        if fate == 0:
            counts[name] -= 1
        placed = sum(counts.values())
        assert all(abs(counts[one] * total - placed * weight) < total for one, weight in weights.items())


def test_all_are_ranked_the_one_whose_turn_it_is_first():
    choices = rank(Request(), distributed({"a": 3, "b": 1, "c": 2}), views("a", "b", "c"))
    assert [one.object_store_id for one in choices] == ["a", "c", "b"]
    assert choices[0].reason == "weight 3, room unknown; has 0 of 0, its share is 50%"


def test_weight_0_is_never_chosen():
    tree = distributed({"a": 1, "b": 0, "c": 1})
    assert set(run(tree, views("a", "b", "c"), 30)) == {"a", "c"}
    last = rank(Request(), tree, views("a", "b", "c"))[-1]
    assert (last.object_store_id, last.code, last.reason) == ("b", "weight", "weight 0: it is read, never chosen")
    choices = rank(Request(), tree, views("b", a=PoolView("a", state="offline"), c=PoolView("c", state="offline")))
    assert not any(one.possible for one in choices)
    assert len(choices) == 3


def test_a_pool_that_joins_takes_its_share_and_not_what_it_missed():
    rounds = Rounds()
    two = {"a": 1, "b": 1}
    within_one(run(distributed(two), views("a", "b"), 100, rounds), two)
    three = {"a": 1, "b": 1, "c": 1}
    within_one(run(distributed(three), views("a", "b", "c"), 30, rounds), three)


def test_a_pool_that_fills_up_leaves_the_round_and_comes_back():
    rounds = Rounds()
    weights = {"a": 2, "b": 1, "c": 1}
    tree = distributed(weights)
    first = run(tree, views(*weights), 41, rounds)
    full = views("b", "c", a=PoolView("a", free_bytes=0))
    within_one(run(tree, full, 21, rounds, size_bytes=1), {"b": 1, "c": 1})
    within_one(first + run(tree, views(*weights), 41, rounds), weights)


def test_another_weight_is_another_round():
    rounds = Rounds()
    run(distributed({"a": 1, "b": 1}), views("a", "b"), 50, rounds)
    within_one(run(distributed({"a": 3, "b": 1}), views("a", "b"), 50, rounds), {"a": 3, "b": 1})


# -- nesting ----------------------------------------------------------------------------------------------------------


def deep_tree() -> Branch:
    innermost = distributed({"e": 1, "f": 3}, "innermost")
    inner = Branch("inner", "hierarchical", (Leaf("c"), innermost, Leaf("d")), Fraction(2))
    middle = Branch("middle", "distributed", (Leaf("b", Fraction(1)), inner), Fraction(3))
    return Branch("top", "distributed", (Leaf("a", Fraction(2)), middle), Fraction(1))


def test_nesting_loses_nothing():
    tree = deep_tree()
    names = [leaf.object_store_id for leaf in leaves(tree)]
    assert names == ["a", "b", "c", "e", "f", "d"]
    for lost in [None, *names]:
        pools = {name: PoolView(name, state="offline" if name == lost else "active") for name in names}
        choices = rank(Request(), tree, pools)
        assert sorted(one.object_store_id for one in choices) == sorted(names)
        assert [one.object_store_id for one in choices if not one.possible] == ([lost] if lost else [])


def test_nesting_keeps_the_shares_of_every_level():
    tree = deep_tree()
    names = [leaf.object_store_id for leaf in leaves(tree)]
    chosen = run(tree, views(*names), 400)
    within_one(["a" if one == "a" else "rest" for one in chosen], {"a": 2, "rest": 3})
    within_one(["b" if one == "b" else "rest" for one in chosen if one != "a"], {"b": 1, "rest": 2})
    assert set(chosen) == {"a", "b", "c"}, "in a hierarchy the first takes all"
    full = {**views(*names), "c": PoolView("c", state="read-only")}
    chosen = run(tree, full, 400)
    within_one(["a" if one == "a" else "rest" for one in chosen], {"a": 2, "rest": 3})
    within_one([one for one in chosen if one in "ef"], {"e": 1, "f": 3})
    assert "d" not in chosen
    hollow = {name: PoolView(name, state="active" if name == "d" else "offline") for name in names}
    assert set(run(tree, hollow, 10)) == {"d"}


@st.composite
def trees(draw: st.DrawFn, depth: int = 4) -> Node:
    number = iter(range(1000))

    def node(level: int) -> Node:
        weight = Fraction(draw(st.integers(0, 5)))
        if level == 0 or draw(st.booleans()):
            return Leaf(f"p{next(number)}", weight)
        kind = draw(st.sampled_from(["hierarchical", "distributed"]))
        children = tuple(node(level - 1) for _ in range(draw(st.integers(1, 3))))
        return Branch(f"n{next(number)}", kind, children, weight)

    return node(depth)


@settings(max_examples=80, deadline=None)
@given(trees(), st.data())
def test_any_tree_tells_of_every_pool_once_and_keeps_its_shares(tree: Node, data: st.DataObject):
    names = [leaf.object_store_id for leaf in leaves(tree)]
    state = st.sampled_from(["active", "active", "offline"])
    pools = {name: PoolView(name, state=data.draw(state)) for name in names}  # type: ignore[arg-type]
    rounds = Rounds()
    passed: list[str] = []
    for _ in range(40):
        choices = rank(Request(), tree, pools, rounds)
        assert sorted(one.object_store_id for one in choices) == sorted(names)
        flags = [one.possible for one in choices]
        assert flags == sorted(flags, reverse=True)
        if not flags[0]:
            return
        passed.append(rounds.take(choices))
    for branch in _distributed_nodes(tree):
        below = {child_name(child): {leaf.object_store_id for leaf in leaves(child)} for child in branch.children}
        own = [name for chosen in passed for name, inside in below.items() if chosen in inside]
        usable = {child_name(child): child.weight for child in branch.children if child_name(child) in set(own)}
        if own and len(usable) == len([child for child in branch.children if _takes(child, pools) and child.weight]):
            within_one(own, usable)


# -- asking for a pool ------------------------------------------------------------------------------------------------


def test_a_pool_that_is_asked_for_is_the_only_one():
    choices = rank(Request(pool="b"), hierarchical("a", "b", "c"), views("a", "b", "c"))
    assert [(one.object_store_id, one.possible, one.code) for one in choices] == [
        ("b", True, "ok"),
        ("a", False, "not-asked"),
        ("c", False, "not-asked"),
    ]
    assert choices[0].reason == "asked for; order 1, room unknown"
    assert choices[1].reason == "b was asked for"


def test_a_pool_that_is_asked_for_and_full_is_no_reason_to_take_another():
    choices = rank(Request(5, pool="b"), hierarchical("a", "b"), views("a", b=PoolView("b", free_bytes=1)))
    assert not any(one.possible for one in choices)
    assert choices[0].object_store_id == "b"
    assert choices[0].reason.startswith("asked for, but order 1: its disk has")


def test_a_preferred_pool_comes_first_and_another_if_it_must():
    tree = hierarchical("a", "b", "c")
    choices = rank(Request(preferred="c"), tree, views("a", "b", "c"))
    assert [one.object_store_id for one in choices] == ["c", "a", "b"]
    assert all(one.possible for one in choices)
    assert choices[0].reason == "preferred by its owner; order 2, room unknown"
    choices = rank(Request(preferred="c"), tree, views("a", "b", c=PoolView("c", state="draining")))
    assert [(one.object_store_id, one.possible) for one in choices] == [("a", True), ("b", True), ("c", False)]
    assert choices[2].reason == "preferred by its owner, but order 2: it is being drained"
    choices = rank(Request(preferred="gone"), tree, views("a", "b", "c"))
    assert [one.object_store_id for one in choices] == ["a", "b", "c"]


@pytest.mark.parametrize("ask", ["pool", "preferred"])
def test_who_asks_for_a_pool_does_not_shift_the_others_shares(ask: str):
    rounds, weights = Rounds(), {"a": 1, "b": 1, "c": 1}
    tree, chosen = distributed(weights), []
    for at in range(60):
        asked = {ask: "a"} if at % 3 == 0 else {}
        [name] = run(tree, views(*weights), 1, rounds, **asked)
        if asked:
            assert name == "a"
        else:
            chosen.append(name)
    within_one(chosen, weights)


# -- where it may be --------------------------------------------------------------------------------------------------


def test_where_to_look_for_what_nobody_recorded():
    places = [Place("a", "id"), Place("old", "id", check_old_style=True), Place("u", "uuid")]
    uuid = "135ee48a-4f51-470c-ae2f-ce8bd78799e6"
    assert list(candidates(places, 24, None)) == [
        ("a", "000/dataset_24.dat"),
        ("old", "dataset_24.dat"),
        ("old", "000/dataset_24.dat"),
    ]
    assert list(candidates(places, None, uuid)) == [("u", f"1/3/5/dataset_{uuid}.dat")]
    assert list(candidates(places, 24, uuid))[-1] == ("u", f"1/3/5/dataset_{uuid}.dat")
    assert list(candidates([], 24, uuid)) == []


def test_a_fresh_round_has_no_counts():
    assert no_rounds("any", "thing") == {}


def _distributed_nodes(tree: Node) -> list[Branch]:
    if isinstance(tree, Leaf):
        return []
    below = [branch for child in tree.children for branch in _distributed_nodes(child)]
    return ([tree] if tree.kind == "distributed" else []) + below


def _takes(node: Node, pools: Mapping[str, PoolView]) -> bool:
    if isinstance(node, Leaf):
        return pools[node.object_store_id].state == "active"
    if node.kind == "distributed":
        return any(_takes(child, pools) for child in node.children if child.weight)
    return any(_takes(child, pools) for child in node.children)


SIZES = st.integers(0, 1 << 50)


@given(SIZES, SIZES, SIZES, st.none() | SIZES)
def test_what_is_shown_of_a_pool_adds_up(used: int, free: int, reserved: int, everybodys: int | None):
    """Also while bytes that have arrived are both in use and reserved."""
    view = PoolView(
        "a", capacity_bytes=used + free, used_bytes=used, free_bytes=free, reserved_bytes=reserved,
        medium_reserved_bytes=None if everybodys is None else reserved + everybodys,
    )  # fmt: skip
    kept, left = view.kept_bytes(), view.open_bytes()
    assert left is not None
    assert used + kept + left <= used + free
    assert 0 <= kept <= reserved
    percent = view.percent_full()
    assert percent is None or 0 <= percent <= 100
    if used + reserved >= used + free:
        assert percent in (None, 100)
        assert refusal(Request(1), view) is not None, "full is what takes nothing more"
    if left > 0:
        assert refusal(Request(left), view) is None, "what is free can be had"
        assert refusal(Request(left + 1), view) is not None


def test_a_hair_below_full_is_not_full():
    [choice] = rank(Request(1), Leaf("a"), {"a": PoolView("a", capacity_bytes=1000, used_bytes=998)})
    assert choice.possible
    assert "99% full" in choice.reason
