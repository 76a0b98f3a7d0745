"""The sample arena: synthetic battles whose true probabilities are known."""

from .arena import Arena, Weights, files, kaggle_frame, make_arena

__all__ = ["Arena", "Weights", "files", "kaggle_frame", "make_arena"]
