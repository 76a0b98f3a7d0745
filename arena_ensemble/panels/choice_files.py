"""A best-of-N panel's folder: its state, out-of-fold predictions, score table, last the card with hashes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from pydantic import Field, FiniteFloat, PositiveFloat, ValidationError

from ..artifacts import atomic, cards
from ..artifacts.choice_card import ChoiceCard
from ..artifacts.files import parquet_bytes
from ..artifacts.members import OOF
from ..errors import ArtifactError, InputError
from ..judgements import AnswerScores
from ..stacking.base import FrozenState
from .best_of_n import PANEL, BestOfN, ChoiceRow
from .choice_model import item_codes, tied_top
from .folder import JUDGES, TABLE, check_out

MAIN: Final = "best_of_n.json"
_REMEDY: Final = "run `arena-ensemble panel` again"


class ChoiceState(FrozenState):
    """What prediction needs."""

    format: Literal[1] = 1
    judges: list[str] = Field(min_length=1)
    scales: list[PositiveFloat]
    coef: list[FiniteFloat]
    ridge: PositiveFloat
    answers: tuple[str, ...] = ()


def is_best_of_n(folder: Path) -> bool:
    """Whether a folder holds a best-of-N panel."""
    return (folder / MAIN).is_file()


def save(model: BestOfN, scores: AnswerScores, out: Path) -> ChoiceCard:
    """Keep a fitted model with its out-of-fold predictions of the items that have votes, whole or not at all.

    Parameters
    ----------
    scores
        What it was fitted on.

    Raises
    ------
    InputError
        The folder holds other files.
    """
    target = check_out(out)
    rows = np.flatnonzero(model.folds_ >= 0)
    frame = pl.DataFrame(
        {
            "item": scores.items[rows],
            "answer": scores.answers[rows],
            "fold": model.folds_[rows],
            "logp_best": model.oof_log_proba_[rows],
        }
    )
    own = next(row for row in model.table_ if row.name == PANEL)
    state = ChoiceState(
        judges=list(model.judges_),
        scales=model.scales_.tolist(),
        coef=model.coef_.tolist(),
        ridge=model.ridge_,
        answers=model.answers_,
    )
    card = ChoiceCard(
        judges=list(model.judges_),
        items=scores.items[rows].n_unique(),
        answers=len(rows),
        seed=model.random_state,
        log_loss=own.log_loss,
        accuracy=own.accuracy,
        weights={name: list(weights) for name, weights in model.weights_.items()},
    )
    table: dict[str, Any] = {
        "kind": card.kind,
        "rows": [dataclasses.asdict(row) for row in model.table_],
        "without": {name: list(values) for name, values in model.without_.items()},
    }
    contents = {
        MAIN: state.model_dump_json(indent=1).encode(),
        OOF: parquet_bytes(frame),
        TABLE: json.dumps(table).encode(),
        JUDGES: json.dumps(judges_json(model, scores)).encode(),
    }
    with atomic.new_folder(target) as partial:
        for name, content in contents.items():
            atomic.write_bytes(partial / name, content)
        return cards.write_card(partial, card, list(contents))


def judges_json(model: BestOfN, scores: AnswerScores) -> dict[str, Any]:
    """What ``judges.json`` holds: each judge alone and beside the others, on the items that have votes.

    Two judges agree on an item where they put the same answers on top; items that one did not score at all
    count for neither.
    """
    part = scores.take(np.flatnonzero(model.folds_ >= 0))
    codes = item_codes(part.items.to_list())
    items = int(codes.max()) + 1
    tops = []
    for values in part.mean.T:
        scored = np.bincount(codes, weights=~np.isnan(values), minlength=items) > 0
        tops.append((tied_top(np.where(np.isnan(values), -np.inf, values), codes) > 0, scored))
    same: list[list[float | None]] = []
    for left, left_scored in tops:
        row: list[float | None] = []
        for right, right_scored in tops:
            both = left_scored & right_scored
            differ = np.bincount(codes, weights=left != right, minlength=items) > 0
            row.append(float((~differ[both]).mean()) if both.any() else None)
        same.append(row)
    by_name = {row.name: row for row in model.table_}
    facts: list[dict[str, Any]] = []
    for k, name in enumerate(part.judges):
        adds, adds_se = model.without_.get(name, (None, None))
        facts.append(
            {
                "name": name,
                "kind": "answers",
                "log_loss": by_name[name].log_loss,
                "se": by_name[name].se,
                "accuracy": by_name[name].accuracy,
                "accuracy_se": by_name[name].accuracy_se,
                "base_rate": by_name["uniform"].accuracy,
                "missing": float(np.isnan(part.mean[:, k]).mean()),
                "adds": adds,
                "adds_se": adds_se,
            }
        )
    return {
        "format": 1,
        "kind": "best_of_n",
        "items": items,
        "agreement": {"judges": list(part.judges), "same_best": same},
        "judges": sorted(facts, key=lambda one: float(one["log_loss"])),
    }


def load(folder: Path) -> BestOfN:
    """The model of a folder, able to predict, with its ``table_``.

    Raises
    ------
    InputError
        There is no panel in the folder.
    ArtifactError
        A file is missing, truncated or edited.
    """
    card = cards.read_card(folder, ChoiceCard, remedy=_REMEDY)
    if card is None:
        raise InputError(f"no panel in {folder}; name the folder that `arena-ensemble panel --out` wrote")
    contents = {name: cards.verified(folder, name, card) for name in card.files}
    model = BestOfN(random_state=card.seed)
    try:
        state = ChoiceState.model_validate_json(contents[MAIN])
        table = json.loads(contents[TABLE])
        model.table_ = [ChoiceRow(**row) for row in table["rows"]]
        model.without_ = {name: (float(mean), float(se)) for name, (mean, se) in table["without"].items()}
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ArtifactError(f"{folder / MAIN} is not as written ({reason}); {_REMEDY}") from None
    count = len(state.judges)
    if len(state.scales) != count or len(state.coef) != 2 * count + 1:
        raise ArtifactError(f"{folder / MAIN} holds weights of other judges; {_REMEDY}")
    model.judges_, model.answers_ = tuple(state.judges), state.answers
    model.scales_, model.coef_, model.ridge_ = np.array(state.scales), np.array(state.coef), state.ridge
    return model
