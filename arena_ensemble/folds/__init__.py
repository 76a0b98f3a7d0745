"""Folds: which battles belong together, the one fold of every battle, and whether anything leaks."""

from .assignment import Folds, make_folds
from .groups import NEAR_DUPLICATES, Grouping, group_keys, grouping, normalised_text
from .overlap import Leak, LeakAudit, audit, may_train

__all__ = [
    "NEAR_DUPLICATES",
    "Folds",
    "Grouping",
    "Leak",
    "LeakAudit",
    "audit",
    "group_keys",
    "grouping",
    "make_folds",
    "may_train",
    "normalised_text",
]
