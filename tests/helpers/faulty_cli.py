"""``arena-ensemble`` with the faulty backbone behind ``backbone = "lexical"``, workers included."""

import dataclasses
import signal
import sys

from arena_ensemble.__main__ import main
from arena_ensemble.backbones import HEADS

HEADS["lexical"] = dataclasses.replace(HEADS["lexical"], module="faulty_backbone")

if __name__ == "__main__":
    # A shell's background job (a CI runner's, say) hands down an ignored SIGINT: heed it again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
