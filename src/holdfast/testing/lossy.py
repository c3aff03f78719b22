"""`Files` that forget what was not synced: a power cut without a machine, replayed by a seed.

`LossyFiles(root)` does every effect for real under `root` and remembers what is durable: contents since their
last `sync`, names since the last `sync_folder` of their folder, everything at `sync_all`. `crash(seed)` then
rewrites the folder to one of the states that a file system may be in after a power cut:

- a name made, moved or removed since its folder's last sync is there or not; a rename is one step, and half
  of the seeds keep the steps in order, as a journal does;
- content that was not synced is empty, cut short, whole, or has blocks of zeros.

It is stricter than ext4: a synced file needs a synced folder, and a new folder a synced parent. What reached
`root` by other ways (a database's files, what lay there before) counts as durable.

After `crash` every effect raises `Killed`; what comes up again makes a `LossyFiles` of its own. Contents that
have to be remembered are held in memory. Safe from many threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random  # noqa: TID251 - a seed chooses the crash, the same seed always the same one

from holdfast.seams import Files, SystemFiles
from holdfast.testing.aftermath import Aftermath, Node, Step, content_of
from holdfast.testing.failing import Killed


class LossyFiles:
    """See the module. `root` must exist; what lies in it is taken as durable."""

    def __init__(self, root: Path, inner: Files | None = None) -> None:
        self._root = os.path.realpath(root)
        self._inner = inner or SystemFiles()
        self._lock = threading.RLock()
        self._top = Node(os.stat(self._root).st_mode)
        self._numbers: dict[tuple[int, int], Node] = {}  # by device and inode
        self._open: dict[int, Node] = {}  # by file descriptor
        self._pending: list[list[Step]] = []  # one list per effect, oldest first
        self._is_off = False

    def create(self, path: str, mode: int) -> int:
        """See `Files.create`."""
        with self._on():
            fd = self._inner.create(path, mode)
            node = self._numbered(Node(os.fstat(fd).st_mode, dirty=True), os.fstat(fd))
            self._open[fd] = node
            self._changed((path, node))
            return fd

    def write(self, fd: int, block: bytes | bytearray | memoryview) -> int:
        """See `Files.write`."""
        with self._on():
            node = self._node_of(fd)
            if node is not None and not node.dirty:
                node.stable = Path(f"/proc/self/fd/{fd}").read_bytes()
                node.dirty = True
            return self._inner.write(fd, block)

    def sync(self, fd: int) -> None:
        """See `Files.sync`."""
        with self._on():
            self._inner.sync(fd)
            node = self._node_of(fd)
            if node is not None:
                node.dirty = False
                self._settle_names(node)

    def sync_all(self, fd: int) -> None:
        """See `Files.sync_all`."""
        with self._on():
            self._inner.sync_all(fd)
            for steps in self._pending:
                for step in steps:
                    step.settle()
            self._pending.clear()
            for node in self._numbers.values():
                node.dirty = False

    def sync_folder(self, path: str) -> None:
        """See `Files.sync_folder`."""
        with self._on():
            self._inner.sync_folder(path)
            folder = self._find(path)
            if folder is not None:
                self._settle_names(folder)

    def start_writing_back(self, fd: int, offset: int, size_bytes: int) -> None:
        """See `Files.start_writing_back`."""
        with self._on():
            self._inner.start_writing_back(fd, offset, size_bytes)

    def close(self, fd: int) -> None:
        """See `Files.close`."""
        with self._on():
            self._inner.close(fd)
            self._open.pop(fd, None)

    def link(self, source: str, target: str) -> None:
        """See `Files.link`."""
        with self._on():
            self._inner.link(source, target)
            self._changed((target, self._find(source) or self._stranger(target)))

    def replace(self, source: str, target: str) -> None:
        """See `Files.replace`."""
        self._rename(source, target, self._inner.replace)

    def rename_new(self, source: str, target: str) -> None:
        """See `Files.rename_new`."""
        self._rename(source, target, self._inner.rename_new)

    def unlink(self, path: str) -> None:
        """See `Files.unlink`."""
        with self._on():
            with self._losing(path):
                self._inner.unlink(path)
            self._changed((path, None))

    def make_folder(self, path: str, mode: int) -> None:
        """See `Files.make_folder`."""
        with self._on():
            self._inner.make_folder(path, mode)
            made = os.stat(path)
            self._changed((path, self._numbered(Node(made.st_mode), made)))

    def remove_folder(self, path: str) -> None:
        """See `Files.remove_folder`."""
        with self._on():
            self._find(path)
            self._inner.remove_folder(path)
            self._changed((path, None))

    def crash(self, seed: int) -> list[str]:
        """Cut the power. Returns what was lost, in words, for whoever reads a failed test."""
        with self._on():
            self._is_off = True
            for fd in self._open:
                with contextlib.suppress(OSError):
                    os.close(fd)
            chance = Random(seed)  # noqa: S311 - to be replayed, not to be secret
            return Aftermath(self._root, self._top, self._pending, chance).happen()

    @contextlib.contextmanager
    def _on(self) -> Iterator[None]:
        with self._lock:
            if self._is_off:
                raise Killed("the power is off; what comes up again needs a LossyFiles of its own")
            yield

    def _rename(self, source: str, target: str, rename: Callable[[str, str], None]) -> None:
        with self._on():
            node = self._find(source)
            if node is not None and node.is_folder:
                self._learn(node, source)
            with self._losing(target):
                rename(source, target)
            if os.path.lexists(source):
                return  # two names of one file: the system leaves both
            self._changed((source, None), (target, node or self._stranger(target)))

    def _changed(self, *entries: tuple[str, Node | None]) -> None:
        """Note one effect: what each path now means. Paths outside `root` are nobody's business here."""
        steps = []
        for path, node in entries:
            place = self._place(path)
            if place is None:
                continue
            parent, name = place
            if node is None:
                parent.children.pop(name, None)
            else:
                parent.children[name] = node
            steps.append(Step(parent, name, node))
        if steps:
            self._pending.append(steps)

    def _settle_names(self, folder: Node) -> None:
        """All changes of this folder's names survive; what left for another folder has arrived there."""
        for index, steps in enumerate(self._pending):
            mine = [step for step in steps if step.parent is folder]
            settled = steps if any(step.node is None for step in mine) else mine
            for step in settled:
                for earlier in self._pending[:index]:
                    earlier[:] = [old for old in earlier if (old.parent, old.name) != (step.parent, step.name)]
                step.settle()
            steps[:] = [step for step in steps if step not in settled]
        self._pending = [steps for steps in self._pending if steps]

    def _place(self, path: str) -> tuple[Node, str] | None:
        folder, name = os.path.split(os.path.abspath(path))
        parent = self._find(folder)
        return None if parent is None else (parent, name)

    def _find(self, path: str) -> Node | None:
        """The node at this path; None outside `root`, or where nothing is. What is new to us is durable."""
        inside = os.path.relpath(os.path.realpath(os.path.dirname(path)), self._root)
        inside = os.path.normpath(os.path.join(inside, os.path.basename(path)))
        if inside == "." or os.path.realpath(path) == self._root:
            return self._top
        if inside.startswith(".."):
            return None
        node, at = self._top, self._root
        for name in inside.split(os.sep):
            at = os.path.join(at, name)
            try:
                seen = os.lstat(at)
            except OSError:
                return None
            child = self._numbers.get((seen.st_dev, seen.st_ino))
            if child is None or node.children.get(name) is not child:
                child = child or self._numbered(Node(seen.st_mode), seen)
                node.children[name] = node.durable[name] = child
            node = child
        return node

    def _stranger(self, path: str) -> Node | None:
        """A node for what came to `path` from outside `root`; its content is taken as durable."""
        if self._place(path) is None:
            return None
        seen = os.lstat(path)
        return self._numbered(Node(seen.st_mode), seen)

    def _numbered(self, node: Node, seen: os.stat_result) -> Node:
        self._numbers[seen.st_dev, seen.st_ino] = node
        return node

    def _node_of(self, fd: int) -> Node | None:
        seen = os.fstat(fd)
        return self._open.get(fd) or self._numbers.get((seen.st_dev, seen.st_ino))

    def _learn(self, folder: Node, path: str) -> None:
        """Get to know everything in a folder that is about to move: a crash may move it back."""
        for name in os.listdir(path):
            child = self._find(os.path.join(path, name))
            if child is not None and child.is_folder:
                self._learn(child, os.path.join(path, name))

    @contextlib.contextmanager
    def _losing(self, path: str) -> Iterator[None]:
        """Keep the content of what loses this name in the block: a crash may give it back."""
        node = self._find(path)
        if node is None or node.is_folder:
            yield
            return
        node.last = content_of(path)
        seen = os.lstat(path)
        yield
        if seen.st_nlink == 1:  # the system may give its number to another file now
            self._numbers.pop((seen.st_dev, seen.st_ino), None)
