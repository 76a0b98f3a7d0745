"""Length and formatting of both answers, as odd columns (who wins) and even ones (how much of a tie)."""

from .extraction import Features, extract

__all__ = ["Features", "extract"]
