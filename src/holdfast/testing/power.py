"""Real power cuts: a Linux kernel as an ordinary process, with its own disk, killed in the middle of work.

The guest boots on the host's file system (read-only), so the same interpreter, packages and checkout run
inside. Its disk is an ext4 image; what the guest had not written out when the process is killed existed only
in the guest's memory, and is gone. A second boot on the same image sees what a machine sees after a power
cut, through ext4's own recovery.

    with PowerCutMachine() as machine:
        cut = machine.run(workload, cut=Cut(lines=12, delay_ms=3.5))  # its output: the acknowledgements
        after = machine.run(check)
        assert set(cut.lines) <= set(after.lines)

A line that the script printed has reached the host before `print(..., flush=True)` returns: it is an
acknowledgement that survives the cut. No root is needed. A boot takes 1.5 s, a cut and the look afterwards 4.

Does not model: a disk with a volatile cache of its own (what the guest's kernel wrote out stays written),
torn sectors, or more than one processor. The guest has no network.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import holdfast.testing
from holdfast.seams import SystemClock
from holdfast.testing.disks import make_ext4
from holdfast.testing.guest import END, GuestPlaces, init_script
from holdfast.testing.user_mode_linux import Kernel, find_kernel

DEFAULT_CACHE = Path(".cache")
DEFAULT_LIMIT_S = 60.0
_OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cut:
    """When the power goes: `delay_ms` after the script has printed `lines` lines, or when it ends before."""

    lines: int
    delay_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one boot.

    `lines`: all that the script had printed. `status`: its exit status, None if the power went before its
    end. `ready_s`: until its first line (or its end); `total_s`: until the guest was off. `console`: what
    the kernel and the script's stderr said.
    """

    lines: tuple[str, ...]
    status: int | None
    ready_s: float
    total_s: float
    console: str


class GuestFailed(Exception):
    """The guest did not boot, took too long, or its script failed. The message ends with its console."""


class PowerCutMachine:
    """A machine with one disk, `image_size_mib` large, that keeps its content from boot to boot.

    `disk` is where the disk is mounted and `output` where the host's folder `output_folder` is, both as the
    guest sees them. `mount_options`: the default makes ext4 as forgetful as it may be. With
    `writeback_ms` the guest's kernel writes dirty pages back after that time, in no order, instead of after
    30 s: so a cut finds some of what was not synced on the disk.

    One run at a time.
    """

    def __init__(
        self,
        *,
        image_size_mib: int = 64,
        memory_mib: int = 256,
        interpreter: Path | None = None,
        python_path: Sequence[Path] | None = None,
        environment: Mapping[str, str] | None = None,
        mount_options: str = "noauto_da_alloc",
        writeback_ms: int | None = None,
        cache: Path = DEFAULT_CACHE,
    ) -> None:
        self._kernel = find_kernel(cache.absolute())
        self._interpreter = interpreter or Path(sys.executable)
        source = Path(holdfast.testing.__file__).parents[2]
        self._python_path = tuple(python_path) if python_path is not None else (source,)
        self._memory_mib = memory_mib
        self._mount_options = mount_options
        self._writeback_ms = writeback_ms
        self._environment = dict(environment or {})
        self._places = GuestPlaces.beside((self._interpreter, *self._python_path, cache.absolute()))
        self.disk = self._places.disk
        self.output = self._places.output
        self._room = Path(tempfile.mkdtemp(prefix="holdfast-power-"))
        self.output_folder = self._room / "output"
        self.output_folder.mkdir()
        self.image = self._room / "disk.img"
        with self.image.open("wb") as file:
            file.truncate(image_size_mib * 1024 * 1024)
        make_ext4(self.image)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the machine with its disk. Idempotent."""
        shutil.rmtree(self._room, ignore_errors=True)

    def run(self, script: Path, *arguments: str, cut: Cut | None = None, limit_s: float = DEFAULT_LIMIT_S) -> Run:
        """Boot, run the Python script in the guest with the disk as its working directory, and switch off.

        Without `cut` the script has to end with status 0, and the disk is unmounted cleanly (as far as Linux
        does at power-off: everything is synced). With `cut` the guest is killed at that moment, whatever it
        is doing. `GuestFailed` if it failed or took longer than `limit_s`.
        """
        init = self._room / "init"
        init.write_text(
            init_script(
                self._places,
                command=[str(self._interpreter), str(script), *arguments],
                environment={"PYTHONPATH": os.pathsep.join(map(str, self._python_path)), **self._environment},
                output_folder=self.output_folder,
                mount_options=self._mount_options,
                writeback_ms=self._writeback_ms,
                limit_s=limit_s,
                at_end="wait to be cut" if cut is not None else "switch off",
            )
        )
        init.chmod(0o755)
        reading, writing = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, reading)
            try:
                console = stack.enter_context((self._room / "console").open("wb"))
                process = _boot(self._kernel, self._command(init, writing), self._room, console.fileno(), writing)
            finally:
                os.close(writing)
            listener = _Listener(reading, process, limit_s)
            try:
                listener.follow(cut)
            finally:
                _kill(process)
                listener.drain()
        return self._judged(listener, cut)

    def _judged(self, listener: _Listener, cut: Cut | None) -> Run:
        said = (self._room / "console").read_text(errors="replace")
        run = Run(tuple(listener.lines), listener.status, listener.ready_s, listener.total_s, said)
        if listener.timed_out:
            raise GuestFailed(f"the guest was not done after {listener.total_s:.0f} s:\n{said[-4000:]}")
        if run.status is None and (cut is None or len(run.lines) < cut.lines):
            raise GuestFailed(f"the guest died before its script ended:\n{said[-4000:]}")
        if run.status:
            raise GuestFailed(f"the script ended with status {run.status}:\n{said[-4000:]}")
        return run

    def _command(self, init: Path, acknowledgements: int) -> list[str]:
        return [
            str(self._kernel.program),
            f"mem={self._memory_mib}M",
            f"ubda={self.image}",
            "rootfstype=hostfs", "rootflags=/", "ro", "quiet", f"init={init}",
            "lpj=20000000",  # saves measuring the processor's speed: 0.15 s
            "con=null", "con0=null,fd:1", "con1=null", "ssl=null", f"ssl0=null,fd:{acknowledgements}",
        ]  # fmt: skip


class _Listener:
    """Follows a guest by the lines that it prints. Owns what one run has brought so far."""

    def __init__(self, reading: int, process: subprocess.Popen[bytes], limit_s: float) -> None:
        self._reading = reading
        self._process = process
        self._clock = SystemClock()
        self._start_s = self._clock.monotonic_s()
        self._end_s = self._start_s + limit_s
        self._rest = b""
        self._size_bytes = 0
        self._open = True
        self.lines: list[str] = []
        self.status: int | None = None
        self.timed_out = False
        self.ready_s = 0.0
        self.total_s = 0.0

    def follow(self, cut: Cut | None) -> None:
        """Return at the moment of the cut, at the guest's end, or at the limit."""
        while self._open and not self.timed_out:
            if cut is not None and (len(self.lines) >= cut.lines or self.status is not None):
                if self.status is None:
                    self._clock.sleep(cut.delay_ms / 1000)
                return
            self._read()

    def drain(self) -> None:
        """Take what is still in the pipe. Its end means that no process of the guest lives any more."""
        while self._open:
            self._end_s = self._clock.monotonic_s() + 10
            self._read()
        self._process.wait()
        self.total_s = self._clock.monotonic_s() - self._start_s

    def _read(self) -> None:
        left_s = self._end_s - self._clock.monotonic_s()
        ready, _, _ = select.select([self._reading], [], [], max(left_s, 0))
        if not ready:
            self.timed_out = True
            self._open = False
            return
        block = os.read(self._reading, 65536)
        self._open = bool(block)
        self._size_bytes += len(block)
        if self._size_bytes > _OUTPUT_LIMIT_BYTES:
            raise GuestFailed(f"the script printed more than {_OUTPUT_LIMIT_BYTES} bytes")
        *whole, self._rest = (self._rest + block).split(b"\n")
        for raw in whole:
            line = raw.decode(errors="surrogateescape").removesuffix("\r")
            self.ready_s = self.ready_s or self._clock.monotonic_s() - self._start_s
            if line.startswith(END):
                self.status = int(line[1:])
            else:
                self.lines.append(line)


def _boot(
    kernel: Kernel, command: list[str], room: Path, console: int, acknowledgements: int
) -> subprocess.Popen[bytes]:
    """Start the kernel as the leader of a group of its own, in which the whole guest stays."""
    memory = Path("/dev/shm")  # noqa: S108 - memory is what it is for
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1024**3
    environment = {"HOME": str(room), "TMPDIR": str(memory if roomy else room), "PATH": os.defpath}
    if kernel.adapter is not None:
        environment["LD_PRELOAD"] = str(kernel.adapter)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        pass_fds=(acknowledgements,),
        env=environment,
        cwd="/",
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
