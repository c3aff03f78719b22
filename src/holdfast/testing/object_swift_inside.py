"""What Swift's own Python runs for `object_swift`: its four servers as children of one process.

Not imported by Holdfast: `python object_swift_inside.py FOLDER`, with FOLDER/etc as `object_swift` writes it. When one
of the servers ends, or this process does, all do.
"""

import ctypes
import importlib
import os
import signal
import sys
from pathlib import Path

SERVERS = {"account": "account", "container": "container", "object": "obj", "proxy": "proxy"}
PR_SET_PDEATHSIG = 1


def main(folder: Path) -> int:
    """Start them; returns when the first of them has ended."""
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


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
