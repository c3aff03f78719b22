"""What Swift's own Python runs for `object_swift`: its four servers as children of one process.

Not imported by Holdfast: `python object_swift_inside.py FOLDER`, with FOLDER/etc as `object_swift` writes it. When one
of the servers ends, or this process does, all do.
"""

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

SERVERS = {"account": "account", "container": "container", "object": "obj", "proxy": "proxy"}
PR_SET_PDEATHSIG = 1
REMEMBERED_MAX = 10_000


def main(folder: Path) -> int:
    """Start them; returns when the first of them has ended."""
    vars(os).update(fsync=_nothing, fdatasync=_nothing)  # nothing in it is worth a sync
    # storage policies are read while Swift is imported, and from /etc whatever `swift_dir` says
    vars(importlib.import_module("swift.common.utils"))["SWIFT_CONF_FILE"] = str(folder / "etc" / "swift.conf")
    rooms = {name: importlib.import_module(f"swift.{module}.server") for name, module in SERVERS.items()}
    parent = os.getpid()
    for name, room in rooms.items():
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # it died before we said so
                return 1
            sys.argv = [f"swift-{name}-server", str(folder / "etc" / f"{name}-server.conf"), "-v"]
            return int(room.main() or 0)
    return os.waitstatus_to_exitcode(os.wait()[1]) or 1


class Remembered:
    """What a memcached would hold for the proxy, in its own memory: without it every request asks three servers."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[float, Any]] = {}

    def get(self, key: str, raise_on_error: bool = False) -> Any:  # noqa: FBT001, FBT002 - as Swift calls it
        """The value, or None."""
        until, value = self._values.get(key, (0.0, None))
        return value if until > monotonic() else None

    def set(self, key: str, value: Any, time: float = 0, **options: Any) -> None:
        """Keep it for so many seconds; 0 is for ever."""
        if len(self._values) >= REMEMBERED_MAX:
            self._values.clear()
        self._values[key] = (monotonic() + time if time else float("inf"), value)

    def delete(self, key: str, **options: Any) -> None:
        """Forget it."""
        self._values.pop(key, None)

    def incr(self, key: str, delta: int = 1, time: float = 0, **options: Any) -> int:
        """Count."""
        count = max(0, int(self.get(key) or 0) + delta)
        self.set(key, count, time)
        return count


def remember(_everybodys: Mapping[str, str], **_own: str) -> Callable[[Any], Any]:
    """The filter of the proxy's pipeline that gives each request the cache."""
    cache = Remembered()

    def wrap(app: Any) -> Any:
        def answer(environment: dict[str, Any], start_response: Any) -> Any:
            environment["swift.cache"] = cache
            return app(environment, start_response)

        return answer

    return wrap


def _nothing(_: object) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
