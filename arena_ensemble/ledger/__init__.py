"""What each member is worth to the ensemble, and which one looks too good to be honest."""

from .accounts import Ledger, MemberAccount, keep_ledger
from .reliability import Bin, reliability
from .suspicion import Suspicion, best_column_order, suspicions

__all__ = [
    "Bin",
    "Ledger",
    "MemberAccount",
    "Suspicion",
    "best_column_order",
    "keep_ledger",
    "reliability",
    "suspicions",
]
