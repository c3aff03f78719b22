"""Builds CHANGELOG.md from the fragments of changes/ (changes/README.md says how to write one).

Usage:
    python tools/changelog.py --check              every fragment has a known kind and says something
    python tools/changelog.py --draft              prints what the next release's section would be
    python tools/changelog.py --release 1.2.0      puts it into CHANGELOG.md and removes the fragments
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRAGMENTS = ROOT / "changes"
CHANGELOG = ROOT / "CHANGELOG.md"
MARKER = "<!-- releases: newest first; tools/changelog.py writes below this line -->"

KINDS = {  # in the order of the page
    "security": "Security",
    "breaking": "Changed in a way that asks something of you",
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "performance": "Faster or smaller",
}
NAME = re.compile(r"^(?P<topic>[a-z0-9][a-z0-9-]*)\.(?P<kind>[a-z]+)\.md$")
LONGEST_CHARACTERS = 1_200


@dataclass(frozen=True)
class Fragment:
    """One change, told to whoever uses Holdfast."""

    path: Path
    kind: str
    text: str


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Builds CHANGELOG.md from the fragments of changes/.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="look at the fragments, change nothing")
    action.add_argument("--draft", action="store_true", help="print the next section, change nothing")
    action.add_argument("--release", metavar="VERSION", help="write the section and remove the fragments")
    options = parser.parse_args(arguments)

    fragments, problems = read_fragments()
    if MARKER not in CHANGELOG.read_text(encoding="utf-8"):
        problems.append(f"CHANGELOG.md has lost its line {MARKER}")
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    if options.draft:
        print(section("next", fragments))
    if options.release is not None:
        return release(options.release, fragments)
    return 0


def read_fragments() -> tuple[list[Fragment], list[str]]:
    """All fragments, by file name, and what is wrong with any of them."""
    fragments, problems = [], []
    for path in sorted(FRAGMENTS.iterdir()):
        if path.name == "README.md":
            continue
        where = path.relative_to(ROOT)
        match = NAME.match(path.name)
        if not match or match["kind"] not in KINDS:
            problems.append(f"{where}: name it TOPIC.KIND.md; kinds are {', '.join(KINDS)}")
            continue
        text = path.read_text(encoding="utf-8").strip()
        if not text or text.startswith(("#", "-", "*")) or len(text) > LONGEST_CHARACTERS:
            problems.append(
                f"{where}: write one paragraph, no heading or list, under {LONGEST_CHARACTERS} characters"
            )
            continue
        fragments.append(Fragment(path=path, kind=match["kind"], text=text))
    return fragments, problems


def section(title: str, fragments: list[Fragment]) -> str:
    """The Markdown of one release."""
    lines = [f"## {title}"]
    for kind, heading in KINDS.items():
        texts = [fragment.text for fragment in fragments if fragment.kind == kind]
        if texts:
            lines += ["", f"### {heading}", ""]
            lines += ["- " + text.replace("\n", "\n  ") for text in texts]
    return "\n".join(lines)


def release(version: str, fragments: list[Fragment]) -> int:
    if not re.match(r"^\d+\.\d+\.\d+((a|b|rc)\d+)?$", version):
        print("say which release: make changelog VERSION=1.2.0", file=sys.stderr)
        return 2
    if not fragments:
        print("changes/ has no fragments: nothing to release", file=sys.stderr)
        return 1
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    text = CHANGELOG.read_text(encoding="utf-8")
    CHANGELOG.write_text(
        text.replace(MARKER, f"{MARKER}\n\n{section(f'{version} ({today})', fragments)}", 1), encoding="utf-8"
    )
    for fragment in fragments:
        fragment.path.unlink()
    print(f"CHANGELOG.md has {version}, with {len(fragments)} changes; read it, then commit it with changes/")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
