"""How far the prediction of one fold is: both orders and all files are one work, counted in rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.backbones.base import Progress
from arena_ensemble.battles import Battles
from arena_ensemble.pipeline.orders import part_of, predict_fold, rows_to_predict
from arena_ensemble.predictions import Floats
from arena_ensemble.recipes import recipe_from
from arena_ensemble.sample import make_arena


class Steps:
    """A backbone that knows nothing and reports each row, in units of its own."""

    def predict(self, fitted: Any, battles: Battles, *, on_progress: Progress | None = None) -> Floats:
        for row in range(1, len(battles) + 1):
            if on_progress is not None:
                on_progress(100 * row, 100 * len(battles), "predicting")
        return np.log(np.full((len(battles), 3), 1 / 3))


@given(rows=st.integers(1, 30), share=st.sampled_from([0.0, 0.3, 1.0]), begun=st.booleans())
def test_the_orders_of_a_fold_are_one_count_that_rises_to_its_end(
    rows: int, share: float, begun: bool
) -> None:
    recipe = recipe_from(
        {"backbone": "generate", "base": "tiny:decoder", "read_orders": 2, "second_order_share": share}
    )
    battles = make_arena(rows, seed=1).battles
    first = np.log(np.full((rows, 3), 1 / 3)) if begun else None
    seen: list[tuple[float, float]] = []
    predict_fold(
        Steps(),  # type: ignore[arg-type]
        None,
        battles,
        recipe=recipe,
        fold=0,
        n_classes=3,
        first_order=first,
        on_progress=lambda done, total, text: seen.append((done, total)),
    )
    whole = rows_to_predict(battles, recipe, begun=begun)
    assert [round(done, 6) for done, _ in seen] == list(range(1, whole + 1))
    assert {total for _, total in seen} <= {whole}


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_parts_of_a_work_follow_each_other(sizes: list[int]) -> None:
    seen: list[float] = []
    for k in range(len(sizes)):
        part = part_of(
            lambda done, total, text: seen.append(done / total), sum(sizes[:k]), sizes[k], sum(sizes)
        )
        assert part is not None
        for step in range(5):
            part(step, 4, "x")
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert part_of(None, 0, 1, 1) is None
