"""Definitions -> the canonical tree: what is inherited, what is missing, which order and what weight.

`complete` and `arrange` judge and report; `make_tree` only turns what was found right into frozen values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from holdfast.config.definitions import Definition
from holdfast.config.document import (
    FrozenMapping,
    IntegrityConfig,
    PoolConfig,
    PoolNode,
    QuotaConfig,
    RouterKind,
    RouterNode,
    TreeNode,
)
from holdfast.config.keys import ROOT
from holdfast.config.problems import ProblemLog
from holdfast.config.vocabulary import POOL_KEYS, TYPE_KEYS, keys_of

INHERITED = (
    "store_by",
    "private",
    "quota.source",
    "quota.enabled",
    "device",
    "check_old_style",
    "durability",
    "integrity.verify_every_s",
)
"""What a router, or the root of the document, says for every pool below that does not say it."""

_FROM_GALAXY_YML = {
    "file_path": "files_dir",
    "object_store_cache_path": "cache.path",
    "object_store_cache_size_bytes": "cache.size_bytes",
}
_EXTRA_DIRS_FROM_GALAXY_YML = {"jobs_directory": "job_work", "new_file_path": "temp"}
_GENERIC = frozenset(key.name for key in POOL_KEYS)


def complete(definition: Definition, defaults: Mapping[str, object], problems: ProblemLog) -> None:
    """Hands down what is said above, fills in the table's defaults, and reports what is missing."""
    said_here = {name: definition.fields[name] for name in INHERITED if name in definition.fields}
    handed_down = {**defaults, **said_here}
    if definition.is_router:
        for child in definition.children:
            complete(child, handed_down, problems)
        return
    known = {key.name for key in keys_of(definition.type_name)}
    for name in INHERITED:
        if name in handed_down:
            definition.fields[name] = handed_down[name]
    for name, target in _FROM_GALAXY_YML.items():
        if name in defaults and target in known and target not in definition.said:
            definition.fields[target] = defaults[name]
    folders = {target: defaults[name] for name, target in _EXTRA_DIRS_FROM_GALAXY_YML.items() if name in defaults}
    said_folders = cast("Mapping[str, object]", definition.fields.get("extra_dirs") or {})
    definition.fields["extra_dirs"] = FrozenMapping({**folders, **said_folders})
    for key in keys_of(definition.type_name):
        if key.name in definition.fields or key.name == "type":
            continue
        if key.default is not None:
            definition.fields[key.name] = key.default
        elif key.required and key.name not in definition.said and definition.certainty != "unknown":
            _report_missing(definition, key.name, problems)
    _check_cloud(definition, problems)


def _report_missing(definition: Definition, name: str, problems: ProblemLog) -> None:
    key = next(key for key in keys_of(definition.type_name) if key.name == name)
    message = f"has no {key.names(definition.spelling)[0]}"
    if name == "files_dir" and definition.spelling != "holdfast":
        message += ": Galaxy takes file_path of galaxy.yml, which is not read here"
    problems.error(definition.spot, message, key.spell(definition.spelling, key.kind.example))


_CLOUD_NEEDS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "azure": (("subscription_id", "client_id", "secret", "tenant"), "access_token"),
    "google": (("credentials_file",), None),
    "openstack": (("username", "password", "project_name", "auth_url"), "application_credential_id"),
}


def _check_cloud(definition: Definition, problems: ProblemLog) -> None:
    provider = definition.fields.get("provider")
    needs, or_else = _CLOUD_NEEDS.get(str(provider), ((), None)) if definition.type_name == "cloud" else ((), None)
    if or_else and f"auth.{or_else}" in definition.fields:
        return
    keys = {key.name: key for key in keys_of(definition.type_name)}
    for name in needs:
        if f"auth.{name}" not in definition.said:
            instead = keys[f"auth.{name}"].spell(definition.spelling, "…")
            problems.error(definition.spot, f"has no auth {name}, which {provider} needs", instead)


def arrange(definition: Definition, problems: ProblemLog) -> None:
    """Puts children in the order in which they are tried; reports orders and weights that cannot be meant."""
    if definition.type_name == "hierarchical":
        _order(definition, problems)
    elif definition.type_name == "distributed":
        _weigh(definition, problems)
    for child in definition.children:
        arrange(child, problems)


def _order(router: Definition, problems: ProblemLog) -> None:
    children = router.children
    without = [child for child in children if "order" not in child.fields]
    wrong = [child for child in without if "order" in child.said]
    if router.spelling == "galaxy-yaml" or (router.spelling == "holdfast" and len(without) == len(children)):
        for place, child in enumerate(children):
            child.fields["order"] = place
    elif router.certainty == "unknown" and len(wrong) == 0 and len(without) == len(children):
        return  # whatever it was meant to be, nothing here asks for an order
    elif len(wrong) < len(without):
        used = {child.fields.get("order") for child in children}
        free = next(number for number in range(len(children) + 1) if number not in used)
        for child in without:
            if child not in wrong:
                instead = f'order="{free}"' if child.spelling == "galaxy-xml" else f"order: {free}"
                message = "has no order, which every store below a hierarchical one needs"
                if child.spelling == "holdfast":
                    message = "has no order, and its neighbours have one"
                problems.error(child.spot, message, instead)
    first: dict[object, Definition] = {}
    for child in children:
        order = child.fields.get("order")
        if order is not None and order in first:
            message = f"has the same order {order} as {first[order].spot.where}: the first in the file wins"
            problems.warn(child.key_spot("order"), message, "an order of its own for each")
        first.setdefault(order, child)
    router.children = sorted(children, key=lambda child: cast("int", child.fields.get("order", 0)))


def _weigh(router: Definition, problems: ProblemLog) -> None:
    for child in router.children:
        child.fields.setdefault("weight", 1)
    # at the root it is an error, which `sanity` reports
    if router.parent != ROOT and router.children and all(child.fields["weight"] == 0 for child in router.children):
        example = 'weight="1"' if router.spelling == "galaxy-xml" else "weight: 1"
        message = "every weight below it is 0: no new dataset can go here"
        problems.warn(router.spot, message, example)


def takes_new(definition: Definition) -> bool:
    """Whether a new dataset can come to lie anywhere below."""
    if not definition.is_router:
        return True
    if definition.type_name == "hierarchical":
        return any(takes_new(child) for child in definition.children)
    return any(child.fields.get("weight") != 0 and takes_new(child) for child in definition.children)


def make_tree(definition: Definition) -> TreeNode:
    """The frozen tree of a definition in which nothing was found wrong."""
    fields = definition.fields
    order = cast("int | None", fields.get("order"))
    weight = cast("int | float", fields.get("weight", 1))
    if not definition.is_router:
        below_distributed = definition.parent == "distributed"
        return PoolNode(make_pool(definition), order, weight if below_distributed else 1)
    return RouterNode(
        kind=cast("RouterKind", definition.type_name),
        node_id=definition.object_store_id,
        children=tuple(make_tree(child) for child in definition.children),
        order=order,
        weight=weight,
        search_for_missing=cast("bool", fields.get("search_for_missing", True)),
        max_percent_full=cast("float | None", fields.get("max_percent_full")),
    )


def make_pool(definition: Definition) -> PoolConfig:
    """The frozen pool of a definition in which nothing was found wrong."""
    fields = definition.fields
    plain: dict[str, Any] = {name: fields[name] for name in _POOL_FIELDS if fields.get(name) is not None}
    quota = QuotaConfig(cast("str | None", fields.get("quota.source")), bool(fields.get("quota.enabled", True)))
    return PoolConfig(
        object_store_id=definition.object_store_id,
        type=definition.type_name,
        quota=quota,
        integrity=IntegrityConfig(cast("int | None", fields.get("integrity.verify_every_s"))),
        options=_nested(definition),
        **plain,
    )


_POOL_FIELDS = (
    "store_by",
    "name",
    "description",
    "private",
    "device",
    "badges",
    "allow_selection",
    "max_percent_full",
    "capacity_bytes",
    "object_expires_after_days",
    "extra_dirs",
    "check_old_style",
    "durability",
)


def _nested(definition: Definition) -> FrozenMapping[object]:
    """The driver's keys, in blocks, in the table's order."""
    found: dict[str, object] = {}
    grouped: dict[str, dict[str, object]] = {}
    for key in TYPE_KEYS[definition.type_name]:
        value = definition.fields.get(key.name)
        if value is None or key.name in _GENERIC:
            continue
        if key.block:
            found.setdefault(key.block, None)
            grouped.setdefault(key.block, {})[key.name.rpartition(".")[2]] = value
        else:
            found[key.name] = value
    return FrozenMapping({name: FrozenMapping(grouped[name]) if name in grouped else found[name] for name in found})
