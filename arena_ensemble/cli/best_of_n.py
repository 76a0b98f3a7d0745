"""What panel and predict do for the best of several answers."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .runner import Result

if TYPE_CHECKING:
    from ..io import BestVotes
    from ..io.judgements import LoadedJudgements


def fit_best_of_n(
    loaded: Sequence[LoadedJudgements],
    best: BestVotes,
    votes: Path,
    out: Path,
    *,
    groups: str | None,
    seed: int,
) -> Result:
    """Learn the best of each item's answers, and keep it."""
    from ..pipeline import best_of_n as work
    from . import tables

    data = work.best_data(loaded, best, votes, groups)
    model = work.fit_best(data, out, seed=seed)
    items = len(data.votes.shares)
    own = model.table_[-1]
    facts: dict[str, Any] = {
        "kind": "best_of_n",
        "items": items,
        "out": str(out),
        "log_loss": own.log_loss,
        "accuracy": own.accuracy,
        "table": [dataclasses.asdict(row) for row in model.table_],
        "weights": {name: list(weights) for name, weights in model.weights_.items()},
        "without": {name: list(values) for name, values in model.without_.items()},
    }
    name = shlex.quote(str(out))
    text = (
        f"{tables.choice_table(model.table_, title=f'out of fold, the best answer of {items:,} items')}\n\n"
        f"{out}: panel, out-of-fold predictions and table\n"
        f"next: arena-ensemble predict --panel {name} --judgements FILE --out FILE (new answers)"
    )
    return Result(facts, text)


def predict_best_of_n(panel: Path, judgements: Sequence[Path], out: Path, format: str | None) -> Result:
    """Predict the best of new items' answers."""
    from ..pipeline import best_of_n as work

    found = work.predict_best(panel, judgements, format=format)
    found.write(out)
    items = found.items.n_unique()
    facts = {"predictions": str(out), "rows": len(found.items), "items": items, "absent": list(found.absent)}
    return Result(facts, f"{out}: {len(found.items):,} answers to {items:,} items{without(found.absent)}")


def without(names: Sequence[str]) -> str:
    """The judges that were not asked, for the end of a line."""
    return f", without {', '.join(names)}" if names else ""
