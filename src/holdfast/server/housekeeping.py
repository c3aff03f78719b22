"""What a server does now and then: show that it lives, let go of uploads and credentials that have expired."""

from __future__ import annotations

import logging
import threading

from holdfast.errors import HoldfastError
from holdfast.hold.hold import Hold
from holdfast.server.context import House
from holdfast.server.tus import Uploads

LIFE_S = 60.0
REAP_EVERY = 10  # signs of life

log = logging.getLogger("holdfast.server")


class Housekeeping:
    """One thread for each process. The first round is at once."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="holdfast-housekeeping", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the round under way."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def reap(self) -> int:
        """One round: how many uploads and credentials went."""
        house = self._house
        uploads = Uploads(house.hold, house.accounts, house.settings)
        return uploads.reap() + house.accounts.reap()

    def _run(self) -> None:
        rounds = 0
        while True:
            try:
                show_life(self._house.hold)
                if rounds % REAP_EVERY == 0:
                    self.reap()
            except HoldfastError as error:
                log.warning("housekeeping: %s", error)
            rounds += 1
            if self._stopped.wait(LIFE_S):
                return


def show_life(hold: Hold) -> None:
    """Let other machines see that this process still works."""
    hold.catalog.holders.touch()
