"""Our own spelling, `holdfast.yml` -> what is said of the document, and its tree of definitions.

    pools:
      newdata: {type: disk, files_dir: /data2, order: 0}
      olddata: {type: disk, files_dir: /data, order: 1}
    placement: hierarchical            # over all pools; or distributed; or a tree:
    # placement:
    #   hierarchical:
    #     - distributed: [newdata, {pool: otherdata, weight: 3}]
    #       max_percent_full: 90
    #     - olddata

Every pool has one place. One pool alone needs no placement.
"""

from __future__ import annotations

from holdfast.config.definitions import DEPTH_MAX, Definition, Said, resolve_type
from holdfast.config.galaxy_yaml import say_entries, sort_entries
from holdfast.config.keys import ROOT, yaml_places
from holdfast.config.nodes import Entry, ListNode, MapNode, Node, Spot, TextNode, describe
from holdfast.config.problems import ProblemLog, nearest
from holdfast.config.vocabulary import POOL_KEYS, ROUTER_KEYS, ROUTERS, keys_of
from holdfast.config.vocabulary_document import DOCUMENT_KEYS

_ROUTER_KEYS = tuple(key for key in ROUTER_KEYS if key.name != "type" and not key.no_effect)
_PLACE_KEYS = tuple(key for key in ROUTER_KEYS if key.name in ("order", "weight"))
_TREE_EXAMPLE = "placement: hierarchical, or placement: distributed"


def say_document(root: MapNode, problems: ProblemLog) -> Definition:
    """What the root of the document says, as one definition that is no store."""
    document = Definition("document", "holdfast", root.spot)
    say_entries(list(root.entries), document, DOCUMENT_KEYS, problems)
    return document


def define_tree(document: Definition, problems: ProblemLog) -> Definition | None:
    """The tree of `pools` and `placement`, or None where what is wrong with it has been reported."""
    return _Placer(_define_pools(document, problems), problems).place(document)


def _define_pools(document: Definition, problems: ProblemLog) -> dict[str, Definition | None]:
    """Each pool under its id; None for one that is there, but says nothing that can be used."""
    said = document.said.get("pools")
    if said is None:
        return {}
    if not isinstance(said.node, MapNode) or not said.node.entries:
        message = f"takes each pool under its id, not {describe(said.node)}"
        problems.error(said.spot, message, "pools: {newdata: {type: disk, files_dir: /data2}}")
        return {}
    return {entry.name: _define_pool(entry, problems) for entry in said.node.entries}


def _define_pool(entry: Entry, problems: ProblemLog) -> Definition | None:
    node = entry.value
    if not isinstance(node, MapNode):
        message = f"takes the keys of a pool, not {describe(node)}"
        problems.error(entry.spot, message, "{type: disk, files_dir: /data2}")
        return None
    type_entry = node.entry("type")
    word = type_entry.value.text if type_entry and isinstance(type_entry.value, TextNode) else None
    spot = entry.spot if type_entry is None or word in ROUTERS else type_entry.spot
    type_name, certainty = resolve_type(word, spot, problems, "holdfast", over=None, pools_only=True)
    pool = Definition(type_name, "holdfast", entry.spot, certainty=certainty)
    inside = [each for each in node.entries if each.name != "id"]
    if len(inside) < len(node.entries):
        problems.error(entry.spot.named(f"{entry.spot.where}.id"), "the id stands before the colon already", "no id")
    pool.say(Said(TextNode(entry.name, entry.spot), yaml_places(POOL_KEYS, "holdfast")["id"], entry.spot), problems)
    say_entries(inside, pool, keys_of(type_name), problems)
    return pool


class _Placer:
    def __init__(self, pools: dict[str, Definition | None], problems: ProblemLog) -> None:
        self._names = list(pools)
        self._pools = {pool_id: pool for pool_id, pool in pools.items() if pool is not None}
        self._problems = problems
        self._placed: dict[str, Spot] = {}

    def place(self, document: Definition) -> Definition | None:
        """The tree; reports pools without a place and with two.

        When the placement is wrong the pools are answered all the same, so that their own mistakes are found.
        """
        said = document.said.get("placement")
        if said is None or (isinstance(said.node, TextNode) and said.node.text is None):
            return self._without_placement(document)
        node = said.node
        if isinstance(node, TextNode) and node.text in ROUTERS:
            return self._over_all(node.text, said.spot)
        if isinstance(node, TextNode) and node.text is not None and node.text.strip() not in self._names:
            kinds = " or ".join(sorted(ROUTERS, reverse=True))
            guess = nearest(node.text, sorted(ROUTERS)) or "hierarchical"
            message = f"there is no way of placing and no pool called {node.text[:60]!r}; it is {kinds}"
            instead = f"placement: {guess}" if guess in node.text else _TREE_EXAMPLE
            self._problems.error(said.spot, message, instead)
            weighed = any("weight" in pool.said for pool in self._pools.values())
            return self._over_all("distributed" if weighed else "hierarchical", said.spot)
        tree = self._node(node, ROOT, 1)
        lost = [pool_id for pool_id in self._pools if pool_id not in self._placed]
        for pool_id in lost:
            message = "has no place in the placement"
            instead = f"{pool_id} in the placement (weight: 0 to read it only)"
            self._problems.error(self._pools[pool_id].spot, message, instead)
        if lost:
            everything = Definition("distributed", "holdfast", said.spot)
            everything.children = [*([tree] if tree else []), *(self._pools[pool_id] for pool_id in lost)]
            return everything
        return tree

    def _over_all(self, kind: str, spot: Spot) -> Definition | None:
        router = Definition(kind, "holdfast", spot)
        router.children = list(self._pools.values())
        for child in router.children:
            child.parent = kind
        return router if router.children else None

    def _without_placement(self, document: Definition) -> Definition | None:
        if len(self._names) == 1:
            return next(iter(self._pools.values()), None)
        if not self._names:
            return None
        spot = document.key_spot("pools")
        self._problems.error(spot, f"there are {len(self._names)} pools, and no placement", _TREE_EXAMPLE)
        return self._over_all("distributed", spot)

    def _node(self, node: Node, parent: str, depth: int) -> Definition | None:
        if isinstance(node, TextNode):
            return self._pool(node, parent)
        if not isinstance(node, MapNode):
            message = f"takes a pool's id, or hierarchical or distributed over a list, not {describe(node)}"
            self._problems.error(node.spot, message, "hierarchical: [newdata, olddata]")
            return None
        kinds = [entry for entry in node.entries if entry.name in ROUTERS or entry.name == "pool"]
        if len(kinds) != 1:
            words = " and ".join(entry.name for entry in kinds) or "none of them"
            message = f"says {words}; a place is exactly one of hierarchical, distributed, pool"
            self._problems.error(node.spot, message, "hierarchical: [newdata, olddata]")
            return None
        others = [entry for entry in node.entries if entry is not kinds[0]]
        if kinds[0].name == "pool":
            return self._pool_with_place(kinds[0], others, parent)
        return self._router(kinds[0], others, parent, depth)

    def _router(self, entry: Entry, others: list[Entry], parent: str, depth: int) -> Definition | None:
        if depth > DEPTH_MAX:
            self._problems.error(entry.spot, f"routers nest at most {DEPTH_MAX} deep")
            return None
        router = Definition(entry.name, "holdfast", entry.spot, parent)
        say_entries(others, router, _ROUTER_KEYS, self._problems)
        items = entry.value.items if isinstance(entry.value, ListNode) else ()
        if not items:
            message = f"takes a list of pools and routers, not {describe(entry.value)}"
            self._problems.error(entry.spot, message, f"{entry.name}: [newdata, olddata]")
        for item in items:
            child = self._node(item, router.type_name, depth + 1)
            if child is not None:
                router.children.append(child)
        return router

    def _pool_with_place(self, entry: Entry, others: list[Entry], parent: str) -> Definition | None:
        pool = self._pool(entry.value, parent) if isinstance(entry.value, TextNode) else None
        if pool is None:
            if not isinstance(entry.value, TextNode):
                self._problems.error(entry.spot, f"takes a pool's id, not {describe(entry.value)}", "pool: newdata")
            return None
        for said in sort_entries(others, _PLACE_KEYS, "holdfast", self._problems):
            pool.say(said, self._problems)
        return pool

    def _pool(self, node: TextNode, parent: str) -> Definition | None:
        pool_id = (node.text or "").strip()
        if pool_id not in self._names:
            guess = nearest(pool_id, self._names) or f"one of {', '.join(self._names)}"
            self._problems.error(node.spot, f"there is no pool {pool_id[:60]!r}", guess if self._names else None)
            return None
        if pool_id in self._placed:
            message = f"{pool_id} has a place already, in line {self._placed[pool_id].line}"
            self._problems.error(node.spot, message, "each pool once")
            return None
        self._placed[pool_id] = node.spot
        pool = self._pools.get(pool_id)
        if pool is not None:
            pool.parent = parent
        return pool
