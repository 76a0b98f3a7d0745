"""Which members the pipeline lets lean to the response shown first."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from arena_ensemble.artifacts.cards import EXTERNAL, MemberCard
from arena_ensemble.pipeline.build import saw_one_order
from arena_ensemble.predictions import Predictions

EVEN = np.full((4, 3), np.log(1 / 3))
SHOWN = Predictions(pl.Series(range(4)), EVEN, np.zeros(4))
BOTH = Predictions(pl.Series(range(4)), EVEN, np.zeros(4), EVEN)


@pytest.mark.parametrize(
    ("backbone", "predictions", "expected"),
    [
        ("classify", SHOWN, True),
        ("generate", SHOWN, True),
        ("classify", BOTH, False),
        ("lexical", SHOWN, False),
        ("reward", SHOWN, False),
        (EXTERNAL, SHOWN, False),
    ],
)
def test_only_a_trained_member_of_the_shown_order_may_lean(
    backbone: str, predictions: Predictions, expected: bool
) -> None:
    card = MemberCard(key=None, member="m", backbone=backbone, folds_verified=True, rows=4)
    assert saw_one_order(card, predictions) is expected
