"""Reading one blob: the first request brings its stat and its first bytes, the rest comes in parallel ranges.

Every later range is asked for with the version that the first one had, and what comes is counted: fewer bytes than were
announced are `Unavailable`, never the end of a file; other bytes are `PreconditionFailed`, never a mix. A server that
answers a range with something else is noticed, and read from the first byte to the last in one stream instead.
"""

from __future__ import annotations

from typing import BinaryIO, cast

from holdfast.blobs import ByteRange, GetOptions, Reader
from holdfast.drivers.cloud.clients import Clients
from holdfast.drivers.cloud.listing import head
from holdfast.drivers.cloud.mark import Mark
from holdfast.drivers.cloud.ranges import NoSuchRange, Part, RangeIgnored, cut_off, fetch
from holdfast.drivers.cloud.streams import Parts, Whole
from holdfast.errors import NotFound
from holdfast.keys import Key
from holdfast.stores.streams import Seekable

FIRST_BYTES = 4 * 1024 * 1024


class Reading:
    """Opens blobs of one bucket."""

    def __init__(self, clients: Clients, mark: Mark) -> None:
        self._clients, self._mark = clients, mark

    def open(self, key: Key, options: GetOptions) -> Reader:
        """The blob as a stream."""
        self._mark.require("open")
        settings = self._clients.settings
        wanted = options.range or ByteRange(0)
        if wanted.stop is not None and wanted.stop <= wanted.start:
            return self._nothing(key, wanted)
        if not self._clients.here().ranges:
            return self._streamed(key, wanted)
        first = FIRST_BYTES if options.range is None else settings.read_part_bytes
        stop = wanted.start + first if wanted.stop is None else min(wanted.stop, wanted.start + first)
        try:
            stat, content = fetch(self._clients, key, wanted.start, stop, None)
        except NoSuchRange:
            return self._nothing(key, wanted)
        except RangeIgnored:
            self._clients.here().ranges_were_ignored()
            return self._streamed(key, wanted)
        except NotFound:
            raise self._mark.absent(key, "open") from None
        start, end = wanted.within(stat.size_bytes)
        all_wanted = wanted.stop is not None
        return Reader(_as_stream(Parts(self._clients, stat, Part(start, content), end, all_wanted=all_wanted)), stat)

    def _nothing(self, key: Key, wanted: ByteRange) -> Reader:
        """Nothing of it is wanted, or it is shorter than that: only its stat is asked for."""
        try:
            stat = head(self._clients, key, "open")
        except NotFound:
            raise self._mark.absent(key, "open") from None
        start, end = wanted.within(stat.size_bytes)
        return Reader(_as_stream(Parts(self._clients, stat, Part(start, b""), end)), stat)

    def _streamed(self, key: Key, wanted: ByteRange) -> Reader:
        """The whole, of which only the range is used. Its size is compared: such a server is not trusted twice."""
        try:
            known = head(self._clients, key, "open")
            stream = Whole(self._clients, key)
        except NotFound:
            raise self._mark.absent(key, "open") from None
        if stream.stat.size_bytes != known.size_bytes:
            raise cut_off(self._clients, key, known.size_bytes, stream.stat.size_bytes)
        start, stop = wanted.within(stream.stat.size_bytes)
        stream.confine(start, stop)
        return Reader(_as_stream(stream), stream.stat)


def _as_stream(raw: Seekable) -> BinaryIO:
    return cast("BinaryIO", raw)
