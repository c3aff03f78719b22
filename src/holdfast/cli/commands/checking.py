"""check: the preflight."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from holdfast.cli import render
from holdfast.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from holdfast.errors import Problem
    from holdfast.hold.facts import PoolCheck
    from holdfast.stores.caching import Health

EXIT_UNAVAILABLE = 6


@command(example="holdfast check\nholdfast check --config object_store_conf.xml")
def check(call: Invocation) -> int:
    """Read the whole configuration and prove each pool.

    Says what is wrong or has no effect in the document, with file and line, and which defects of Galaxy the
    file relies on. Then writes, reads back and deletes a probe in each pool. Ends with 2 if the document
    cannot be used, with 6 if a pool cannot.
    """
    from holdfast.config.twin_folders import twin_folders

    with call.hold_or_begin() as hold:
        checks = hold.check_pools()
        twins = twin_folders(hold.config.pools(), {found.object_store_id for found in checks if found.ok})
        checks = [_unless_twin(found, twins.get(found.object_store_id)) for found in checks]
        said = {f"pool {found.object_store_id}" for found in checks if found.severity != "ok"}
        odd = [warning for warning in hold.warnings if warning.where not in said]
        notes: tuple[Problem, ...] = (*hold.config.notes, *odd)
        source, state_dir = hold.config.source, str(hold.state_dir)
        known = hold.pools()
        health = {info.object_store_id: info.health for info in known}
        empty = {info.object_store_id for info in known if not info.datasets}
    checks = [_with_a_way_out(found) if found.object_store_id in empty else found for found in checks]
    failed = [found for found in checks if not found.ok]
    call.answer(
        {
            "ok": not failed,
            "config": source,
            "state_dir": state_dir,
            "problems": [_problem_json(problem) for problem in notes],
            "pools": [_pool_json(found, health.get(found.object_store_id)) for found in checks],
        },
        *_notes(notes),
        render.Table(
            _COLUMNS, [_row(found, health.get(found.object_store_id)) for found in checks], "No pools are configured."
        ),
        _verdict(source, checks, failed),
    )
    return EXIT_UNAVAILABLE if failed else 0


def _unless_twin(found: PoolCheck, wrong: str | None) -> PoolCheck:
    return found if wrong is None else dataclasses.replace(found, severity="error", detail=wrong, rename_from=None)


def _with_a_way_out(found: PoolCheck) -> PoolCheck:
    """Of a pool that holds nothing yet, and has got another folder, the mark is not missed: it stayed behind."""
    if found.ok or not found.detail.endswith("; is it mounted?"):
        return found
    way = (
        "If you gave this pool, which holds no dataset, another folder: move .holdfast-pool there from the old one, "
        "or give the pool another id"
    )
    return dataclasses.replace(found, detail=f"{found.detail} {way}")


_COLUMNS = (render.Column("POOL"), render.Column(""), render.Column("FOUND"))


def _row(found: PoolCheck, health: Health | None) -> tuple[str, str, str]:
    from holdfast.hold.shapes import health_words

    words = health_words(health) if found.ok else None  # what failed just now is the detail
    detail = found.detail if words is None else f"{found.detail}; {words}"
    return render.clean(found.object_store_id), found.severity, render.clean(detail)


def _notes(notes: tuple[Problem, ...]) -> list[render.Block]:
    return [render.clean(f"{problem.severity}: {problem}") for problem in notes]


def _verdict(source: str, checks: list[PoolCheck], failed: list[PoolCheck]) -> str:
    pools = render.count(len(checks), "pool")
    if failed:
        return f"{render.clean(source)}: {len(failed)} of {pools} cannot be used"
    renames = [found for found in checks if found.rename_from]
    if renames:
        return "\n".join(
            f"If it only got another id: holdfast pool rename {found.rename_from} {found.object_store_id}"
            for found in renames
        )
    if any(found.severity != "ok" for found in checks):
        return f"{render.clean(source)}: can be used, but for what is said above"
    return f"{render.clean(source)}: good, {pools}"


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "severity": problem.severity,
        "file": problem.file,
        "line": problem.line,
        "where": problem.where,
        "message": problem.message,
        "instead": problem.instead,
    }


def _pool_json(found: PoolCheck, health: Health | None) -> dict[str, Any]:
    from holdfast.hold.shapes import health_json

    return {
        "object_store_id": found.object_store_id,
        "ok": found.ok,
        "severity": found.severity,
        "detail": found.detail,
        "rename_from": found.rename_from,
        "health": None if health is None else health_json(health),
    }
