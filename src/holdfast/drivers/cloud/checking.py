"""Whether a bucket works, and what its server does not obey. Used by the cloud driver alone."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.errors import read_answer
from holdfast.drivers.cloud.mark import Mark
from holdfast.drivers.cloud.ranges import RangeIgnored, fetch
from holdfast.errors import AlreadyExists, Corrupt, PreconditionFailed
from holdfast.keys import RESERVED_PREFIX, Key
from holdfast.seams import Entropy


class Checking:
    """Tries a bucket out."""

    def __init__(self, clients: Clients, mark: Mark, entropy: Entropy) -> None:
        self._clients, self._mark, self._entropy = clients, mark, entropy

    def probe(self) -> None:
        """Write a small blob, read a part of it back, try to create it again, delete it."""
        here = self._clients.here()
        key = Key(f"{RESERVED_PREFIX}-probe-{self._entropy.token(8)}")
        content = self._entropy.token(32).encode()
        with self._clients.asking(key, "probe"):
            here.obstore.put(here.store, key, content, use_multipart=False)
        try:
            self._read_back(key, content)
            here.conditions = self._refuses_to_create(key, content)
        finally:
            with self._clients.asking(key, "probe"):
                here.obstore.delete(here.store, key)

    def findings(self) -> Sequence[str]:
        """Sentences about what the server was seen not to obey."""
        here, place = self._clients.here(), self._clients.settings.place
        found = []
        if here.conditions is False:
            found.append(
                f"{place} ignores conditions on writes (If-None-Match): Holdfast asks before it writes, but two "
                "programs that do not share a catalog could overwrite each other's data; let nothing else write to it"
            )
        if not here.ranges:
            found.append(
                f"{place} ignores ranges on reads: to read the end of a dataset is to read all of it; "
                "look for a server that obeys them"
            )
        return found

    def _read_back(self, key: Key, content: bytes) -> None:
        here = self._clients.here()
        try:
            _, part = fetch(self._clients, key, 2, 10, None)
        except RangeIgnored:
            here.ranges_were_ignored()
            part = content[2:10]
        with self._clients.asking(key, "probe"):
            whole = bytes(here.obstore.get(here.store, key).bytes())
        if (bytes(part), whole) != (content[2:10], content):
            name = self._clients.name
            raise Corrupt(f"pool {name} did not give back what was written", store=name, operation="probe")

    def _refuses_to_create(self, key: Key, content: bytes) -> bool:
        here = self._clients.here()
        try:
            here.obstore.put(here.store, key, content, mode="create", use_multipart=False)
        except Exception as error:  # noqa: BLE001 - obstore's errors have no common ancestor that says more
            answer = read_answer(error)
            found = self._clients.error(answer, key, "probe")
            if isinstance(found, AlreadyExists | PreconditionFailed) or answer.status == 409:
                return True
            if answer.status == 501:
                return False
            raise found from None
        return False
