"""The engines, held to their suite."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import Blocked
from holdfast.operations import engine_dbos
from holdfast.operations.engine import Engine, InlineEngine
from holdfast.operations.engine_dbos import ENGINE_FILE, DbosEngine
from holdfast.testing.engines import EngineContract, until
from holdfast.testing.ticking import Elsewhere, Queue


def inline(_folder: Path, _executor_id: str) -> Engine:
    return InlineEngine()


def dbos_on_sqlite(folder: Path, executor_id: str) -> Engine:
    return DbosEngine(f"sqlite:///{folder / ENGINE_FILE}", executor_id, executor_lives)


def executor_lives(executor_id: str) -> bool:
    pid = executor_id.rpartition("-")[2]
    return not pid.isdigit() or os.path.exists(f"/proc/{pid}")


class TestInlineEngine(EngineContract):
    factory = "tests.jobs.test_engines:inline"

    def make_engine(self, folder: Path, executor_id: str) -> Engine:
        return inline(folder, executor_id)


class TestDbosEngine(EngineContract):
    factory = "tests.jobs.test_engines:dbos_on_sqlite"

    def make_engine(self, folder: Path, executor_id: str) -> Engine:
        return dbos_on_sqlite(folder, executor_id)

    @pytest.fixture(autouse=True)
    def quick_to_stop(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(engine_dbos, "LISTEN_S", 0.05)

    def recorded(self, folder: Path, columns: str = "status, executor_id, serialization") -> list[tuple]:
        with contextlib.closing(sqlite3.connect(folder / ENGINE_FILE)) as db:
            return db.execute(f"SELECT {columns} FROM workflow_status ORDER BY created_at").fetchall()

    def test_what_runs_is_on_record_as_json_and_forgotten_afterwards(
        self, tmp_path: Path, engine: Engine, queue: Queue
    ):
        queue.add(seconds=0.5)
        engine.start()
        until(lambda: queue.items("begin") == [1])
        assert self.recorded(tmp_path) == [("PENDING", "here", "holdfast_json")]
        with contextlib.closing(sqlite3.connect(tmp_path / ENGINE_FILE)) as db:
            [(inputs,)] = db.execute("SELECT inputs FROM workflow_input").fetchall()
        assert json.loads(inputs)["args"] == ["tick", 1]
        until(queue.is_done)
        until(lambda: self.recorded(tmp_path) == [])

    def test_its_file_is_in_wal(self, tmp_path: Path, engine: Engine):
        engine.start()
        with contextlib.closing(sqlite3.connect(tmp_path / ENGINE_FILE)) as db:
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_the_workflow_of_a_dead_executor_is_taken_over(
        self, tmp_path: Path, engine: Engine, queue: Queue, elsewhere: Callable[[], Elsewhere]
    ):
        queue.add(seconds=60)
        victim = elsewhere()
        until(lambda: queue.items("begin") == [1])
        [(status, executor)] = self.recorded(tmp_path, "status, executor_id")
        assert (status, executor) == ("PENDING", victim.executor_id)
        with contextlib.closing(sqlite3.connect(queue.file)) as db, db:
            db.execute("UPDATE item SET seconds = 0")
        victim.kill()
        queue.at_once = 0  # nothing is claimed: only the engine's own record can bring it back
        engine.start()
        until(queue.is_done)
        assert [(entry.executor, entry.what) for entry in queue.diary()][1:] == [("here", "begin"), ("here", "end")]
        until(lambda: self.recorded(tmp_path) == [])

    def test_the_workflow_of_a_living_executor_is_left_alone(
        self, tmp_path: Path, engine: Engine, queue: Queue, elsewhere: Callable[[], Elsewhere]
    ):
        queue.add(seconds=60)
        other = elsewhere()
        until(lambda: queue.items("begin") == [1])
        engine.start()
        threading.Event().wait(1.5)
        assert self.recorded(tmp_path, "status, executor_id") == [("PENDING", other.executor_id)]
        assert queue.items("begin") == [1]

    def test_a_lost_record_loses_no_work(self, tmp_path: Path, queue: Queue, elsewhere: Callable[[], Elsewhere]):
        queue.add(3, seconds=60)
        victim = elsewhere()
        until(lambda: len(queue.items("begin")) == 2)
        victim.kill()
        with contextlib.closing(sqlite3.connect(queue.file)) as db, db:
            db.execute("UPDATE item SET seconds = 0")
        for file in tmp_path.glob(ENGINE_FILE + "*"):
            file.unlink()
        elsewhere()
        until(queue.is_done)

    def test_one_per_process(self, tmp_path: Path, engine: Engine):
        engine.start()
        second = self.make_engine(tmp_path, "second")
        with pytest.raises(Blocked):
            second.start()
        engine.stop()
        third = self.make_engine(tmp_path, "third")
        third.start()
        third.stop()

    def test_it_listens_nowhere_and_leaves_the_enterprise_alone(self, engine: Engine):
        engine.start()
        assert not listening_sockets(), "no admin server"
        assert not [name for name in sys.modules if name.startswith("dbos_enterprise")]


@pytest.mark.parametrize("arguments", [["--help"], ["ls", "--help"]])
def test_the_command_line_does_not_load_the_engine(arguments: list[str], tmp_path: Path):
    script = (
        "import sys\nfrom holdfast.cli.main import main\nsys.argv[0] = 'holdfast'\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'dbos' not in sys.modules, 'dbos was loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)


def test_putting_and_listing_do_not_load_the_engine(tmp_path: Path):
    (tmp_path / "holdfast.yml").write_text("pools: {one: {type: disk, files_dir: ./one}}\n")
    (tmp_path / "one").mkdir()
    script = (
        "import sys, holdfast\n"
        "from holdfast.jobs.jobs import Jobs\n"
        "with holdfast.open('holdfast.yml') as hold:\n"
        "    hold.put(b'x', name='x'); hold.datasets(); Jobs(hold).list()\n"
        "assert 'dbos' not in sys.modules, 'dbos was loaded'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def listening_sockets() -> list[str]:
    """The inodes of this process's TCP sockets that listen."""
    own = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            own.add(os.readlink(f"/proc/self/fd/{name}"))
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                    found.append(fields[9])
    return found
