"""The entry point. It imports next to nothing, so that Ctrl-C is answered while the rest is being loaded, and
takes care that descriptors 0, 1 and 2 are open: what is opened next must not become standard output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Prints errors; raises nothing but SystemExit."""
    try:
        _open_what_is_closed()
        from holdfast.cli.ending import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        sys.stderr.write("holdfast: interrupted\n")
        return EXIT_INTERRUPTED


def _open_what_is_closed() -> None:
    """A stream that the caller closed (`>&-`) leads nowhere. It gets the lowest free descriptor: its own."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


if __name__ == "__main__":
    sys.exit(main())
