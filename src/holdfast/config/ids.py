"""Ids: every pool has one, and nothing else has the same.

Galaxy asks for no id below a hierarchical router, so many files have none. Such a pool gets one made from its
folder or bucket: the last part of the path, and as many parts before it as are needed to tell the pools of
the document apart. What is made depends on the folders alone, not on the order in which they stand, so
that moving a line moves no data. A warning says what to write to keep it for good.
"""

from __future__ import annotations

import re
from collections import Counter

from holdfast.config.definitions import Definition, walk_definitions
from holdfast.config.problems import ProblemLog
from holdfast.config.values import ID_CHARS_MAX

_NAMED_BY = ("bucket.name", "container.name", "space.name", "resource.name", "upload_rse_name")


def assign_ids(root: Definition, problems: ProblemLog) -> None:
    """Reports ids that are missing or doubled, and derives those that may be missing."""
    everything = walk_definitions(root)
    taken: dict[str, Definition] = {}
    for definition in everything:
        own = definition.object_store_id
        if own and own in taken:
            message = f"the id {own!r} is taken already, in line {taken[own].key_spot('id').line}"
            problems.error(definition.key_spot("id"), message, "an id of its own for each")
        elif own:
            taken[own] = definition
    nameless = [each for each in everything if not each.is_router and not each.object_store_id]
    for definition, derived in zip(nameless, _derive(nameless, set(taken)), strict=True):
        definition.fields["id"] = derived
        definition.id_is_derived = True
        taken[derived] = definition
        _report(definition, derived, problems)
    _name_routers(root, (), set(taken))


def _report(definition: Definition, derived: str, problems: ProblemLog) -> None:
    if "id" in definition.said:
        return  # it was said, wrongly, and that has been reported
    instead = f'id="{derived}"' if definition.spelling == "galaxy-xml" else f"id: {derived}"
    if definition.parent == "distributed":
        message = "has no id: datasets are recorded under it, and Galaxy could not find them again either"
        problems.error(definition.spot, message, instead)
    else:
        message = f"has no id; it is called {derived!r} after its place: elsewhere it would be another pool"
        problems.warn(definition.spot, message, instead)


def _derive(nameless: list[Definition], taken: set[str]) -> list[str]:
    """A name for each, all different: as short as they can be, and independent of their order."""
    parts = [_parts(definition) for definition in nameless]
    lengths = [1] * len(parts)
    while True:
        names = [_joined(each, length) for each, length in zip(parts, lengths, strict=True)]
        count = Counter(names)
        longer = [
            index
            for index, name in enumerate(names)
            if (count[name] > 1 or name in taken) and lengths[index] < len(parts[index])
        ]
        if not longer:
            break
        for index in longer:
            lengths[index] += 1
    used = set(taken)
    for index, name in enumerate(names):
        number = 2
        while names[index] in used:
            names[index] = f"{name}-{number}"
            number += 1
        used.add(names[index])
    return names


def _parts(definition: Definition) -> list[str]:
    files_dir = definition.fields.get("files_dir")
    if isinstance(files_dir, str):
        texts = files_dir.split("/")
    else:
        said = (definition.fields.get(name) for name in _NAMED_BY)
        texts = [definition.type_name, *(text for text in said if isinstance(text, str))]
    clean = [re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") for text in texts]
    return [text for text in clean if text] or ["pool"]


def _joined(parts: list[str], length: int) -> str:
    return "-".join(parts[-length:])[:ID_CHARS_MAX]


def _name_routers(definition: Definition, path: tuple[int, ...], taken: set[str]) -> None:
    """Routers without an id are called after their kind and place: nothing is recorded under it."""
    if not definition.is_router:
        return
    if not definition.object_store_id:
        name = "-".join([definition.type_name, ".".join(map(str, path))]) if path else definition.type_name
        while name in taken:
            name += "-router"
        definition.fields["id"] = name
        taken.add(name)
    for number, child in enumerate(definition.children, start=1):
        _name_routers(child, (*path, number), taken)
