"""Judgements: what judges answered about pairs of answers, or about each answer alone."""

from .answers import AnswerScores
from .columns import MISSING, First, JudgeColumn, LogProbs, Scores, Verdicts
from .known import KnownJudge
from .table import Judgements

__all__ = [
    "MISSING",
    "AnswerScores",
    "First",
    "JudgeColumn",
    "Judgements",
    "KnownJudge",
    "LogProbs",
    "Scores",
    "Verdicts",
]
