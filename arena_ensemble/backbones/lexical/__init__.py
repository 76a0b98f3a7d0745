"""The lexical member: TF-IDF differences, length and formatting, one convex fit; no GPU."""

from .model import fit, load, predict, predict_level, predict_together, prepare

__all__ = ["fit", "load", "predict", "predict_level", "predict_together", "prepare"]
