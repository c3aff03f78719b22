"""The bucket behind a pool: its mark, and the proof that it is the right one. Used by the cloud driver alone.

The mark is a small blob in the bucket. It is read before anything is believed, once per process and every few minutes;
and again each time a server says that something is not there. So an empty bucket of the same name, another bucket, or a
server that forgot everything makes its datasets unavailable, and nobody's data "not found".
"""

from __future__ import annotations

import copy

from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import read_answer
from holdfast.errors import AlreadyExists, NotFound, PreconditionFailed, StoreError, Unavailable
from holdfast.keys import Key

MARK_NAME = ".holdfast-pool"
MARK_BYTES_MAX = 200
PROOF_GOOD_S = 300.0
SETTLE_S = 0.5  # some servers let two create the same name: whoever is there after this long has won


class Mark:
    """One pool's bucket. Safe from many threads."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._identity: str | None = None

    def expect(self, identity: str) -> None:
        """Believe the bucket only while it carries this mark."""
        self._identity = identity
        self.forget()

    def forget(self) -> None:
        """Read the mark again at the next occasion."""
        here = self._clients.here()
        here.proved_s = here.wrong = here.conditions = None

    def require(self, operation: str) -> None:
        """Raise unless the bucket is the one that we know. No request while the last look is fresh."""
        if self._identity is None:
            return
        here = self._clients.here()
        began_s = self._clients.clock.monotonic_s()
        if here.proved_s is not None and began_s - here.proved_s < PROOF_GOOD_S:
            return
        with here.lock:  # one looks, the others wait and believe it
            if here.proved_s is not None and began_s - here.proved_s < PROOF_GOOD_S:
                return
            if here.wrong is not None and here.wrong_s >= began_s:
                raise copy.copy(here.wrong)
            self._prove(operation)

    def absent(self, key: str, operation: str) -> NotFound:
        """It is not there, and the bucket is the right one; else raises."""
        if self._identity is None:
            self._look(operation)
        else:
            self._prove(operation)
        return NotFound(
            f"{key} is not in pool {self._clients.name}", store=self._clients.name, key=key, operation=operation
        )

    def wrong(self) -> StoreError | None:
        """Why the bucket was not believed when it was last looked at; None if it was."""
        found = self._clients.here().wrong
        return None if found is None else copy.copy(found)

    def identity(self, operation: str = "identity") -> str | None:
        """The mark that the bucket carries; None if it carries none."""
        here = self._clients.here()
        try:
            found = here.obstore.get(here.store, MARK_NAME)
            content = bytes(found.bytes())
        except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
            answer = read_answer(error)
            if not answer.absent:
                self._clients.fail(answer, MARK_NAME, operation)
            self._look(operation)
            return None
        try:
            return content[:MARK_BYTES_MAX].decode("ascii").strip() or None
        except UnicodeDecodeError:
            raise self._unavailable(f"the mark {MARK_NAME} cannot be read", operation) from None

    def mark(self, identity: str, replacing: str | None = None) -> None:
        """Put the mark there, over none or over `replacing`; `AlreadyExists` if there is another."""
        carried = self.identity("mark")
        if carried is None or carried == replacing:
            if self._write(identity, over=carried is not None):
                self._clients.clock.sleep(SETTLE_S)
            carried = self.identity("mark")
        if carried != identity:
            raise AlreadyExists(
                f"pool {self._clients.name}: {self._clients.settings.place} carries the mark {carried} already; "
                "it belongs to that pool",
                store=self._clients.name, key=MARK_NAME, operation="mark",
            )  # fmt: skip
        self.expect(identity)

    def conditions_obeyed(self) -> bool:
        """Whether the server refuses to create what is there, found out once per process with the mark itself."""
        here = self._clients.here()
        if here.conditions is None:
            if self._clients.settings.sure_of_conditions:
                here.conditions = True
            elif self._identity is None:
                return False
            else:
                here.conditions = not self._write(self._identity, over=False)
        return here.conditions

    # -- inside -------------------------------------------------------------------------------------------

    def _prove(self, operation: str) -> None:
        here = self._clients.here()
        try:
            carried = self.identity(operation)
            if carried != self._identity:
                place = self._clients.settings.place
                reason = f"{place} does not carry the pool's mark ({MARK_NAME})"
                if carried is not None:
                    reason = (
                        f"another bucket is there, or another catalog has taken it over: {place} carries the mark "
                        f"{carried}, not {self._identity}"
                    )
                raise self._unavailable(reason, operation)
        except StoreError as error:
            here.proved_s, here.wrong, here.wrong_s = None, error, self._clients.clock.monotonic_s()
            raise
        here.proved_s, here.wrong = self._clients.clock.monotonic_s(), None

    def _look(self, operation: str) -> None:
        """The bucket is there and may be looked into."""
        here = self._clients.here()
        with self._clients.asking("", operation):
            if self._clients.settings.service == "s3" and here.requests.signer() is not None:
                here.requests.page("", "", limit=1)
            else:
                next(iter(here.obstore.list(here.store, prefix=MARK_NAME, chunk_size=1)), None)

    def _write(self, identity: str, *, over: bool) -> bool:
        """Write the mark; False if the server says that one is there."""
        here = self._clients.here()
        try:
            mode = "overwrite" if over else "create"
            content = identity.encode("ascii") + b"\n"
            here.obstore.put(here.store, MARK_NAME, content, mode=mode, use_multipart=False)
        except Exception as error:  # noqa: BLE001 - see `identity`
            answer = read_answer(error)
            if not over and answer.status == 501:  # it does not know conditions
                return self._write(identity, over=True)
            found = self._clients.error(answer, MARK_NAME, "mark")
            if isinstance(found, AlreadyExists | PreconditionFailed) or answer.status == 409:
                return False
            raise found from None
        return True

    def _unavailable(self, reason: str, operation: str) -> Unavailable:
        name = self._clients.name
        return Unavailable(f"pool {name} is unavailable: {reason}", store=name, key=Key(""), operation=operation)
