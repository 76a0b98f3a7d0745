"""``python -m arena_ensemble`` and the console script ``arena-ensemble``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line with the process's own arguments; returns the exit code."""
    from .cli import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
