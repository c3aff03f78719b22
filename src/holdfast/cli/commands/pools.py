"""pools, pool show, pool set, pool rename."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import render, words
from holdfast.cli.commands.storing import ACTOR
from holdfast.cli.failure import UsageError
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.hold.facts import PoolInfo
    from holdfast.hold.hold import Hold
    from holdfast.stores.caching import CacheUsage

PoolArgument = Annotated[str, typer.Argument(metavar="ID", help="The pool's object_store_id.")]


@command(example="holdfast pools")
def pools(call: Invocation) -> None:
    """List pools with what they hold and what is free."""
    with call.hold_or_begin() as hold:
        found = hold.pools()
        call.answer([info.to_json() for info in found], _table(found))


def _table(found: list[PoolInfo]) -> render.Table:
    right: render.Align = "right"
    columns: list[tuple[render.Column, Any]] = [
        (render.Column("POOL", wide=True), lambda info: render.clean(info.object_store_id)),
        (render.Column("TYPE"), lambda info: info.type),
        (render.Column("STATE"), _state_words),
        (render.Column("DATASETS", right), lambda info: f"{info.datasets:,}"),
        (render.Column("USED", right), lambda info: render.size(info.used_bytes)),
        (render.Column("FREE", right), lambda info: render.size(info.free_bytes)),
        (render.Column("CAPACITY", right), lambda info: render.size(info.capacity_bytes)),
        (render.Column("FULL", right), lambda info: render.percent(info.percent_full)),
    ]
    if any(info.reserved_bytes for info in found):
        columns.insert(5, (render.Column("RESERVED", right), lambda info: render.size(info.reserved_bytes)))
    if any(info.max_percent_full is not None for info in found):
        columns.append((render.Column("LIMIT", right), lambda info: render.percent(info.max_percent_full)))
    if any(info.integrity is not None and info.integrity.target_s is not None for info in found):
        columns.append((render.Column("VERIFIED"), _verified_words))
    rows = [[words_of(info) for _, words_of in columns] for info in found]
    return render.Table(tuple(column for column, _ in columns), rows, "No pools are configured.")


def _verified_words(info: PoolInfo) -> str:
    """How long ago the oldest verification was, and whether that is in time."""
    known = info.integrity
    if known is None or known.oldest_s is None:
        return ""
    said = "just now" if known.oldest_s < 60 else f"{_days(known.oldest_s)} ago"
    if known.target_s is None:
        return said
    target = _days(known.target_s)
    if known.is_met:
        return f"{said} (target: {target})"
    at_least = "at least " if known.at_least else ""
    return f"{said}, LATE: {at_least}{render.size(known.overdue_bytes)} older than {target}"


def _days(seconds: float) -> str:
    """A length of time in days, so that two of them can be compared."""
    return render.count(int(seconds // 86_400), "day") if seconds >= 86_400 else render.span(seconds)


def _state_words(info: PoolInfo) -> str:
    if not info.configured:
        return "not configured"
    if info.unwritable_because:
        return f"{info.state}, takes nothing"
    if not info.reachable:
        return f"{info.state}, unreachable"
    return info.state if info.health is None or info.health.state == "ok" else f"{info.state}, {info.health.state}"


@command(example="holdfast pool show newdata")
def pool_show(call: Invocation, pool: PoolArgument) -> None:
    """Print everything that is known of one pool."""
    with call.hold() as hold:
        _answer(call, hold, pool)


@command(example="holdfast pool set newdata --state read-only")
def pool_set(
    call: Invocation,
    pool: PoolArgument,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="active, read-only, draining or offline."),
    ] = None,
) -> None:
    """Set a pool's state.

    active takes new datasets; read-only and draining are read but get none; offline is not touched at all.
    """
    from holdfast.catalog.base import POOL_STATES

    wanted = words.state_word(state, POOL_STATES, "holdfast pool set")
    if wanted is None:
        raise UsageError(f"say what it is to be: holdfast pool set {pool} --state {'|'.join(POOL_STATES)}")
    with call.hold() as hold:
        hold.set_pool_state(pool, wanted, actor=ACTOR)
        _answer(call, hold, pool)


@command(example="holdfast pool rename olddata archive")
def pool_rename(
    call: Invocation,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The id under which its datasets are known.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The id that the configuration has now.")],
) -> None:
    """Tell the catalog that a pool has another id now.

    For a pool that got another id in the configuration and kept its folder: its datasets are listed under
    the new id from then on. No byte is moved. `holdfast check` says when this is called for.
    """
    with call.hold() as hold:
        hold.rename_pool(old, new, actor=ACTOR)
        _answer(call, hold, new)


def _answer(call: Invocation, hold: Hold, object_store_id: str) -> None:
    info = hold.pool(object_store_id)
    call.answer(info.to_json(), *_card(info))


def _cache_words(usage: CacheUsage) -> str:
    bound = "" if usage.bound_bytes is None else f" of {render.size(usage.bound_bytes)}"
    hits = "" if usage.hit_ratio is None else f", {render.percent(100 * usage.hit_ratio)} hits"
    return f"{render.clean(usage.folder)}: {render.size(usage.held_bytes)}{bound}{hits}"


def _damage_words(info: PoolInfo) -> str:
    known = info.integrity
    if known is None or not (known.damaged or known.missing):
        return ""
    return f"{known.damaged:,} damaged, {known.missing:,} missing"


def _card(info: PoolInfo) -> list[render.Block]:
    from holdfast.hold.shapes import health_words

    limit = "" if info.max_percent_full is None else f", new datasets up to {render.percent(info.max_percent_full)}"
    full = "" if info.percent_full is None else f" ({render.percent(info.percent_full)} full{limit})"
    pairs = [
        ("Pool", render.clean(info.object_store_id)),
        ("Name", render.clean(info.name or "")),
        ("Type", info.type),
        ("State", _state_words(info)),
        ("Why", render.clean(info.unreachable_because or info.unwritable_because)),
        ("Health", render.clean(health_words(info.health) or "")),
        ("Location", render.clean(info.location or "")),
        ("Datasets", f"{info.datasets:,}"),
        ("Used", render.size(info.used_bytes)),
        ("Reserved", render.size(info.reserved_bytes)),
        ("Free", render.size(info.free_bytes)),
        ("Capacity", render.size(info.capacity_bytes) + full),
        ("Verified", _verified_words(info)),
        ("Damaged", _damage_words(info)),
        ("Order", "" if info.order is None else str(info.order)),
        ("Weight", "" if info.weight is None else f"{info.weight:g}"),
        ("Device", render.clean(info.device or "")),
        ("Quota", render.clean(info.quota_source or "")),
        ("Private", "yes" if info.private else ""),
        ("About", render.clean(info.description or "")),
        *(("Cache", _cache_words(usage)) for usage in info.cache or ()),
    ]
    return [render.Fields([pair for pair in pairs if pair[1]])]
