"""A worker over a document, until SIGTERM or until its starter is gone: `python -m tests.jobs.work DOCUMENT ENGINE`."""

from __future__ import annotations

import os
import signal
import sys
import threading

import holdfast
from holdfast.jobs.worker import Worker, engine_of
from holdfast.operations.engine import InlineEngine


def main(document: str, engine: str) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with holdfast.open(document) as hold:
        worker = Worker(hold, InlineEngine() if engine == "inline" else engine_of(hold))
        worker.start()
        os.write(1, b"ready\n")
        threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
        ended.wait()
        worker.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
