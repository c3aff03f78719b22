"""Where the kernel for `holdfast.testing.power` comes from: Debian's user-mode Linux, an ordinary program.

The installed package is taken; without it the package is fetched with `apt-get download` and unpacked into a
cache folder, which needs no root. A small adapter goes with it: see `_ADAPTER`. Both are made once and kept.
Raises `CannotRunHere` where this machine cannot run it at all.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from holdfast.testing.here import CannotRunHere

PACKAGE = "user-mode-linux"
_FETCH_LIMIT_S = 120

# Processors with AMX have 11,008 bytes of vector registers. The kernel of the package (6.1) keeps 2,696 and
# hands back as many, and a host of our day takes all or nothing: every guest process would die of "ptrace set
# fp regs failed, errno = 14". No guest process can have switched AMX on, so zeros for the rest say the truth.
_ADAPTER = """\
typedef struct { void *base; unsigned long size; } Span;
enum { SYS_PTRACE = 101, PEEK_FIRST = 1, PEEK_LAST = 3 };
enum { GET_REGISTERS = 0x4204, SET_REGISTERS = 0x4205, XSTATE = 0x202 };
extern long syscall(long number, ...);
static unsigned long host_size;
static unsigned char room[65536];

long ptrace(int request, int pid, void *address, void *data)
{
    Span whole = { room, sizeof room }, *given = data;
    if (request >= PEEK_FIRST && request <= PEEK_LAST) {
        long peeked = 0;
        long failed = syscall(SYS_PTRACE, (long)request, (long)pid, address, &peeked);
        return failed ? failed : peeked;
    }
    if (request == SET_REGISTERS && (long)address == XSTATE) {
        if (!host_size) {
            if (syscall(SYS_PTRACE, (long)GET_REGISTERS, (long)pid, address, &whole))
                return -1;
            host_size = whole.size;
        }
        if (given->size < host_size) {
            const unsigned char *from = given->base;
            for (unsigned long i = 0; i < host_size; i++)
                room[i] = i < given->size ? from[i] : 0;
            whole.size = host_size;
            data = &whole;
        }
    }
    return syscall(SYS_PTRACE, (long)request, (long)pid, address, data);
}
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The program, and the adapter to load into it (None where it needs none)."""

    program: Path
    adapter: Path | None


def find_kernel(cache: Path) -> Kernel:
    """The kernel of this machine, fetched into `cache` if the package is not installed."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotRunHere(f"user-mode Linux runs on x86_64 Linux only; this is {platform.platform()}")
    installed = shutil.which("linux.uml")
    return Kernel(Path(installed) if installed else _fetched(cache), _adapter(cache))


def has_wide_registers(cpu_flags: str | None = None) -> bool:
    """Does this processor have registers that the package's kernel does not know?"""
    if cpu_flags is None:
        cpu_flags = Path("/proc/cpuinfo").read_text(errors="replace")
    return "amx_tile" in cpu_flags.split()


def _fetched(cache: Path) -> Path:
    kept = cache / PACKAGE / "usr" / "bin" / "linux.uml"
    if kept.exists():
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as room:
        _run(["apt-get", "-q", "download", PACKAGE], Path(room), f"apt-get install {PACKAGE}")
        packages = [str(path) for path in Path(room).glob("*.deb")]
        _run(["dpkg-deb", "-x", *packages, "unpacked"], Path(room), f"apt-get install {PACKAGE}")
        _move_in(Path(room, "unpacked"), cache / PACKAGE)
    return kept


def _adapter(cache: Path) -> Path | None:
    if not has_wide_registers():
        return None
    kept = cache / f"wide-registers-{zlib.crc32(_ADAPTER.encode()):08x}.so"
    if kept.exists():
        return kept
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang", "tcc"))), None)
    if compiler is None:
        raise CannotRunHere(
            "this processor has AMX registers, which user-mode Linux 6.1 does not know; the adapter for it "
            "has to be compiled: apt-get install gcc"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as room:
        Path(room, "adapter.c").write_text(_ADAPTER)
        command = [compiler, "-O2", "-shared", "-fPIC", "-nostdlib", "-o", "adapter.so", "adapter.c"]
        _run(command, Path(room), "apt-get install gcc")
        _move_in(Path(room, "adapter.so"), kept)
    return kept


def _move_in(made: Path, kept: Path) -> None:
    try:
        os.rename(made, kept)
    except OSError:
        if not kept.exists():  # another test process was here first, and its copy is as good
            raise


def _run(command: list[str], folder: Path, instead: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=_FETCH_LIMIT_S)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CannotRunHere(f"{error}; {instead}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CannotRunHere(f"{' '.join(command)} failed ({said}); {instead}")
