"""The guards at the door of an ensemble, together: honest members named, damaged ones found.

Every member of the simulator's honest scenes enters as an external member with test predictions of other
rows, through `pipeline.guards`, as `import` and `stack --labels` do. A refusal or an alarm counts. There is
no peer: no stacker that we know looks. `suspicion.py` measures the checks one by one.

    python benchmarks/guards.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from simulated_oof import SCENES, Simulated, simulate
from suspicion import NOT_HONEST, constant, kind_of, memorised, shuffled

from arena_ensemble.errors import InputError
from arena_ensemble.pipeline.guards import check_members, check_tests
from arena_ensemble.predictions import Predictions, normalised

Array = Any
Damage = Callable[[Array, Array, np.random.Generator], Array]


def reordered(order: tuple[int, int, int]) -> Damage:
    return lambda probs, y, rng: probs[:, list(order)]


OOF_DAMAGE: dict[str, Damage] = {
    "A and B exchanged": reordered((1, 0, 2)),
    "tie column first": reordered((2, 0, 1)),
    "rows shuffled": shuffled,
    "one distribution for all rows": constant,
    "in-sample, memorised": memorised,
}
TEST_DAMAGE: dict[str, Damage] = {
    "test: A and B exchanged": reordered((1, 0, 2)),
    "test: tie column first": reordered((2, 0, 1)),
}


def members_of(scene: Simulated) -> dict[str, Array]:
    """The members that are what they say."""
    return {name: probs for name, probs in scene.members.items() if kind_of(name) not in NOT_HONEST}


def predictions(members: dict[str, Array]) -> dict[str, Predictions]:
    found = {}
    for name, probs in members.items():
        log_probs = normalised(np.log(np.maximum(probs, 1e-15)))
        found[name] = Predictions(pl.Series(np.arange(len(probs))), log_probs, np.full(len(probs), -1))
    return found


def named(members: dict[str, Array], tests: dict[str, Array], y: Array) -> set[str]:
    """Members that the guards name, by a refusal or an alarm."""
    oof, test = predictions(members), predictions(tests)
    try:
        found = set(check_members(oof, y, external=oof).alarms)
    except InputError as error:
        return {name for name in members if repr(name) in str(error) or f" {name}" in str(error)}
    try:
        check_tests(oof, test, external=list(oof))
    except InputError as error:
        found |= {name for name in members if repr(name) in str(error)}
    return found


def drawn(scene: str, rows: int, seed: int) -> tuple[Simulated, dict[str, Array], dict[str, Array]]:
    shown = simulate(scene, SCENES[scene], rows, seed)
    other = simulate(scene, SCENES[scene], max(rows // 2, 100), 10_000 + seed)
    return shown, members_of(shown), members_of(other)


def false_alarms(sizes: tuple[int, ...], draws: int) -> dict[str, int]:
    """Honest members that were held against the votes, and how many of them were named."""
    count = {"honest_members": 0, "named": 0}
    for rows in sizes:
        for scene in (name for name in SCENES if name != "leaky"):
            for seed in range(draws):
                shown, members, tests = drawn(scene, rows, seed)
                count["honest_members"] += len(members)
                count["named"] += len(named(members, tests, shown.y))
    return count


def detection(sizes: tuple[int, ...], draws: int) -> dict[str, dict[str, str]]:
    """Damage → rows → found of tried; each time one member of a scene is damaged and must be named."""
    table: dict[str, dict[str, str]] = {}
    for title, damage in {**OOF_DAMAGE, **TEST_DAMAGE}.items():
        for rows in sizes:
            hits = tried = 0
            for scene in ("one strong among weak", "badly calibrated", "strong and alike"):
                for seed in range(draws):
                    shown, members, tests = drawn(scene, rows, seed)
                    target = list(members)[seed % len(members)]
                    rng = np.random.default_rng(seed)
                    side = tests if title in TEST_DAMAGE else members
                    changed = {**side, target: damage(side[target], shown.y, rng)}
                    pair = (members, changed) if title in TEST_DAMAGE else (changed, tests)
                    hits += target in named(*pair, shown.y)
                    tried += 1
            table.setdefault(title, {})[str(rows)] = f"{hits}/{tried}"
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one size, two draws")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    sizes, draws = ((300,), 2) if options.quick else ((300, 732, 2874), 12)
    alarms = false_alarms(sizes, draws)
    print(f"honest members named: {alarms['named']} of {alarms['honest_members']}")
    table = detection(sizes, draws)
    print(f"{'found':32s}" + "".join(f"{rows:>9d}" for rows in sizes))
    for title, found in table.items():
        print(f"{title:32s}" + "".join(f"{found[str(rows)]:>9s}" for rows in sizes))
    if options.json:
        flat = {f"{title}, {rows}": share for title, row in table.items() for rows, share in row.items()}
        print(json.dumps({**alarms, **flat}))


if __name__ == "__main__":
    main()
