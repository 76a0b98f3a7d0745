"""The collapse alarm on simulated members: false alarms of honest ones, and broken ones found, by size.

python benchmarks/collapse.py [--seeds N]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from simulated_oof import simulate

from arena_ensemble.diagnostics.collapse import collapse_warnings
from arena_ensemble.metrics import prior_log_probs

SIZES = (20, 60, 100, 300, 732, 2874)
HONEST = ("strong", "weak", "sure", "shy", "curved", "lean")
"""Kinds of the simulator that know something, well calibrated or not."""


def honest(rows: int, seed: int) -> Iterator[tuple[str, Any, Any]]:
    """Kind, log-probabilities (n, 3) and outcomes of members that know something."""
    scene = simulate("honest", list(HONEST), rows, seed)
    for name, probs in scene.members.items():
        yield name.rstrip("0123456789"), np.log(probs), scene.y


def broken(rows: int, seed: int) -> Iterator[tuple[str, Any, Any]]:
    """The same of members that are broken in a known way."""
    rng = np.random.default_rng([seed, rows])
    scene = simulate("broken", ["strong", "noise"], rows, seed)
    good, y = np.log(scene.members["strong0"]), scene.y
    stuck = np.tile(np.log([0.98, 0.01, 0.01]), (rows, 1))
    nearly = stuck.copy()
    free = rng.permutation(rows)[: rows // 20]
    nearly[free] = good[free]
    yield "one class, sure", stuck, y
    yield "one class in 95 % of rows", nearly, y
    shares = (np.bincount(y, minlength=3) + 1) / (rows + 3)
    yield "constant, at the prior", np.tile(np.log(shares), (rows, 1)), y
    yield "random head", np.log(scene.members["noise1"]), y
    wild = rng.normal(size=(rows, 3)) * 2
    yield "random head, sure", wild - np.logaddexp.reduce(wild, axis=1, keepdims=True), y
    yield "A and B exchanged", good[:, [1, 0, 2]], y
    yield "tie and A exchanged", good[:, [2, 1, 0]], y
    yield "rows shuffled", good[rng.permutation(rows)], y


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="draws of every size (default 100)")
    seeds = range(parser.parse_args().seeds)
    for title, draw in (("alarms of honest members", honest), ("broken members found", broken)):
        found: dict[str, dict[int, list[bool]]] = {}
        for rows in SIZES:
            for seed in seeds:
                for kind, log_probs, y in draw(rows, seed):
                    prior = prior_log_probs(y, np.arange(rows) % 5)
                    report = collapse_warnings(log_probs, y, prior, np.arange(rows))
                    found.setdefault(kind, {}).setdefault(rows, []).append(bool(report.alarms))
        print(f"\n{title}, of {len(seeds)} each\n{'':28}" + "".join(f"{rows:>7}" for rows in SIZES))
        for kind, counts in found.items():
            print(f"{kind:28}" + "".join(f"{sum(counts[rows]):>7}" for rows in SIZES))


if __name__ == "__main__":
    main()
