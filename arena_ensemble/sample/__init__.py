"""The sample arena and the sample panel: synthetic battles and judges whose true probabilities are known."""

from .arena import Arena, Weights, files, kaggle_frame, make_arena
from .judges import JUDGES, Judge, SamplePanel, panel

__all__ = [
    "JUDGES",
    "Arena",
    "Judge",
    "SamplePanel",
    "Weights",
    "files",
    "kaggle_frame",
    "make_arena",
    "panel",
]
