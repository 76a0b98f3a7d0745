"""Which candidates are worth their time for so many rows, members and features."""

from __future__ import annotations

from typing import Final

from .decision import Menu, Mix
from .design import Design
from .family import Family
from .logistic import LogisticFamily, length_columns
from .simple import Geometric, Greedy, Linear, Mean, Prior, Single
from .trees import TreeFamily

MIN_TREE_ROWS: Final = 300
"""Below this many rows boosted trees are not tried: a leaf would hold a handful of votes."""


SINGLE_THREAD_ROWS: Final = 20_000
"""Up to this many rows LightGBM runs on one thread: handing out the work costs more than it saves."""


def menu_for(design: Design, *, threads: int) -> Menu:
    """Candidates from the simplest to the richest."""
    threads = 1 if len(design) <= SINGLE_THREAD_ROWS else threads
    n, members, features = len(design), len(design.members), design.n_features
    families: list[Family] = [Prior()]
    order = ["prior"]

    def add(family: Family, *, choosable: bool = True) -> None:
        families.append(family)
        if choosable:
            order.append(family.name)

    mixes: list[Mix] = []
    if members:
        add(Single("best member", tempered=False))
        add(Single("best member, temperature", tempered=True))
    if members > 1:
        add(Mean())
        add(Greedy())
        add(Linear())
        add(Geometric())
    if members:
        add(LogisticFamily("logistic", "plain"))
        add(LogisticFamily("rich logistic", "rich"))
    if features:
        if length_columns(design.odd_names):
            add(LogisticFamily("length only", "length"), choosable=not members)
        add(LogisticFamily("features only", "features"), choosable=not members)
        if members:
            add(LogisticFamily("rich logistic with features", "all"))
    if n >= MIN_TREE_ROWS:
        last = []
        if members:
            add(TreeFamily("trees", features=False, threads=threads))
            last = ["rich logistic", "trees"]
        if features:
            add(TreeFamily("trees with features", features=True, threads=threads))
            rich = "rich logistic with features" if members else "features only"
            last = [*last, rich, "trees with features"]
        if members:
            mixes.append(Mix("mix", ("rich logistic", "trees"), learned=False))
        if features:
            mixes.append(Mix("mix with features", (rich, "trees with features"), learned=False))
        mixes.append(Mix("blend", tuple(last), learned=True))
        order += [mix.name for mix in mixes]
    return Menu(tuple(families), tuple(mixes), tuple(order))
