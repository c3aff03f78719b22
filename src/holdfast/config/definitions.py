"""A place of the tree as a file has it: what was said of it, under the names of the table.

The three readers (`galaxy_xml`, `galaxy_yaml`, `own_yaml`) each make definitions; from there on one piece of
code judges them all. What is said keeps its node, its place and the name it was said under, so that messages
can speak the file's own language.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from holdfast.config.document import Spelling
from holdfast.config.keys import ROOT, Key, Place
from holdfast.config.nodes import Node, Spot, TextNode
from holdfast.config.problems import ProblemLog, nearest
from holdfast.config.vocabulary import ROUTERS, TYPE_ALIASES, TYPE_KEYS

DEPTH_MAX = 16
"""How deep routers may nest."""


Certainty = Literal["said", "misspelt", "unknown"]
"""How well the type of a store is known. Of an unknown one nothing is reported that another type may well have."""

SURELY = 0.8
"""How alike a key of a store of unknown type is to a known one before it is called a mistake."""


@dataclass(frozen=True, slots=True)
class Said:
    """One thing said of a store: the value's node, the name it stands under, and where."""

    node: Node
    place: Place
    spot: Spot

    @property
    def key(self) -> Key:
        """The line of the table."""
        return self.place.key


@dataclass(slots=True)
class Definition:
    """One pool or router. `fields` and `children` are filled in by those who read and judge it."""

    type_name: str
    spelling: Spelling
    spot: Spot
    parent: str = ROOT
    said: dict[str, Said] = field(default_factory=dict)
    children: list[Definition] = field(default_factory=list)
    fields: dict[str, object] = field(default_factory=dict)
    id_is_derived: bool = False
    certainty: Certainty = "said"

    @property
    def is_router(self) -> bool:
        """Whether it stands over others."""
        return self.type_name in ROUTERS

    @property
    def object_store_id(self) -> str:
        """The id that was said, or derived."""
        return str(self.fields.get("id") or "")

    def say(self, said: Said, problems: ProblemLog) -> None:
        """Takes one thing that was said; reports it if it was said before."""
        before = self.said.get(said.key.name)
        if before is None:
            self.said[said.key.name] = said
        elif before.place.name == said.place.name:
            message = f"is written twice; the first time in line {before.spot.line}"
            problems.error(said.spot, message, "it once")
        else:
            kept, dropped = sorted((before, said), key=lambda each: each.place.rank)
            self.said[said.key.name] = kept
            message = f"says the same as {kept.spot.where} in line {kept.spot.line}, which is taken"
            problems.warn(dropped.spot, message, "one of them")

    def said_text(self, name: str) -> str | None:
        """The text behind this key as it was typed, if it is one."""
        said = self.said.get(name)
        return said.node.text if said and isinstance(said.node, TextNode) else None

    def key_spot(self, name: str) -> Spot:
        """Where this key was said, or where the definition stands."""
        said = self.said.get(name)
        return said.spot if said else self.spot


def walk_definitions(root: Definition) -> list[Definition]:
    """The definition and everything below it, in the file's order."""
    found = [root]
    for child in root.children:
        found += walk_definitions(child)
    return found


def resolve_type(
    word: str | None,
    spot: Spot,
    problems: ProblemLog,
    spelling: Spelling,
    *,
    over: str | None,
    pools_only: bool = False,
) -> tuple[str, Certainty]:
    """The canonical name of a type. A word that is none is reported, and the type is guessed from what stands there, so
    that its other mistakes are found too.

    Args:
        word: what was written.
        spot: where.
        problems: is told of a word that is no type.
        spelling: how the file is spelt.
        over: the kind of router that its children ask for; None if it has none.
        pools_only: routers cannot stand here.
    """
    name = (word or "").strip()
    name = TYPE_ALIASES.get(name, name)
    routers = () if pools_only else tuple(sorted(ROUTERS, reverse=True))
    if name in TYPE_KEYS or name in routers:
        return name, "said"
    known = [*TYPE_KEYS, *routers, *TYPE_ALIASES]
    guess = nearest(name, routers if over else known)
    guess = TYPE_ALIASES.get(guess, guess) if guess else None
    likely = guess or over or "disk"
    example = f'type="{likely}"' if spelling == "galaxy-xml" else f"type: {likely}"
    if not name:
        problems.error(spot, "has no type", example)
    elif name in ROUTERS:
        problems.error(spot, f"{name} is a way of placing, not a pool", f"placement: {{{name}: [newdata, olddata]}}")
    elif name == "pulsar":
        problems.error(spot, "type pulsar: Galaxy itself does not have this type any more", example)
    else:
        problems.error(spot, f"no type of store is called {name[:60]!r}; there are {', '.join(known)}", example)
    return likely, "misspelt" if guess else "unknown"


def kind_of_router(keys_of_children: Iterable[str]) -> str | None:
    """Which router stands over children of which these keys are said; None over no children."""
    found = list(keys_of_children)
    if not found:
        return None
    return "distributed" if "weight" in found and "order" not in found else "hierarchical"
