"""The lexical member: TF-IDF differences, length and formatting, one convex fit; no GPU."""

from .model import fit, held, load, predict, predict_level, predict_together, prepare
from .reasons import word_parts

__all__ = ["fit", "held", "load", "predict", "predict_level", "predict_together", "prepare", "word_parts"]
