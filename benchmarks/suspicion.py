"""How often a damaged or leaked member is named, and how often an honest one is.

Honest members: every scene of the simulator without a leak, with test predictions of other rows, and the
real out-of-fold files where they are present. Damaged ones: columns exchanged, rows shuffled, one
distribution for every row. Leaked ones: a strong member that saw a share of the outcomes (0.9 on the true
one), scattered over the rows or in one run of rows, and two in-sample files. There is no peer: no stacker
that we know looks for this.

    python benchmarks/suspicion.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from simulated_oof import SCENES, Simulated, simulate
from stacking import DATA, load

from arena_ensemble.diagnostics.alignment import (
    best_column_order,
    best_test_column_order,
    exchanged_against,
    is_constant,
    row_order_check,
    suspicious_perfection,
)
from arena_ensemble.diagnostics.label_leakage import leakage_suspicions
from arena_ensemble.predictions import delta_tau, normalised

Array = Any
SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
NOT_HONEST = ("noise", "swapped")
"""Members of honest scenes that know nothing or are exchanged by design: named by right, counted apart."""


def kind_of(name: str) -> str:
    """The simulator's word for a member: its name without the place."""
    return name.rstrip("0123456789")


def others_delta(scene: Simulated, name: str) -> Array:
    """(n, M - 1) ln p_A - ln p_B of the other members."""
    deltas = [delta_tau(np.log(probs))[0] for other, probs in scene.members.items() if other != name]
    return np.stack(deltas, axis=1)


def checks_of(scene: Simulated, test: Simulated, name: str) -> dict[str, bool]:
    """Every check of one member but the leak's: whether it names it."""
    log_probs, test_log_probs = np.log(scene.members[name]), np.log(test.members[name])
    odd, test_odd = others_delta(scene, name), others_delta(test, name)
    return {
        "column order, OOF": best_column_order(log_probs, scene.y) is not None,
        "column order, test": best_test_column_order(log_probs, test_log_probs) is not None,
        "exchanged against other members": exchanged_against(log_probs, test_log_probs, odd, test_odd),
        "row order": row_order_check(log_probs, scene.y) is not None,
        "constant": is_constant(log_probs),
        "perfection": suspicious_perfection(log_probs, scene.y) is not None,
    }


def false_alarms(sizes: tuple[int, ...], draws: int) -> dict[str, Any]:
    """How many honest members each check names."""
    counts: Counter[str] = Counter()
    honest = 0
    for rows in sizes:
        for scene, kinds in SCENES.items():
            for seed in range(0 if scene == "leaky" else draws):
                one = simulate(scene, kinds, rows, seed)
                test = simulate(scene, kinds, rows // 2, seed + 10_000)
                counts["looks leaked"] += len(leakage_suspicions(one.members, one.y))
                for name in one.members:
                    if kind_of(name) in NOT_HONEST:
                        continue
                    honest += 1
                    counts.update({check: int(found) for check, found in checks_of(one, test, name).items()})
    return {"honest_members": honest, "named": dict(counts)}


def beside_noise(rows: int, seed: int) -> bool:
    """Whether a strong member looks leaked beside one that knows nothing."""
    one = simulate("two", ["strong", "noise"], rows, seed)
    return bool(leakage_suspicions(one.members, one.y))


def shuffled(probs: Array, y: Array, rng: np.random.Generator) -> Array:
    """The same rows in another order."""
    return probs[rng.permutation(len(probs))]


def constant(probs: Array, y: Array, rng: np.random.Generator) -> Array:
    """The member's mean for every row."""
    return np.tile(probs.mean(axis=0), (len(probs), 1))


def memorised(probs: Array, y: Array, rng: np.random.Generator) -> Array:
    """0.98 on every true outcome: every row trained on, for long."""
    return np.full((len(y), 3), 0.01) + 0.97 * np.eye(3)[y]


def overfitted(probs: Array, y: Array, rng: np.random.Generator) -> Array:
    """The honest logits and two nats, more or less, on the true outcome: every row trained on, briefly."""
    seen = np.eye(3)[y] * (2.0 + rng.normal(size=(len(y), 1)))
    return np.exp(normalised(np.log(probs) + seen))


def leaked(rows: int, seed: int, share: float, *, scattered: bool) -> tuple[dict[str, Any], Any]:
    """Members of which one, ``leak``, saw a share of the outcomes; and the outcomes."""
    scene = simulate("leak", ["strong", "weak", "strong"], rows, seed)
    members = dict(scene.members)
    rng = np.random.default_rng(seed)
    saw = rng.random(rows) < share if scattered else np.arange(rows) < share * rows
    probs = members.pop("strong2").copy()
    true = np.full((rows, 3), 0.05)
    true[np.arange(rows), scene.y] = 0.9
    probs[saw] = true[saw]
    return {**members, "leak": probs}, scene.y


OOF_DAMAGES: dict[str, tuple[Callable[[Array, Array, np.random.Generator], Array], tuple[str, ...]]] = {
    "OOF: A and B exchanged": (lambda probs, y, rng: probs[:, [1, 0, 2]], ("column order, OOF",)),
    "OOF: tie column first": (lambda probs, y, rng: probs[:, [2, 0, 1]], ("column order, OOF",)),
    "OOF: rows shuffled": (shuffled, ("row order",)),
    "OOF: one distribution for every row": (constant, ("constant",)),
    "OOF: in-sample, memorised": (memorised, ("perfection", "looks leaked")),
    "OOF: in-sample, overfitted": (overfitted, ("perfection", "looks leaked")),
}
TEST_DAMAGES: dict[str, tuple[list[int], str]] = {
    "test: A and B exchanged, by distribution": ([1, 0, 2], "column order, test"),
    "test: A and B exchanged, against other members": ([1, 0, 2], "exchanged against other members"),
    "test: tie column first, by distribution": ([2, 0, 1], "column order, test"),
}


def is_named(scene: Simulated, test: Simulated, name: str, checks: tuple[str, ...]) -> bool:
    """Whether one of the checks names the member."""
    found = checks_of(scene, test, name)
    found["looks leaked"] = name in [one.member for one in leakage_suspicions(scene.members, scene.y)]
    return any(found[check] for check in checks)


def detection(kinds: list[str], sizes: tuple[int, ...], draws: int) -> dict[str, dict[int, int]]:
    """Damage to the first of these members → rows → draws in which it was named."""
    hits: dict[str, dict[int, int]] = {}
    for rows in sizes:
        for seed in range(draws):
            rng = np.random.default_rng(seed)
            scene = simulate("damaged", kinds, rows, seed)
            test = simulate("damaged", kinds, rows // 2, seed + 10_000)
            name = next(iter(scene.members))
            for damage, (change, checks) in OOF_DAMAGES.items():
                members = {**scene.members, name: change(scene.members[name], scene.y, rng)}
                damaged = Simulated(scene.scene, rows, members, scene.y, scene.truth)
                hits.setdefault(damage, {}).setdefault(rows, 0)
                hits[damage][rows] += is_named(damaged, test, name, checks)
            for damage, (order, check) in TEST_DAMAGES.items():
                members = {**test.members, name: test.members[name][:, order]}
                damaged = Simulated(test.scene, test.rows, members, test.y, test.truth)
                hits.setdefault(damage, {}).setdefault(rows, 0)
                hits[damage][rows] += checks_of(scene, damaged, name)[check]
    return hits


def line(title: str, hits: dict[int, int], draws: int) -> str:
    """One row of a table."""
    return f"{title:50s} " + "  ".join(f"{rows} rows: {hit}/{draws}" for rows, hit in hits.items())


def leaks(sizes: tuple[int, ...], draws: int) -> dict[str, dict[int, int]]:
    """How often a member that saw a share of the outcomes is named, printed and returned."""
    report = {}
    for scattered in (True, False):
        kind = "scattered" if scattered else "one run of rows"
        for share in SHARES:
            hits = {}
            for rows in sizes:
                found = [
                    leakage_suspicions(*leaked(rows, seed, share, scattered=scattered))
                    for seed in range(draws)
                ]
                hits[rows] = sum("leak" in [one.member for one in suspected] for suspected in found)
            report[f"{kind}, {share:.0%}"] = hits
            print(line(f"leaked {share:4.0%} of rows, {kind}", hits, draws))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one size, two draws")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    options = parser.parse_args()
    sizes, draws = ((732,), 2) if options.quick else ((300, 732, 2874, 14_370), 10)
    report: dict[str, Any] = {"draws": draws, **false_alarms(sizes, draws)}
    print(f"honest members named, of {report['honest_members']}:")
    for check, count in report["named"].items():
        print(f"  {check:40s} {count}")
    for path in sorted(DATA.glob("oof_*.csv")) if DATA.is_dir() else []:
        members, y = load(path, None)
        found = [one.member for one in leakage_suspicions(members, y)]
        found += [name for name, probs in members.items() if named_alone(probs, y)]
        report[f"named in {path.stem}"] = found
        print(f"{path.stem}: {len(members)} members, named: {found or 'none'}")
    noise = {rows: sum(beside_noise(rows, seed) for seed in range(draws)) for rows in sizes}
    report["strong member beside noise looks leaked"] = noise
    print(line("strong member beside noise looks leaked", noise, draws))
    for kinds in (["strong", "weak", "weak"], ["weak", "strong", "weak"], ["lean", "strong", "weak"]):
        print(f"\na {kinds[0]} member, beside {kinds[1]} and {kinds[2]}")
        report[kinds[0]] = detection(kinds, sizes, draws)
        for damage, hits in report[kinds[0]].items():
            print(line(damage, hits, draws))
    print()
    report |= leaks(sizes, draws)
    if options.json:
        print(json.dumps(report))


def named_alone(probs: Array, y: Array) -> bool:
    """Whether a check that needs neither other members nor test predictions names a real member."""
    log_probs = np.log(np.maximum(probs, 1e-15))
    checks = (
        best_column_order(log_probs, y),
        row_order_check(log_probs, y),
        suspicious_perfection(log_probs, y),
    )
    return is_constant(log_probs) or any(found is not None for found in checks)


if __name__ == "__main__":
    main()
