"""Names the defects of Galaxy that one of its own files relies on, or would run into.

Each note says what Galaxy does with this file and what Holdfast does instead. None of them stops anything:
they are what somebody wants to know who moves a server from the one to the other, or runs both.
"""

from __future__ import annotations

from holdfast.config.definitions import Definition, walk_definitions
from holdfast.config.problems import ProblemLog

_INHERITED_BY_FORCE = ("private", "quota.source", "quota.enabled")
_WITHOUT_CACHE = frozenset({"disk", "pithos"})


def note_galaxy_defects(root: Definition, problems: ProblemLog) -> None:
    """Adds the notes about a tree that was read from one of Galaxy's spellings."""
    if root.spelling == "holdfast":
        return
    for definition in walk_definitions(root):
        if definition.type_name == "distributed":
            _note_limits(definition, problems)
            _note_distributed_children(definition, problems)
        elif definition.type_name == "hierarchical":
            _note_hierarchical_children(definition, problems)
        elif definition.type_name not in _WITHOUT_CACHE:
            _note_cache(definition, problems)
    _note_shared_caches(root, problems)


def _note_limits(router: Definition, problems: ProblemLog) -> None:
    if "max_percent_full" not in router.fields:
        limited = [child for child in router.children if "max_percent_full" in child.fields]
        free = [child for child in router.children if "max_percent_full" not in child.fields]
        if limited and free:
            message = (
                f"a limit on {_names(limited)} and none on {_names(free)}: Galaxy then never writes to "
                f"{_names(free)} (it takes a missing limit for 0 %); to Holdfast no limit is no limit"
            )
            problems.note(router.spot, message, "a limit for the whole router, or for each pool")
    elif any(child.is_router for child in router.children):
        message = "Galaxy stops watching how full its stores are when one of them is a router; Holdfast does not"
        problems.note(router.spot, message)


def _note_distributed_children(router: Definition, problems: ProblemLog) -> None:
    for child in router.children:
        if child.type_name == "distributed":
            message = "distributed in distributed: Galaxy loses what it writes here at once; Holdfast does not"
            problems.note(child.spot, message)
        elif child.type_name == "hierarchical":
            message = (
                f"Galaxy records everything below as {child.object_store_id!r}, and users cannot choose one "
                "of these pools; Holdfast records the pool itself"
            )
            problems.note(child.spot, message)
        weight = child.fields.get("weight")
        if isinstance(weight, float):
            problems.note(child.key_spot("weight"), f"Galaxy takes whole weights only; Holdfast takes {weight}")
        if "weight" not in child.said and child.spelling == "galaxy-yaml":
            problems.note(child.spot, "has no weight: Galaxy cannot load this; Holdfast takes 1", "weight: 1")


def _note_hierarchical_children(router: Definition, problems: ProblemLog) -> None:
    for child in router.children:
        for name in _INHERITED_BY_FORCE:
            said = child.said.get(name)
            default = {"private": False, "quota.source": None, "quota.enabled": True}[name]
            own = child.fields.get(name, default)
            if said is None or own == router.fields.get(name, default):
                continue
            if name == "private" and child.spelling == "galaxy-xml":
                message = "Galaxy takes private from the hierarchical store alone; Holdfast takes it from here"
            elif child.spelling == "galaxy-yaml":
                message = f"Galaxy refuses a {name} that differs from the hierarchical store's; Holdfast takes it"
            else:
                continue
            problems.note(said.spot, message)


def _note_cache(pool: Definition, problems: ProblemLog) -> None:
    if pool.spelling == "galaxy-xml" and "extra_dirs" not in pool.said:
        message = "has no extra_dir: Galaxy cannot load this; Holdfast needs none"
        problems.note(pool.spot, message, '<extra_dir type="job_work" path="…"/>')
    unbounded = "cache.size_bytes" in pool.said or (pool.spelling == "galaxy-xml" and "cache.path" in pool.said)
    if unbounded and "cache.size_bytes" not in pool.fields:
        spot = pool.key_spot("cache.size_bytes" if "cache.size_bytes" in pool.said else "cache.path")
        message = (
            "Galaxy takes a cache like this for unbounded, whatever galaxy.yml says, and then empties it at "
            "every cleaning; to Holdfast every cache has a bound"
        )
        example = '<cache size="100" …/>' if pool.spelling == "galaxy-xml" else "size: 100"
        problems.note(spot, message, f"{example} (GiB)")


def _note_shared_caches(root: Definition, problems: ProblemLog) -> None:
    by_path: dict[object, Definition] = {}
    for pool in walk_definitions(root):
        if pool.is_router or pool.type_name in _WITHOUT_CACHE:
            continue
        path = pool.fields.get("cache.path")
        if path in by_path:
            words = "the same cache folder as" if path else "no cache folder of its own, nor has"
            message = (
                f"has {words} {by_path[path].object_store_id!r}: Galaxy mixes up what the two hold; "
                "Holdfast keeps them apart"
            )
            problems.note(pool.key_spot("cache.path"), message, "a cache path for each pool")
        by_path.setdefault(path, pool)


def _names(definitions: list[Definition]) -> str:
    return ", ".join(definition.object_store_id for definition in definitions)
