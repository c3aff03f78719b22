"""YAML mappings of one store -> definitions, in Galaxy's names or in ours, and Galaxy's tree of them."""

from __future__ import annotations

from holdfast.config.definitions import DEPTH_MAX, SURELY, Certainty, Definition, Said, kind_of_router, resolve_type
from holdfast.config.document import Spelling
from holdfast.config.keys import ROOT, Key, blocks, yaml_places
from holdfast.config.nodes import Entry, ListNode, MapNode, Node, Spot, TextNode, describe
from holdfast.config.problems import ProblemLog, nearest
from holdfast.config.vocabulary import keys_of


def define_from_galaxy_yaml(root: MapNode, problems: ProblemLog) -> Definition:
    """The tree that Galaxy's YAML means."""
    return _define(root, ROOT, 0, problems)


def _define(node: MapNode, parent: str, depth: int, problems: ProblemLog) -> Definition:
    spot = _named(node)
    backends = node.entry("backends")
    below = backends.value.items if backends and isinstance(backends.value, ListNode) else ()
    over = kind_of_router(
        name for child in below if isinstance(child, MapNode) for name in ("type", *(one.name for one in child.entries))
    )
    word = _type_word(node, spot, parent, problems)
    type_name, certainty = resolve_type(word, spot, problems, "galaxy-yaml", over=over)
    definition = Definition(type_name, "galaxy-yaml", spot, parent, certainty=certainty)
    entries = [entry for entry in node.entries if not (definition.is_router and entry.name == "backends")]
    say_entries(entries, definition, keys_of(type_name), problems)
    if definition.is_router:
        _read_backends(node, definition, depth + 1, problems)
    return definition


def _read_backends(node: MapNode, definition: Definition, depth: int, problems: ProblemLog) -> None:
    entry = node.entry("backends")
    items = entry.value.items if entry and isinstance(entry.value, ListNode) else None
    if not items:
        spot = entry.spot if entry else definition.spot
        problems.error(spot, "has no backends", "backends: [{id: newdata, type: disk, files_dir: /data2, weight: 1}]")
        return
    if depth > DEPTH_MAX:
        problems.error(definition.spot, f"routers nest at most {DEPTH_MAX} deep")
        return
    for item in items:
        if not isinstance(item, MapNode):
            problems.error(
                item.spot, f"takes the keys of a store, not {describe(item)}", "{id: newdata, type: disk, …}"
            )
            continue
        definition.children.append(_define(item, definition.type_name, depth, problems))


def _type_word(node: MapNode, spot: Spot, parent: str, problems: ProblemLog) -> str | None:
    entry = node.entry("type")
    if entry is not None:
        return entry.value.text if isinstance(entry.value, TextNode) else ""
    if node.entry("files_dir") is not None and parent != ROOT:
        message = "has no type: Galaxy cannot load this (though its sample has it); Holdfast takes it for a disk"
        problems.warn(spot, message, "type: disk")
        return "disk"
    return None


def _named(node: MapNode) -> Spot:
    entry = node.entry("id")
    name = entry.value.text if entry and isinstance(entry.value, TextNode) else None
    where = node.spot.where or "the root"
    return node.spot.named(f"{where} ({name})" if name else where)


def say_entries(entries: list[Entry], definition: Definition, keys: tuple[Key, ...], problems: ProblemLog) -> None:
    """Puts the entries of a mapping under the table's names; what the table does not know is reported."""
    for said in sort_entries(entries, keys, definition.spelling, problems, definition.certainty):
        definition.say(said, problems)


def sort_entries(
    entries: list[Entry],
    keys: tuple[Key, ...],
    spelling: Spelling,
    problems: ProblemLog,
    certainty: Certainty = "said",
) -> list[Said]:
    """The entries as things said of keys, blocks taken apart. Unknown ones are reported and left out; those of a store
    of unknown type only if they look like a known one."""
    places = yaml_places(keys, spelling)
    known_blocks = blocks(frozenset(places))
    found: list[Said] = []
    unknown: list[tuple[Entry, set[str]]] = []
    for entry in entries:
        place = places.get(entry.name) if "." not in entry.name else None
        if place is not None:
            found.append(Said(entry.value, place, entry.spot))
        elif entry.name not in known_blocks:
            unknown.append((entry, {name for name in places if "." not in name} | known_blocks))
        elif isinstance(entry.value, MapNode):
            inside = {name.partition(".")[2]: at for name, at in places.items() if name.startswith(f"{entry.name}.")}
            for inner in entry.value.entries:
                if inner.name in inside:
                    found.append(Said(inner.value, inside[inner.name], inner.spot))
                else:
                    unknown.append((inner, set(inside)))
        elif not _is_nothing(entry.value):
            message = f"takes keys with values, not {describe(entry.value)}"
            problems.error(entry.spot, message, f"{entry.name}: {{…}}")
    for entry, known in unknown:
        if certainty != "unknown" or nearest(entry.name, known, likeness=SURELY):
            _unknown(entry, known, spelling, problems)
    return found


def _is_nothing(node: Node) -> bool:
    return isinstance(node, TextNode) and node.text is None


def _unknown(entry: Entry, known: set[str], spelling: Spelling, problems: ProblemLog) -> None:
    guess = nearest(entry.name, known)
    if spelling == "holdfast":
        problems.error(
            entry.spot,
            "is not known here",
            guess or f"no {entry.name}; what may stand here: {', '.join(sorted(known))}",
        )
    else:
        problems.warn(entry.spot, "is not known here, and has no effect in Galaxy either", guess)
