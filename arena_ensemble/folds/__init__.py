"""Folds: which battles belong together, the one fold of every battle, and which texts lie in two folds."""

from .assignment import Folds, make_folds
from .groups import NEAR_DUPLICATES, GroupBuilder, Grouping, group_keys, grouping, normalised_text
from .overlap import FoldOverlap, SharedText, fold_overlap, may_train

__all__ = [
    "NEAR_DUPLICATES",
    "FoldOverlap",
    "Folds",
    "GroupBuilder",
    "Grouping",
    "SharedText",
    "fold_overlap",
    "group_keys",
    "grouping",
    "make_folds",
    "may_train",
    "normalised_text",
]
