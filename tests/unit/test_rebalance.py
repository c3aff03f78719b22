"""Rebalancing: the goals are reached by the fewest bytes, and a second run finds nothing to do."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.hold_kit import audit, make_hold

from holdfast.errors import ConfigError, Malformed
from holdfast.hold import Hold
from holdfast.operations.runner import Operations
from holdfast.placement.balance import Part, by_percent, by_weights
from holdfast.placement.policy import Branch, Leaf
from holdfast.testing.store_kit import content_of


def operate(hold: Hold, **parameters: object) -> dict[str, Any]:
    operations = Operations(hold)
    return operations.to_json(operations.run(operations.submit("rebalance", parameters).id))


def used(hold: Hold) -> dict[str, int]:
    return hold.catalog.datasets.standing_bytes()


# -- goals ----------------------------------------------------------------------------------------------------------

SIZES = st.integers(0, 10**9)
PARTS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(lambda used, others, free: Part(used, others, used + others + free, used + others + free),
              SIZES, SIZES, SIZES),
    min_size=2,
)  # fmt: skip


@given(PARTS, st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_goals_are_all_of_the_bytes_and_nobody_is_overfilled(parts: dict[str, Part], weights: list[int]):
    names = sorted(parts)
    leaves = tuple(Leaf(name, Fraction(weight)) for name, weight in zip(names, weights, strict=False))
    total = sum(part.used_bytes for part in parts.values())
    for goals in (by_weights(Branch("r", "distributed", leaves), parts), by_percent(parts)):
        assert set(goals) == set(parts)
        for name, part in parts.items():
            assert 0 <= goals[name] <= max(part.most_bytes or 0, part.used_bytes)
        assert sum(goals.values()) <= total


@given(PARTS)
def test_by_percent_all_are_equally_full_where_that_can_be(parts: dict[str, Part]):
    goals = by_percent(parts)
    total = sum(part.used_bytes for part in parts.values())
    taking = [name for name in parts if goals[name]]
    if abs(sum(goals.values()) - total) > len(parts):
        return
    levels = [(goals[name] + parts[name].others_bytes) / (parts[name].capacity_bytes or 1) for name in taking]
    assert not levels or max(levels) - min(levels) < 1e-3 or min(parts[n].capacity_bytes or 0 for n in taking) < 10_000


def test_weights_of_a_nested_tree():
    tree = Branch(
        "r", "distributed",
        (
            Leaf("a", Fraction(1)),
            Branch("n", "distributed", (Leaf("b", Fraction(1)), Leaf("c", Fraction(3))), Fraction(4)),
        ),
    )  # fmt: skip
    parts = {"a": Part(1000), "b": Part(0), "c": Part(0)}
    assert by_weights(tree, parts) == {"a": 200, "b": 200, "c": 600}
    assert by_weights(tree, {"a": Part(1000), "c": Part(0)}) == {"a": 200, "c": 800}


def test_who_is_at_his_limit_leaves_the_rest_to_the_others():
    tree = Branch("r", "distributed", (Leaf("a", Fraction(1)), Leaf("b", Fraction(1))))
    assert by_weights(tree, {"a": Part(1000), "b": Part(0, 50, 200, 150)}) == {"a": 900, "b": 100}


# -- runs -----------------------------------------------------------------------------------------------------------


def test_a_new_pool_gets_its_share_and_a_second_run_moves_nothing(tmp_path: Path):
    with make_hold(tmp_path, {"a": {"weight": 1}, "b": {"weight": 3}}, kind="distributed") as hold:
        for number in range(80):
            hold.put(content_of(1000, number), name=f"{number}", pool="a")
        plan = Operations(hold).plan("rebalance", {})
        assert (plan["bytes"], plan["from"]["a"]["objects"]) == (60_000, 60)
        assert (plan["before"]["a"]["bytes"], plan["after"]["b"]["bytes"]) == (80_000, 60_000)
        told = operate(hold)
        assert (told["state"], told["result"]) == ("done", {"moved": 60})
        assert used(hold) == {"a": 20_000, "b": 60_000}
        audit(hold)
        assert Operations(hold).plan("rebalance", {})["objects"] == 0
        assert operate(hold)["objects_done"] == 0
        audit(hold)


def test_equally_full_counts_what_others_have_put_there(tmp_path: Path):
    pools = {"a": {"capacity_bytes": 10_000}, "b": {"capacity_bytes": 30_000}, "c": {"capacity_bytes": 10_000}}
    with make_hold(tmp_path, pools) as hold:
        for number in range(10):
            hold.put(content_of(900, number), name=f"{number}", pool="a")
        hold.set_pool_state("c", "read-only")
        told = operate(hold, by="percent")
        assert told["failures"] == []
        assert used(hold) == {"a": 2700, "b": 6300}
        audit(hold)


def test_nothing_moves_that_would_overshoot(tmp_path: Path):
    with make_hold(tmp_path, {"a": {"weight": 1}, "b": {"weight": 1}}, kind="distributed") as hold:
        hold.put(content_of(10_000), name="large", pool="a")
        hold.put(content_of(100), name="small", pool="a")
        operate(hold)
        assert used(hold) == {"a": 10_000, "b": 100}
        assert operate(hold)["objects_done"] == 0


def test_nonsense_is_refused(tmp_path: Path):
    with make_hold(tmp_path, {"a": {}, "b": {}}) as hold:
        with pytest.raises(ConfigError, match="weights, percent"):
            operate(hold, by="colour")
        hold.set_pool_state("b", "offline")
        with pytest.raises(Malformed, match="two that are active"):
            operate(hold)
