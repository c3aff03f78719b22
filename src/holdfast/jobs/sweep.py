"""Sweeping: what is taken away of jobs that are over, each after its time.

Work folders go by the catalog, which knows them. Logs go by what lies in the state directory, so that those of a
job that nobody knows any more go too. A job's row stays: what was run, when, and how it ended.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from holdfast.catalog.jobs import Job, JobLedger
from holdfast.errors import NotFound
from holdfast.jobs.folders import LOGS, remove_work_folder


def expired_folders(ledger: JobLedger, now_us: int, keep_failed_s: int) -> Iterator[Job]:
    """Jobs that are over and whose folders nobody needs: of failed ones, after their time."""
    after = 0
    while page := ledger.with_folder(now_us, after=after):
        after = page[-1].id
        for job in page:
            expires_us = (job.finished_us or 0) + keep_failed_s * 1_000_000
            if job.folder is not None and not (job.state in ("failed", "lost") and expires_us > now_us):
                yield job


def sweep_folders(ledger: JobLedger, now_us: int, keep_failed_s: int) -> int:
    """Take those folders away; how many."""
    removed = 0
    for job in expired_folders(ledger, now_us, keep_failed_s):
        if remove_work_folder(Path(job.folder or "")):
            ledger.forget_folder(job.id)
            removed += 1
    return removed


def expired_logs(state_dir: Path, ledger: JobLedger, before_us: int) -> Iterator[Path]:
    """Folders with the logs of jobs that ended before that time, or that nobody knows and nobody has touched since."""
    for group in _folders(state_dir / LOGS):
        for folder in _folders(group):
            if not folder.name.isdigit():
                continue
            try:
                job = ledger.find(int(folder.name))
                if job.finished_us is not None and job.finished_us < before_us:
                    yield folder
            except NotFound:
                if folder.stat().st_mtime_ns // 1000 < before_us:
                    yield folder


def sweep_logs(state_dir: Path, ledger: JobLedger, before_us: int) -> int:
    """Take those away; how many."""
    removed = 0
    for folder in expired_logs(state_dir, ledger, before_us):
        shutil.rmtree(folder, ignore_errors=True)
        removed += not folder.exists()
    return removed


def _folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
