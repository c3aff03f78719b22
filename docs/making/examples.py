"""The examples in the pages: found, run as a reader would, and compared with what the page shows.

A fence whose info line says `test` is an example. One page is one session in one empty folder, which the page
calls `/srv/lab`; its examples run from top to bottom.

    ```console test            lines after `$ ` are run by bash (`> ` goes on); the rest is what they print
    ```console test exit=4     the last command ends with that code
    ```python test             run by Python as a script
    ```xml test file=NAME      written to NAME

What differs from run to run (times, uuids, secrets, free space) is not compared, nor is white space. Port
8080 in a page is a free port when it is run. Where an example names port 9091 an empty S3-compatible server
(moto, as tools/setup_test_servers.sh installs it) answers there. Everything that a page starts is ended with it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Self

HOME = "/srv/lab"
PORT = "8080"
STORE_PORT = "9091"
STORES = Path(__file__).resolve().parents[2] / ".servers"
_END = "holdfast-example-ended"
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>\w+ test\b[^\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_VARIABLE = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?Z?"), "TIME"),
    (re.compile(r"\b(just now|an? \w+ ago|\d+ (second|minute)s? ago)"), "AGO"),
    (re.compile(r"\b\d+(\.\d+)?%"), "N%"),
    (re.compile(r"\bin \d+(\.\d+)? s\b"), "in N s"),
    (re.compile(r"\b\d+(\.\d+)? (GiB|TiB)"), "SIZE"),
    (re.compile(r'"(capacity|free)_bytes": \d+'), "BYTES"),
    (re.compile(r'"(percent_full|rate_bytes_s|eta_s)": [\d.]+'), "NUMBER"),
    (re.compile(r"\b\d+(\.\d+)? (KiB|MiB|B)/s"), "RATE"),
    (re.compile(r"\bhf_[0-9A-Za-z_…-]+"), "TOKEN"),
    (re.compile(r"/sign-in/[0-9A-Za-z_…-]+"), "/sign-in/LINK"),
    (re.compile(r"^(\[\d+\] )\d+$", re.MULTILINE), r"\1PID"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r" ?\n\s*"), "\n"),
)


@dataclass(frozen=True, slots=True)
class Example:
    """One fence. `line` is that of its first line in the page."""

    language: str
    options: dict[str, str]
    body: str
    line: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a console example, and what the page says that it prints."""

    command: str
    shown: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one example: its body with the output of now, and what is wrong with it."""

    example: Example
    body: str
    wrong: tuple[str, ...]


def pages_with_examples(root: Path) -> list[Path]:
    """README and the pages of docs/ that have examples."""
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    return [page for page in pages if page.exists() and examples_of(page.read_text(encoding="utf-8"))]


def examples_of(text: str) -> list[Example]:
    """The examples of a page, in their order."""
    found = []
    for match in _FENCE.finditer(text):
        language, _, *words = match["info"].split()
        options = dict(word.partition("=")[::2] for word in words)
        indent = match["indent"]
        body = "".join(line.removeprefix(indent) for line in match["body"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start()) + 1
        found.append(Example(language, options, body, line, match.start("body"), match.end("body")))
    return found


def pasted(path: Path) -> str:
    """The page's text with the output of a run of now below its commands, where it differs in earnest."""
    text = path.read_text(encoding="utf-8")
    pieces: list[str] = []
    at = 0
    for outcome in run(text):
        if outcome.wrong:
            sys.stdout.write("".join(f"{path.name}:{outcome.example.line}: {wrong}\n" for wrong in outcome.wrong))
        pieces += [text[at : outcome.example.start], outcome.body]
        at = outcome.example.stop
    return "".join([*pieces, text[at:]])


def run(text: str) -> Iterator[Outcome]:
    """Run the examples of a page in a folder of their own; each one's outcome."""
    with TemporaryDirectory(prefix="lab-") as folder, _store(text) as ports, Session(Path(folder), ports) as session:
        for example in examples_of(text):
            yield session.run(example)


def needs_store(text: str) -> bool:
    """Whether an example of the page talks to an object store."""
    return any(STORE_PORT in example.body for example in examples_of(text))


@contextmanager
def _store(text: str) -> Iterator[dict[str, str]]:
    """An object store, if the page needs one: the port in the page -> the real one."""
    if not needs_store(text):
        yield {}
        return
    from holdfast.testing.object_servers import running

    with running("moto", STORES) as server:
        yield {STORE_PORT: server.endpoint_url.rpartition(":")[2]}


class Session:
    """A shell in an empty folder, as one reader of one page has it."""

    def __init__(self, folder: Path, ports: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._ports = {PORT: _free_port(), **ports}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        binaries = os.fspath(Path(sys.executable).parent)
        environment |= {
            "PATH": f"{binaries}:{environment.get('PATH', os.defpath)}", "HOME": os.fspath(self._folder),
            "LC_ALL": "C.UTF-8", "TERM": "dumb", "COLUMNS": "100", "PYTHONWARNINGS": "error",
        }  # fmt: skip
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"], cwd=self._folder, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1, start_new_session=True,
        )  # fmt: skip

    def run(self, example: Example) -> Outcome:
        """Do what one example says."""
        if "file" in example.options:
            target = self._folder / example.options["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self._real(example.body), encoding="utf-8")
            return Outcome(example, example.body, ())
        if example.language == "python":
            target = self._folder / ".example.py"
            target.write_text(self._real(example.body), encoding="utf-8")
            output, code = self._do("python .example.py; code=$?; rm .example.py; (exit $code)")
            return Outcome(example, example.body, () if code == 0 else (f"exit code {code}: {output}",))
        if example.language != "console":
            return Outcome(example, example.body, (f"nobody knows how to run {example.language}",))
        return self._run_console(example)

    def _run_console(self, example: Example) -> Outcome:
        wanted = int(example.options.get("exit", "0"))
        lines: list[str] = []
        wrong: list[str] = []
        steps = list(steps_of(example.body))
        for at, step in enumerate(steps):
            output, code = self._do(self._real(step.command))
            expected = wanted if at == len(steps) - 1 else 0
            if code != expected:
                wrong.append(f"`{step.command}` ended with {code}, not {expected}: {output}")
            shown = step.shown
            if not alike(step.shown, output):
                wrong.append(f"`{step.command}` printed:\n{output}\nbut the page shows:\n{step.shown}")
                shown = output
            lines += [f"$ {step.command}\n".replace("\n", "\n> ").removesuffix("> "), shown]
        return Outcome(example, "".join(lines), tuple(wrong))

    def _do(self, command: str) -> tuple[str, int]:
        """(output, exit code) of one command."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{command}\nexample_code=$?; echo; echo {_END} $example_code\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line.startswith(_END):
                return self._shown("".join(lines).removesuffix("\n")), int(line.split()[1])
            lines.append(line)
        raise AssertionError(f"the shell ended in: {command}\n{''.join(lines)}")

    def _real(self, text: str) -> str:
        for port, real in self._ports.items():
            text = text.replace(port, real)
        return text.replace(HOME, os.fspath(self._folder))

    def _shown(self, text: str) -> str:
        text = text.replace(os.fspath(self._folder), HOME)
        for port, real in self._ports.items():
            text = text.replace(real, port)
        return text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._shell.pid, number)  # a group of its own: it began a session
            except ProcessLookupError:
                break
            try:
                self._shell.wait(10)
            except subprocess.TimeoutExpired:
                continue
        self._shell.wait()
        self._shell.stdin.close()
        self._shell.stdout.close()


def steps_of(body: str) -> Iterator[Step]:
    """The commands of a console example with what the page shows below each."""
    command: list[str] = []
    shown: list[str] = []
    for line in body.splitlines(keepends=True):
        if line.startswith("$ "):
            if command:
                yield Step("".join(command).removesuffix("\n"), "".join(shown))
            command, shown = [line.removeprefix("$ ")], []
        elif line.startswith("> ") and not shown:
            command.append(line.removeprefix("> "))
        else:
            shown.append(line)
    if command:
        yield Step("".join(command).removesuffix("\n"), "".join(shown))


def alike(shown: str, printed: str) -> bool:
    """Whether two outputs say the same, apart from what differs from run to run."""
    return _plain(shown) == _plain(printed)


def _plain(text: str) -> str:
    for pattern, word in _VARIABLE:
        text = pattern.sub(word, text)
    return text.strip()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
