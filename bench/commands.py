"""What a user waits for: `--help`, and the server's first answer."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench.measuring import Row, bounded

HELP_S, ANSWER_S, IDLE_MIB = 0.3, 2.0, 200.0
HOLDFAST = Path(sys.executable).with_name("holdfast")


def help_text(_folder: Path) -> list[Row]:
    """`holdfast --help`, from starting Python to the end."""
    times = []
    for _ in range(9):
        start = time.perf_counter()
        subprocess.run([HOLDFAST, "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return [bounded("holdfast --help", statistics.median(times), at_most=HELP_S)]


def serving(folder: Path) -> list[Row]:
    """`serve` until it answers, and what all its processes keep in memory when idle."""
    port = _free_port()
    (folder / "a").mkdir()
    document = folder / "holdfast.yml"
    document.write_text(
        f"state_dir: {folder / 'state'}\npools:\n  a: {{type: disk, files_dir: {folder / 'a'}}}\n"
        "placement: hierarchical\n"
    )
    command = [HOLDFAST, "--config", document, "serve", "--host", "127.0.0.1", "--port", str(port)]
    times, memory = [], 0.0
    for _ in range(4):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(f"http://127.0.0.1:{port}/healthz", 30.0)
            times.append(time.perf_counter() - start)
            time.sleep(2.0)
            memory = max(memory, _resident_mib(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    return [
        bounded("serve: until it answers", statistics.median(times[1:]), at_most=ANSWER_S),
        bounded("serve: memory of all processes, idle", memory, at_most=IDLE_MIB, unit="MiB"),
    ]


def main(folder: Path) -> list[Row]:
    """All rows about commands."""
    return help_text(folder) + serving(folder)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _resident_mib(pid: int) -> float:
    """Resident memory of a process and all below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(name))
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
        todo += children.get(one, [])
    return total / 2**20
