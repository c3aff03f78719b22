"""Which operations there are."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.operations.base import Operation
from holdfast.operations.drain import Drain
from holdfast.operations.move import Move
from holdfast.operations.reap import Reap
from holdfast.operations.rebalance import Rebalance
from holdfast.operations.reconcile import Reconcile
from holdfast.operations.scrub import Scrub

KINDS: Mapping[str, Operation] = {one.kind: one for one in (Move(), Drain(), Rebalance(), Scrub(), Reconcile(), Reap())}
