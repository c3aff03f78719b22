"""obstore, one per process.

Its native runtime does not live on after a fork: in the child every call waits for ever, also with a new client. So a
process that was forked from one that had used it loads the extension module once more, from a copy: it has a runtime
of its own then (measured: 15 ms). Nothing is imported before the first use. Only synchronous calls are made.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import threading
from importlib.machinery import ExtensionFileLoader
from typing import Any

_NAME = "obstore._obstore"
_modules: dict[int, Any] = {}  # process id -> the extension module
_locks: dict[int, threading.Lock] = {}


def obstore_here() -> Any:
    """The extension module that may be used in this process: `get`, `put`, …, and `_store` with the classes."""
    process_id = os.getpid()
    found = _modules.get(process_id)
    if found is None:
        with _locks.setdefault(process_id, threading.Lock()):
            found = _modules.get(process_id)
            if found is None:
                found = _load_copy() if _modules else _load()
                _modules[process_id] = found
    return found


def _load() -> Any:
    from obstore import _obstore

    return _obstore


def _load_copy() -> Any:
    """The same extension module from another file, so that the linker does not hand out the one that is loaded."""
    original = next(iter(_modules.values())).__file__
    fd = os.memfd_create("obstore")
    try:
        with open(original, "rb") as source, open(fd, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
        loader = ExtensionFileLoader(_NAME, f"/proc/self/fd/{fd}")
        spec = importlib.util.spec_from_file_location(_NAME, loader.path, loader=loader)
        assert spec is not None, "a loader was given"
        before = {name: module for name, module in sys.modules.items() if name.startswith("obstore")}
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        sys.modules.update(before)  # others keep the one that they know
    finally:
        os.close(fd)
    module.__file__ = original
    return module
