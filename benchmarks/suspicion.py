"""How often a leaked member is named, and how often an honest one is.

Honest members: every scene of the simulator without a leak, and the real out-of-fold files where they
are present. Leaked ones: a strong member that saw a share of the outcomes (0.9 on the true one), either
scattered over the rows or in one run of rows. There is no peer: no stacker that we know looks for this.

    python benchmarks/suspicion.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from simulated_oof import SCENES, simulate
from stacking import DATA, load

from arena_ensemble.diagnostics.label_leakage import leakage_suspicions

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)


def leaked(rows: int, seed: int, share: float, *, scattered: bool) -> tuple[dict[str, Any], Any]:
    scene = simulate("leak", ["strong", "weak", "strong"], rows, seed)
    members = dict(scene.members)
    rng = np.random.default_rng(seed)
    saw = rng.random(rows) < share if scattered else np.arange(rows) < share * rows
    probs = members.pop("strong2").copy()
    told = np.full((rows, 3), 0.05)
    told[np.arange(rows), scene.y] = 0.9
    probs[saw] = told[saw]
    return {**members, "leak": probs}, scene.y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one size, two draws")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    sizes, draws = ((1500,), 2) if options.quick else ((300, 732, 2874, 14_370), 10)
    honest = named = 0
    for rows in sizes:
        for scene, kinds in SCENES.items():
            for seed in range(0 if scene == "leaky" else draws):
                one = simulate(scene, kinds, rows, seed)
                honest += len(one.members)
                named += len(leakage_suspicions(one.members, one.y))
    report: dict[str, Any] = {"honest_members": honest, "honest_named": named}
    print(f"honest members named: {named} of {honest}")
    for path in sorted(DATA.glob("oof_*.csv")) if DATA.is_dir() else []:
        members, y = load(path, None)
        found = [one.member for one in leakage_suspicions(members, y)]
        report[f"named in {path.stem}"] = found
        print(f"{path.stem}: {len(members)} members, named: {found or 'none'}")
    for scattered in (True, False):
        kind = "scattered" if scattered else "one run of rows"
        for share in SHARES:
            hits = {}
            for rows in sizes:
                made = [leaked(rows, seed, share, scattered=scattered) for seed in range(draws)]
                hits[rows] = sum(
                    "leak" in [one.member for one in leakage_suspicions(members, y)] for members, y in made
                )
            report[f"{kind}, {share:.0%}"] = hits
            told = "  ".join(f"{rows} rows: {hit}/{draws}" for rows, hit in hits.items())
            print(f"leaked {share:4.0%} of rows, {kind:16s} {told}")
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
