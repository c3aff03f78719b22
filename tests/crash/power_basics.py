"""Runs inside the guest of `PowerCutMachine`, for test_power_cut_machine.py: `power_basics.py WHAT`.

Every line on its standard output is an acknowledgement: it has reached the host when `flush` returns.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
import time
from pathlib import Path

BLOCK = b"x" * 100_000
FOREVER_S = 1000


def write_three_ways() -> None:
    """What is synced, what is not, and what is renamed without a sync."""
    for number in range(10):
        _write(f"synced-{number}", sync=True)
        _write(f"loose-{number}", sync=False)
        _write("temporary", sync=False)
        os.rename("temporary", f"renamed-{number}")
    folder = os.open(".", os.O_RDONLY)
    os.fsync(folder)
    _write("very last", sync=False)
    os.rename("very last", "renamed-last")
    _acknowledge("written")
    time.sleep(FOREVER_S)


def write_and_wait() -> None:
    """Nothing is synced, and the kernel gets time to write back by itself."""
    for number in range(10):
        _write(f"loose-{number}", sync=False)
    time.sleep(2.5)
    _acknowledge("written")
    time.sleep(FOREVER_S)


def list_files() -> None:
    """Each file with its size and whether its content is what was written."""
    for path in sorted(Path().iterdir()):
        if path.is_file():
            content = path.read_bytes()
            _acknowledge(f"{path.name} {len(content)} {'whole' if content == BLOCK else 'damaged'}")


def commit(lock_name: str = "lock") -> None:
    """Commits to SQLite as the catalog does, one acknowledgement each; first tells what survived."""
    lock = os.open(lock_name, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with sqlite3.connect("catalog.sqlite", isolation_level=None) as catalog:
        mode = catalog.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        catalog.execute("PRAGMA synchronous=FULL")
        catalog.execute("CREATE TABLE IF NOT EXISTS counted (number INTEGER PRIMARY KEY, filler BLOB)")
        known = [number for (number,) in catalog.execute("SELECT number FROM counted ORDER BY number")]
        check = catalog.execute("PRAGMA integrity_check").fetchone()[0]
        _acknowledge(f"survived {mode} {check} {' '.join(map(str, known))}")
        for number in range(len(known), len(known) + 100_000):
            catalog.execute("INSERT INTO counted VALUES (?, ?)", (number, os.urandom(700)))
            _acknowledge(str(number))


def surroundings() -> None:
    """What a guest promises: its disk, memory for temporary files, a way out to the host, the checkout."""
    import holdfast.testing

    Path(os.environ["TMPDIR"], "temporary").write_text("x")
    Path("../output/report").write_text("from the guest")
    _acknowledge(str(Path(holdfast.testing.__file__).parent))
    _acknowledge(str(Path.cwd()))
    try:
        Path("/holdfast-was-here").touch()
    except OSError as error:
        _acknowledge(os.strerror(error.errno or 0))
    _acknowledge(" ".join(sys.argv[2:]))


def fail() -> None:
    """Ends like a script with a bug."""
    raise RuntimeError("a bug in the guest's script")


def sleep() -> None:
    """Never ends."""
    time.sleep(FOREVER_S)


def _write(name: str, *, sync: bool) -> None:
    fd = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(fd, BLOCK)
    if sync:
        os.fsync(fd)
    os.close(fd)


def _acknowledge(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
