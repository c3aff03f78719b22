"""The canonical tree -> our own spelling, with everything said that was left to defaults.

What comes out, read again, gives an equal `HoldfastConfig` (with `secrets="shown"`; masked secrets are
refused when they are read, so that a document printed for people is not taken for the real one).
References to secrets (`env:NAME`, `file:PATH`) are no secrets and always shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from typing import Any, Literal

import yaml

from holdfast.config.document import (
    Badge,
    HoldfastConfig,
    PoolConfig,
    PoolNode,
    RouterKind,
    RouterNode,
    TreeNode,
    walk_pools,
)
from holdfast.config.secrets import MASK, Secret

Secrets = Literal["masked", "shown"]

_NOT_IN_LINE = ("object_store_id", "type", "quota", "integrity", "badges", "extra_dirs", "options")


def to_document(config: HoldfastConfig, *, secrets: Secrets = "masked") -> dict[str, Any]:
    """The document as plain dicts, lists, texts and numbers, in the order in which people read it."""
    document: dict[str, Any] = {"state_dir": str(config.state_dir), "catalog": config.catalog_url or "sqlite"}
    if config.catalog_password is not None:
        document["catalog_password"] = _plain(config.catalog_password, secrets)
    document["pools"] = {
        placed.pool.object_store_id: _pool(placed.node, placed.routers[-1:], secrets)
        for placed in walk_pools(config.tree)
    }
    if isinstance(config.tree, RouterNode):
        document["placement"] = _placement(config.tree, above=None)
    for name in ("file_sources", "user_preferences_extra"):
        if getattr(config, name) is not None:
            document[name] = getattr(config, name)
    document["deleted_expires_after_s"] = config.deleted_expires_after_s
    document["reap_grace_s"] = config.reap_grace_s
    document["server"] = _given(config.server, secrets)
    document["jobs"] = _given(config.jobs, secrets)
    return document


def render_document(document: Mapping[str, Any]) -> str:
    """A document as YAML text."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Lists stand indented under their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
        del indentless
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _pool(node: PoolNode, above: tuple[RouterNode, ...], secrets: Secrets) -> dict[str, Any]:
    pool = node.pool
    found: dict[str, Any] = {"type": pool.type}
    found.update((name, _plain(value, secrets)) for name, value in pool.options.items())
    if above and above[0].kind == "hierarchical":
        found["order"] = node.order
    elif above:
        found["weight"] = node.weight
    for each in dataclass_fields(PoolConfig):
        value = getattr(pool, each.name)
        if each.name not in _NOT_IN_LINE and value is not None:
            found[each.name] = _plain(value, secrets)
    found["quota"] = _given(pool.quota, secrets)
    if pool.integrity.verify_every_s is not None:
        found["integrity"] = _given(pool.integrity, secrets)
    if pool.badges:
        found["badges"] = [_badge(badge) for badge in pool.badges]
    if pool.extra_dirs:
        found["extra_dirs"] = dict(pool.extra_dirs)
    return found


def _badge(badge: Badge) -> dict[str, str]:
    return {"type": badge.type} | ({"message": badge.message} if badge.message else {})


def _placement(node: TreeNode, *, above: RouterKind | None) -> Any:
    if isinstance(node, PoolNode):
        return node.pool.object_store_id
    found: dict[str, Any] = {
        node.kind: [_placement(child, above=node.kind) for child in node.children],
        "id": node.node_id,
    }
    if above == "hierarchical":
        found["order"] = node.order
    elif above == "distributed":
        found["weight"] = node.weight
    found["search_for_missing"] = node.search_for_missing
    if node.max_percent_full is not None:
        found["max_percent_full"] = node.max_percent_full
    return found


def _given(values: Any, secrets: Secrets) -> dict[str, Any]:
    """The fields of a dataclass that hold something."""
    pairs = ((each.name, getattr(values, each.name)) for each in dataclass_fields(values))
    return {name: _plain(value, secrets) for name, value in pairs if value not in (None, {}, ())}


def _plain(value: Any, secrets: Secrets) -> Any:
    if isinstance(value, Secret):
        return value.as_typed() if secrets == "shown" else value.reference or MASK
    if isinstance(value, Mapping):
        return {name: _plain(inner, secrets) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner, secrets) for inner in value]
    return value
