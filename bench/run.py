"""Runs the benchmarks, prints a table and writes `bench/latest.json`.

    python -m bench.run [storage scale http jobs commands ...] [--folder DIR]

The folder must lie on a real disk (not in memory): syncs are part of what is measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

from bench.measuring import Row

HERE = Path(__file__).parent
PARTS = ("storage", "scale", "http", "jobs", "commands", "objects", "moves")


def main() -> int:
    """Exit code 0 if every target was met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=[])
    parser.add_argument("--folder", type=Path, default=HERE)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for part in arguments.parts or PARTS:
        place = Path(tempfile.mkdtemp(prefix=".bench-", dir=arguments.folder))
        try:
            for row in importlib.import_module(f"bench.{part}").main(place):
                print(_line(row), flush=True)
                rows.append(row)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    if not arguments.parts:
        (HERE / "latest.json").write_text(json.dumps([row.to_json() for row in rows], indent=1) + "\n")
    missed = [row.name for row in rows if not row.met]
    print(f"{len(rows) - len(missed)} of {len(rows)} targets met", *(f"missed: {name}" for name in missed), sep="\n")
    return 1 if missed else 0


def _line(row: Row) -> str:
    mark = "ok  " if row.met else "MISS"
    return f"{mark} {row.name:<52} {row.ours:>12.6g} {row.peer:>12.6g} {row.unit:<4} {row.ratio:>8.2f}  {row.target}"


if __name__ == "__main__":
    sys.exit(main())
