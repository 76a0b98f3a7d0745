"""Which candidates are worth their time for so many rows, members and features."""

from __future__ import annotations

from typing import Final

from .base import Family
from .boosting import TreeFamily
from .design import Design
from .logistic import FEATURE_RIDGES, RIDGES, LogisticFamily, length_columns
from .pooling import Geometric, Greedy, Linear, Mean, Prior, Single
from .selection import Menu, Mix

MIN_TREE_ROWS: Final = 300
"""Below this many rows boosted trees are not tried: a leaf would hold a handful of votes."""


MANY_ROWS: Final = 20_000
"""Past this many rows every second ridge is skipped: the data decide by themselves."""


def menu_for(design: Design) -> Menu:
    """Candidates from the simplest to the richest."""
    n, members, features = len(design), len(design.members), design.n_features
    families: list[Family] = [Prior()]
    order = ["prior"]

    def add(family: Family, *, choosable: bool = True) -> None:
        families.append(family)
        if choosable:
            order.append(family.name)

    mixes: list[Mix] = []
    ridges, feature_ridges = (
        (RIDGES, FEATURE_RIDGES) if n <= MANY_ROWS else (RIDGES[1::2], FEATURE_RIDGES[1::2])
    )
    if members:
        add(Single("best member", tempered=False))
        add(Single("best member, temperature", tempered=True))
    if members > 1:
        add(Mean())
        add(Greedy())
        add(Linear())
        add(Geometric())
    if members:
        add(LogisticFamily("logistic", "plain", ridges))
        add(LogisticFamily("rich logistic", "rich", ridges))
    if features:
        if length_columns(design.odd_names):
            add(LogisticFamily("length only", "length", feature_ridges), choosable=not members)
        add(LogisticFamily("features only", "features", feature_ridges), choosable=not members)
        if members:
            add(LogisticFamily("logistic with features", "all", feature_ridges))
    if n >= MIN_TREE_ROWS:
        # A mix varies less than the trees in it, so that the trees alone are never the simpler choice.
        last: list[str] = []
        if members:
            add(TreeFamily("trees", features=False), choosable=False)
            mixes.append(Mix("mix", ("rich logistic", "trees"), learned=False))
            last = ["rich logistic", "trees"]
        if features:
            add(TreeFamily("trees with features", features=True), choosable=False)
            linear = "logistic with features" if members else "features only"
            mixes.append(Mix("mix with features", (linear, "trees with features"), learned=False))
            last = [*last, linear, "trees with features"]
        if members and features:
            # Boosters that start from a strong member's logits leave little to the features; boosters
            # that never saw a member err elsewhere, which is what a mix needs.
            add(TreeFamily("trees on features", features=True, members=False), choosable=False)
            mixes.append(Mix("mix apart", ("logistic", "features only", "trees on features"), learned=True))
            last = [*last, "trees on features"]
        mixes.append(Mix("blend", tuple(last), learned=True))
        order += [mix.name for mix in mixes]
    return Menu(tuple(families), tuple(mixes), tuple(order))
