"""Stacking: members and features in, one calibrated swap-equivariant ensemble out."""

from .design import Design, Members, make_design
from .stacker import Stacker

__all__ = ["Design", "Members", "Stacker", "make_design"]
