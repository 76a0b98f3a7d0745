"""One page a person can look at: the score, the members, the calibration, and what all was made from."""

from .page import page, write

__all__ = ["page", "write"]
