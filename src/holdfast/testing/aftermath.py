"""What a crash leaves of a folder whose durable part is known: the decision and the rewriting.

`holdfast.testing.lossy` keeps the books (`Node`, `Step`) while effects happen; `Aftermath` then chooses, by a
generator of random numbers, which of the unsynced names and contents survived, and makes the real folder so.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251 - a seed chooses the crash, the same seed always the same one

_BLOCK_BYTES = 4096


@dataclass(eq=False, slots=True)
class Node:
    """A file, symlink or folder, whatever its names.

    A file's durable content is `stable` if it was written since its last sync (`dirty`), else what it has
    now. `last` is what it had when a name of it was taken away. A folder's `children` are its names as seen
    now, `durable` those that are sure to survive.
    """

    mode: int
    dirty: bool = False
    stable: bytes = b""
    last: bytes = b""
    children: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """An entry of a folder that changed and is not synced: `name` now means `node`, or nothing."""

    parent: Node
    name: str
    node: Node | None

    def settle(self) -> None:
        if self.node is None:
            self.parent.durable.pop(self.name, None)
        else:
            self.parent.durable[self.name] = self.node


class Aftermath:
    """What one crash leaves: decides it by the generator, then makes the folder so. Used once."""

    def __init__(self, root: str, top: Node, pending: list[list[Step]], chance: Random) -> None:
        self._root = root
        self._top = top
        self._pending = pending
        self._chance = chance
        self._contents: dict[Node, bytes] = {}
        self._made: dict[Node, str] = {}
        self._lost: list[str] = []

    def happen(self) -> list[str]:
        """Decide, read all that has to be kept, then rewrite."""
        for steps in self._survivors():
            for step in steps:
                step.settle()
        seen = dict(_files(self._top, self._root, durable=False))
        for node, _path in _files(self._top, self._root, durable=True):
            if node not in self._contents:
                now = content_of(seen[node]) if node in seen else node.last
                self._contents[node] = self._damaged(node, now, seen.get(node, "?")) if node.dirty else now
        self._clear(self._top, self._root)
        self._make(self._top, self._root)
        return self._lost

    def _survivors(self) -> list[list[Step]]:
        """Which of the unsynced effects on names happened."""
        style = self._chance.random()
        if style < 0.1:
            kept = 0
        elif style < 0.2:
            kept = len(self._pending)
        elif style < 0.6:
            kept = self._chance.randint(0, len(self._pending))
        else:
            share = self._chance.random()
            chosen = [steps for steps in self._pending if self._chance.random() < share]
            self._lost += [_words(steps) for steps in self._pending if steps not in chosen]
            return chosen
        self._lost += [_words(steps) for steps in self._pending[kept:]]
        return self._pending[:kept]

    def _damaged(self, node: Node, now: bytes, path: str) -> bytes:
        """Content that was not synced: some of it may have been written."""
        firm = len(node.stable)
        kind = self._chance.choice(("as synced", "whole", "cut short", "with holes"))
        if kind == "as synced":
            left = node.stable
        elif kind == "whole":
            left = now
        elif kind == "cut short":
            left = now[: self._chance.randint(min(firm, len(now)), len(now))]
        else:
            blocks = bytearray(now)
            for start in range(firm, len(now), _BLOCK_BYTES):
                if self._chance.random() < 0.5:
                    stop = min(start + _BLOCK_BYTES, len(now))
                    blocks[start:stop] = bytes(stop - start)
            left = bytes(blocks)
        if left != now:
            self._lost.append(f"content of {path}: {kind}, {len(left)} of {len(now)} bytes")
        return left

    def _clear(self, folder: Node, at: str) -> None:
        """Take away every name that is not to be, or not with this content. Strangers stay."""
        for name, child in folder.children.items():
            path = os.path.join(at, name)
            if folder.durable.get(name) is not child:
                if child.is_folder:
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
                child.children = {}
            elif child.is_folder:
                self._clear(child, path)
            elif child.dirty:
                os.unlink(path)
            else:
                self._made[child] = path

    def _make(self, folder: Node, at: str) -> None:
        for name, child in folder.durable.items():
            path = os.path.join(at, name)
            if child.is_folder:
                if not os.path.isdir(path):
                    os.mkdir(path)
                    os.chmod(path, stat.S_IMODE(child.mode))
                self._make(child, path)
            elif os.path.lexists(path):
                continue
            elif child in self._made:
                os.link(self._made[child], path, follow_symlinks=False)
            else:
                self._made[child] = path
                _write(path, self._contents[child], child.mode)


def _files(folder: Node, at: str, *, durable: bool) -> Iterator[tuple[Node, str]]:
    for name, child in (folder.durable if durable else folder.children).items():
        path = os.path.join(at, name)
        if child.is_folder:
            yield from _files(child, path, durable=durable)
        else:
            yield child, path


def content_of(path: str) -> bytes:
    """A file's bytes, or what a symlink says."""
    if os.path.islink(path):
        return os.fsencode(os.readlink(path))
    return Path(path).read_bytes()


def _write(path: str, content: bytes, mode: int) -> None:
    if stat.S_ISLNK(mode):
        os.symlink(os.fsdecode(content), path)
        return
    Path(path).write_bytes(content)
    os.chmod(path, stat.S_IMODE(mode))


def _words(steps: list[Step]) -> str:
    return "names: " + ", ".join(f"{'-' if step.node is None else '+'}{step.name}" for step in steps)
