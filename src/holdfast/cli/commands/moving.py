"""move, drain, rebalance: datasets go to other pools while people work."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.cli.commands.operations import (
    ConcurrencyOption,
    DetachOption,
    DryRunOption,
    RateOption,
    asked_for,
    operate,
)
from holdfast.cli.commands.pools import PoolArgument
from holdfast.cli.commands.storing import DatasetsArgument
from holdfast.cli.invocation import Invocation, command


@command(example="holdfast move 24 25 --to newdata\nholdfast move 24 --to cloud --dry-run")
def move(
    call: Invocation,
    datasets: DatasetsArgument,
    *,
    to: Annotated[str, typer.Option("--to", metavar="ID", help="The pool that takes them.")],
    dry_run: DryRunOption = False,
    limit_rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    detach: DetachOption = False,
) -> int:
    """Move datasets to another pool while people work.

    Each is copied, read back from the target, recorded, and only then retired where it was. Its old bytes
    stay for the grace period, so whoever reads them goes on. Ends with 8 if one could not be moved.
    """
    with call.hold() as hold:
        ids = sorted({hold.find(one).id for one in datasets})
    parameters: dict[str, Any] = asked_for(None, limit_rate, concurrency) | {"datasets": ids, "to": to}
    return operate(call, "move", parameters, dry_run=dry_run, detach=detach)


@command(example="holdfast drain olddata --dry-run\nholdfast drain olddata --limit-rate 200MiB/s")
def drain(
    call: Invocation,
    pool: PoolArgument,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ID", help="One pool that takes it all; else as new data goes.")
    ] = None,
    dry_run: DryRunOption = False,
    limit_rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    detach: DetachOption = False,
) -> int:
    """Move everything out of a pool, so that it can be unplugged.

    The pool takes nothing new from then on. Says at the end whether it is safe to unplug, and else what is
    left in it and why; then it ends with 8.
    """
    parameters = asked_for(pool, limit_rate, concurrency) | ({} if to is None else {"to": to})
    return operate(call, "drain", parameters, dry_run=dry_run, detach=detach)


@command(example="holdfast rebalance --dry-run\nholdfast rebalance --by percent --limit-rate 100MiB/s")
def rebalance(
    call: Invocation,
    *,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="WAY", help="weights (of the placement), or percent (all equally full)."),
    ] = None,
    dry_run: DryRunOption = False,
    limit_rate: RateOption = None,
    concurrency: ConcurrencyOption = None,
    detach: DetachOption = False,
) -> int:
    """Move what is too much in one pool to those that have too little.

    Moves the fewest bytes that bring the pools to their shares: by the weights of a distributed placement, or
    so that all are equally full. A second run moves nothing.
    """
    parameters = asked_for(None, limit_rate, concurrency) | ({} if by is None else {"by": by})
    return operate(call, "rebalance", parameters, dry_run=dry_run, detach=detach)
