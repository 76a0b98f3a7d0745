"""``arena-ensemble`` with the faulty backbone behind ``backbone = "lexical"``, workers included."""

import sys

from arena_ensemble import backbones
from arena_ensemble.__main__ import main

backbones.MODULES["lexical"] = "faulty_backbone"  # type: ignore[index]

if __name__ == "__main__":
    sys.exit(main())
