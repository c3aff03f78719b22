"""Plans for pages: made in threads of their own, few at a time, shared by who asks for the same.

A plan over very many datasets takes seconds. Whoever asks waits a moment for it, then gets a page that asks again. A
plan that nobody has asked for lately is given up; one that is made is shown for a while, and made anew after that.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from holdfast.errors import Cancelled, HoldfastError
from holdfast.operations.base import Amount
from holdfast.operations.runner import Operations
from holdfast.seams import Clock
from holdfast.server.api.operations import operations_of
from holdfast.server.context import house_of
from holdfast.server.pages import words

AT_ONCE = 2  # plans that are being made, of this server process
KEPT_MAX = 32  # plans that are remembered
KEPT_S = 20.0  # a plan is shown again without being made anew
LEFT_S = 15.0  # nobody has asked for so long: given up
WAIT_S = 1.0  # whoever asks waits so long for it

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known of a plan: the dry run's shape, or why there is none, or neither yet. `age_s` since it was made."""

    plan: Mapping[str, Any] | None = None
    problem: str | None = None
    age_s: float = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether there is an answer."""
        return self.plan is not None or self.problem is not None

    @property
    def expected(self) -> Amount | None:
        """How much it is, for who begins the operation now."""
        return None if self.plan is None else Amount(int(self.plan["objects"]), int(self.plan["bytes"]))


class Previews:
    """The plans of one server process. Safe from many threads."""

    def __init__(self, operations: Operations, clock: Clock) -> None:
        self._operations, self._clock = operations, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Planning] = OrderedDict()

    def ask(self, kind: str, parameters: Mapping[str, Any], *, wait_s: float = WAIT_S) -> Preview:
        """The plan, if it is there within `wait_s`; it is begun if nobody has, as soon as there is a thread for it."""
        name = json.dumps([kind, dict(parameters)], sort_keys=True)
        with self._lock:
            planning = self._kept.get(name)
            if planning is None or planning.is_stale:
                self._drop_old()
                if sum(one.is_alive() for one in self._kept.values()) >= AT_ONCE:
                    return Preview()
                planning = self._kept[name] = _Planning(self._operations, self._clock, kind, parameters)
                planning.start()
            self._kept.move_to_end(name)
            planning.asked_s = self._clock.monotonic_s()
        planning.join(wait_s)
        return planning.preview()

    def known(self, kind: str, parameters: Mapping[str, Any]) -> Amount | None:
        """How much a plan that was shown a moment ago has said it is."""
        with self._lock:
            planning = self._kept.get(json.dumps([kind, dict(parameters)], sort_keys=True))
        return None if planning is None or planning.is_stale else planning.preview().expected

    def forget(self) -> None:
        """Something has begun: plans of before it are not shown any more."""
        with self._lock:
            for planning in self._kept.values():
                planning.asked_s = float("-inf")
            self._kept.clear()

    def _drop_old(self) -> None:
        for name, planning in list(self._kept.items()):
            if len(self._kept) < KEPT_MAX and not planning.is_stale:
                continue
            if not planning.is_alive():
                del self._kept[name]


class _Planning(threading.Thread):
    """One plan that is being made, or was."""

    def __init__(self, operations: Operations, clock: Clock, kind: str, parameters: Mapping[str, Any]) -> None:
        super().__init__(name=f"plan of a {kind}", daemon=True)
        self._operations, self._clock, self._kind, self._parameters = operations, clock, kind, dict(parameters)
        self._plan: Mapping[str, Any] | None = None
        self._problem: str | None = None
        self._made_s: float | None = None
        self.asked_s = self._clock.monotonic_s()

    @property
    def is_stale(self) -> bool:
        """Whether it was given up, or made too long ago."""
        if self._made_s is not None:
            return self._clock.monotonic_s() - self._made_s > KEPT_S
        return not self.is_alive() and self.ident is not None

    def preview(self) -> Preview:
        made_s = self._made_s
        if made_s is None:
            return Preview()
        return Preview(self._plan, self._problem, self._clock.monotonic_s() - made_s)

    def run(self) -> None:
        try:
            self._plan = self._operations.plan(self._kind, self._parameters, check=self._check)
        except Cancelled:
            return
        except HoldfastError as error:
            self._problem = words.sentence(str(error))
        except Exception:  # noqa: BLE001 - a thread has nobody above it: whoever asks is told
            _LOG.exception("the plan of a %s failed", self._kind)
            self._problem = "The plan could not be made; the server's log says why."
        self._made_s = self._clock.monotonic_s()

    def _check(self) -> None:
        if self._clock.monotonic_s() - self.asked_s > LEFT_S:
            raise Cancelled("nobody asks for this plan any more")


def previews_of(request: Request) -> Previews:
    """The plans of this server process."""
    house = house_of(request)
    found: Previews | None = house.parts.get(Previews)
    if found is None:
        found = house.parts.setdefault(Previews, Previews(operations_of(house), house.hold.clock))
    return found
