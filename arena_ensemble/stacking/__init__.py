"""Stacking: members and features in, one calibrated swap-equivariant ensemble out."""

from .design import Design, Members, make_design
from .serialization import FORMAT as STACKER_FORMAT
from .stacker import Stacker

__all__ = ["STACKER_FORMAT", "Design", "Members", "Stacker", "make_design"]
