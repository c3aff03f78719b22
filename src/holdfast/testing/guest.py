"""What happens inside the guest of `holdfast.testing.power` before and after the script: its first process.

It mounts the disk and a folder of the host, runs the script with its output on a serial line that leads to
the host, reports how it ended, and switches off. Should the host's test die, the guest ends by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from holdfast.testing.here import CannotRunHere

END = "\x1e"  # begins the line with the script's exit status
_MOUNT_POINTS = (Path("/mnt"), Path("/media"), Path("/srv"))
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the guest's, where locks between processes lie


@dataclass(frozen=True, slots=True)
class GuestPlaces:
    """Where the guest sees its disk, the host's folder, and memory for temporary files."""

    base: Path

    @classmethod
    def beside(cls, needed: Sequence[Path]) -> Self:
        """Below a folder that the host has and that hides none of what is needed; `CannotRunHere` without."""
        for point in _MOUNT_POINTS:
            if point.is_dir() and not any(path.is_relative_to(point) for path in needed):
                return cls(point)
        points = ", ".join(map(str, _MOUNT_POINTS))
        raise CannotRunHere(f"the guest mounts its disk below one of {points}: move the checkout elsewhere")

    @property
    def disk(self) -> Path:
        """The ext4 that outlives a power cut."""
        return self.base / "disk"

    @property
    def output(self) -> Path:
        """The host's folder. What is closed there has reached the host."""
        return self.base / "output"

    @property
    def scratch(self) -> Path:
        """Memory: `HOME` and `TMPDIR`."""
        return self.base / "scratch"


def init_script(
    places: GuestPlaces,
    *,
    command: Sequence[str],
    environment: Mapping[str, str],
    output_folder: Path,
    mount_options: str,
    writeback_ms: int | None,
    limit_s: float,
    at_end: Literal["switch off", "wait to be cut"],
) -> str:
    """The first process as a shell script (which starts faster than a Python would)."""
    every = {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(places.scratch),
        "TMPDIR": str(places.scratch),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    options, tuning = mount_options, []
    if writeback_ms is not None:
        options += ",commit=1"
        hundredths = max(writeback_ms // 10, 1)
        tuning = [f"echo {hundredths} > /proc/sys/vm/dirty_{what}_centisecs" for what in ("expire", "writeback")]
    lines = [
        "#!/bin/sh",
        "set -e",
        *(f"export {name}={shlex.quote(value)}" for name, value in every.items()),
        "mount -t proc proc /proc",
        f"mount -t tmpfs tmpfs {places.base}",
        f"mkdir -p {places.disk} {places.output} {places.scratch} {_SHARED_MEMORY}",
        f"mount -t hostfs none {places.output} -o {shlex.quote(str(output_folder))}",
        f"mount -t ext4 -o {shlex.quote(options)} /dev/ubda {places.disk}",
        *tuning,
        f"cd {places.disk}",
        "set +e",
        f"timeout -s KILL {limit_s} {shlex.join(command)} > /dev/ttyS0 2> /dev/console < /dev/null",
        f"printf '{END}%s\\n' $? > /dev/ttyS0",
        "sync" if at_end == "switch off" else f"sleep {limit_s}",
        "echo o > /proc/sysrq-trigger",
        "sleep 9",
    ]
    return "\n".join(lines) + "\n"
