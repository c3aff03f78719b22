"""The composition root: from a document that was read to a `Hold` that works."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction

from holdfast.catalog.catalog import Catalog
from holdfast.config.document import HoldfastConfig, PlacedPool, PoolConfig, PoolNode, RouterNode, TreeNode, walk_pools
from holdfast.config.registry import make_pool, surroundings
from holdfast.errors import ConfigError, Problem
from holdfast.hold.facts import Pool, PoolFacts
from holdfast.hold.hold import Hold
from holdfast.placement.policy import Branch, Leaf, Node


def open_hold(config: HoldfastConfig) -> Hold:
    """The hold that the document describes. Makes the state directory and the catalog if they are missing."""
    try:
        config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            [
                Problem(
                    config.source, None, "state_dir", f"{config.state_dir} cannot be made: {error.strerror}",
                    "a folder that the server's user may write to",
                )
            ]
        ) from error  # fmt: skip
    catalog = Catalog.open(config.catalog_address(os.environ), config.state_dir)
    try:
        return Hold(
            catalog=catalog,
            pools=_pools(config),
            tree=tree_of(config.tree),
            state_dir=config.state_dir,
            config=config,
        )
    except BaseException:
        catalog.close()
        raise


def upgrade_catalog(config: HoldfastConfig) -> tuple[str | None, str]:
    """Bring the document's catalog to today's schema; (version before, version after)."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Catalog.upgrade(config.catalog_address(os.environ), config.state_dir)


def _pools(config: HoldfastConfig) -> list[Pool]:
    placed = list(walk_pools(config.tree))
    around = surroundings([one.pool for one in placed], config.state_dir)
    return [make_pool(facts_of(one), one.pool, around) for one in placed]


def facts_of(placed: PlacedPool) -> PoolFacts:
    """What the hold has to know of a pool."""
    pool = placed.pool
    return PoolFacts(
        object_store_id=pool.object_store_id,
        type=pool.type,
        store_by=pool.store_by,
        name=pool.name,
        description=pool.description,
        location=pool.files_dir or _named("bucket", pool) or _named("container", pool),
        order=placed.node.order,
        weight=float(placed.node.weight),
        max_percent_full=placed.max_percent_full,
        capacity_bytes=pool.capacity_bytes,
        private=pool.private,
        device=pool.device,
        quota_source=pool.quota.source,
        verify_every_s=pool.integrity.verify_every_s,
        badges=tuple((badge.type, badge.message) for badge in pool.badges),
        allow_selection=pool.allow_selection,
        check_old_style=pool.check_old_style,
        search_for_missing=all(router.search_for_missing for router in placed.routers),
        extra_dirs=dict(pool.extra_dirs),
        direct_download=bool(pool.options.get("direct_download")),
    )


def _named(what: str, pool: PoolConfig) -> str | None:
    """`bucket galaxy`, where the pool's keys name one."""
    options = pool.options.get(what)
    name = options.get("name") if isinstance(options, Mapping) else None
    return f"{what} {name}" if name else None


def tree_of(node: TreeNode) -> Node:
    """The document's tree as placement wants it."""
    weight = Fraction(node.weight).limit_denominator(1_000_000)
    if isinstance(node, PoolNode):
        return Leaf(node.pool.object_store_id, weight)
    assert isinstance(node, RouterNode)
    return Branch(node.node_id, node.kind, tuple(tree_of(child) for child in node.children), weight)
