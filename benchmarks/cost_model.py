"""What a run costs, hours and dollars: the Kaggle task on one card and on eight, 10^8 pairs on spot nodes.

    python benchmarks/cost_model.py [--sections kaggle,pairs,sensitivity,chunks,cascade] [--quick] [--json]

Nothing is run but planning and simulation: seconds and bytes are the planner's (`planning.estimate`,
`planning.session`), with the share of the card's peak that one H100 reached (docs/performance.md); fleets are
simulated (`planning.simulation`, checked against real runs by cost_check.py); prices are those of
`planning.prices`. The cascade's loss is measured on real votes and predictions (`--data`), where they are.
Every assumption is printed with the section that needs it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from cost_cascade import cascade_loss
from cost_fleet import CARDS
from cost_kaggle import kaggle
from cost_pairs import chunks, pairs, sensitivity

from arena_ensemble.planning.prices import ON_DEMAND, Price

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sections", default="kaggle,pairs,sensitivity,chunks,cascade")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of oof/ and judges/")
    parser.add_argument(
        "--price", help="CARD=DOLLARS,… a card and hour, in place of the prices that are assumed"
    )
    parser.add_argument("--quick", action="store_true", help="neither sensitivity nor cascade; fewer chunks")
    parser.add_argument("--json", action="store_true", help="a last line with every figure")
    given = parser.parse_args()
    for one in given.price.split(",") if given.price else []:
        card, dollars = one.split("=")
        CARDS[card] = replace(CARDS[card], price=CARDS[card].cards * float(dollars))
        ON_DEMAND[card] = Price(float(dollars), card, "--price")
    begun = time.perf_counter()
    wanted = given.sections.split(",")
    out: dict[str, Any] = {}
    if "kaggle" in wanted:
        out["kaggle"] = kaggle()
    if "pairs" in wanted:
        out["pairs"] = pairs()
    if "sensitivity" in wanted and not given.quick:
        out["sensitivity"] = sensitivity()
    if "chunks" in wanted:
        out["chunks"] = chunks(given.quick)
    if "cascade" in wanted and not given.quick:
        out["cascade"] = cascade_loss(given.data)
    out["seconds"] = round(time.perf_counter() - begun, 1)
    if given.json:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
