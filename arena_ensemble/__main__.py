"""``python -m arena_ensemble`` and the console script ``arena-ensemble``."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line with the process's own arguments; returns the exit code."""
    from .cli import run

    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: there is nobody to tell, but nothing may fail for it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # until exit
        elif hasattr(stream, "reconfigure"):  # a locale that cannot write ± or 指 must not end a run
            stream.reconfigure(errors="backslashreplace")
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
