"""Writes what can be made from the code: the pages of docs/reference/, and the output below each example.

Usage:
    python docs/generate.py                writes the reference pages (`make docs`)
    python docs/generate.py --examples     also runs the examples of all pages and pastes their output

Tests compare the pages with what this would write, and run the same examples. Examples whose output differs
only in times, identifiers and free space are left as they are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Write the pages; 0."""
    sys.path.insert(0, str(ROOT))
    from docs.making import examples, reference

    parser = argparse.ArgumentParser(description="Writes what can be made from the code.")
    parser.add_argument("--examples", action="store_true", help="run the examples and paste their output")
    parser.add_argument("pages", nargs="*", type=Path, help="with --examples: only these pages")
    options = parser.parse_args(arguments)
    for name, text in reference.pages().items():
        _write(ROOT / "docs" / "reference" / name, text)
    if options.examples:
        for path in [page.resolve() for page in options.pages] or examples.pages_with_examples(ROOT):
            _write(path, examples.pasted(path))
    return 0


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
