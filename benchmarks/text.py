"""What the text alone can say, on CPU: the usual peers and ours, under the same grouped folds.

    python benchmarks/text.py --data ../shared/data [--json FILE] [--quick]

Folds are ``StratifiedGroupKFold(5, shuffle=True, random_state=0)``. Under ``first`` a group is the
normalised first turn of the prompt, as it should be; under ``whole`` it is the whole prompt, as in
the table of peers that this reproduces (mtbench then shares 80 first turns between folds). The peers
are what public notebooks do: style counts with logistic regression or LightGBM, TF-IDF difference
with logistic regression; their regularisation is chosen by grouped folds inside the training rows,
and the best mean of two or three of them is picked on the very rows it is scored on, in their favour.
Ours are scored out of fold, the choice of stacker included. ± is one standard error clustered by group.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arena_ensemble.backbones import lexical
from arena_ensemble.battles import Battles
from arena_ensemble.features import extract
from arena_ensemble.folds import normalised_text
from arena_ensemble.io import read_battles
from arena_ensemble.metrics import log_loss, row_losses, standard_error
from arena_ensemble.recipes import recipe_from
from arena_ensemble.stacking import Stacker

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Splits = list[tuple[Ints, Ints]]

FILES = ("mtbench", "tulu1", "pandalm")
STYLE = [
    re.compile(pattern)
    for pattern in (
        *(r"\n", r"(?m)^\s*[-*•] ", r"(?m)^\s*\d+[.)] ", r"\*\*", r"(?m)^#+ ", r"```", r"\?", r"!"),
        r"(?i)sorry|cannot|can't|as an ai|unable",
    )
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--files", default=",".join(FILES), help="names under DATA/votes")
    parser.add_argument("--json", type=Path, help="also write every figure here")
    parser.add_argument("--quick", action="store_true", help="the smallest file alone, first-turn groups")
    parser.add_argument("--seed", type=int, default=0, help="of the outer folds")
    arguments = parser.parse_args()
    names = ["pandalm"] if arguments.quick else arguments.files.split(",")
    figures = {}
    for name in names:
        battles = read_battles(arguments.data / "votes" / f"{name}.csv", need_outcomes=True)
        figures[name] = measure(battles, quick=arguments.quick, seed=arguments.seed)
        show(name, figures[name])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(battles: Battles, *, quick: bool, seed: int = 0) -> dict[str, Any]:
    """Every row's log-loss, under first-turn groups (peers and ours) and whole-prompt groups (peers)."""
    y = battles.outcomes()
    found: dict[str, Any] = {"rows": len(battles)}
    keys = {"first": first_turns(battles)}
    if not quick:
        keys["whole"] = whole_prompts(battles)
    for grouping, groups in keys.items():
        splits = grouped(y, groups, folds=5, seed=seed)
        predicted, seconds = read_peers(battles, groups, splits)
        best_mean = min(
            (
                part
                for size in (2, 3)
                for part in combinations([k for k in predicted if k != "class prior"], size)
            ),
            key=lambda part: log_loss(mean_of([predicted[k] for k in part]), y),
        )
        label = "mean of the best: " + " + ".join(best_mean)
        predicted[label] = mean_of([predicted[k] for k in best_mean])
        peers = list(predicted)
        if grouping == "first":
            ours, ours_seconds = read_ours(battles, groups, splits)
            predicted |= ours
            seconds |= ours_seconds
        table = scored(predicted, peers, y, groups)
        for row in table:
            row["seconds"] = round(seconds.get(row["name"], 0.0), 2)
        found[grouping] = {"groups": int(groups.max()) + 1, "table": table}
    return found


def read_ours(battles: Battles, groups: Ints, splits: Splits) -> tuple[dict[str, Floats], dict[str, float]]:
    """Out-of-fold log-probabilities of ours, and seconds."""
    y, features = battles.outcomes(), extract(battles)
    folds = np.zeros(len(y), dtype=np.int64)
    for fold, (_, held) in enumerate(splits):
        folds[held] = fold
    predicted, seconds = {}, {}
    start = time.perf_counter()
    predicted["ours: lexical member"] = out_of_fold(battles, splits)
    seconds["ours: lexical member"] = time.perf_counter() - start
    for name, members in (
        ("ours: features, stacked", {}),
        ("ours: lexical + features, stacked", {"lexical": np.exp(predicted["ours: lexical member"])}),
    ):
        start = time.perf_counter()
        stacker = Stacker(random_state=0).fit(members, y, features=features, groups=groups, folds=folds)
        predicted[name] = stacker.oof_log_proba_
        seconds[name] = time.perf_counter() - start
    # The leak that grouped folds prevent: rows of one prompt on both sides.
    mixed = list(KFold(5, shuffle=True, random_state=0).split(y))
    predicted["lexical under random folds (leaks)"] = out_of_fold(battles, mixed)
    return predicted, seconds


def out_of_fold(battles: Battles, splits: Iterable[tuple[Ints, Ints]]) -> Floats:
    """The lexical member, fitted on each fold's rest."""
    predicted = np.empty((len(battles), 3))
    recipe = recipe_from({"backbone": "lexical"}, name="lexical")
    for train, held in splits:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            fitted = lexical.fit(battles.take(train), recipe=recipe, folder=place, cache=place)
            predicted[held] = lexical.predict(fitted, battles.take(held).without_outcomes())
    return predicted


def read_peers(battles: Battles, groups: Ints, splits: Splits) -> tuple[dict[str, Floats], dict[str, float]]:
    """Out-of-fold log-probabilities of the peers, and seconds."""
    y = battles.outcomes()
    start = time.perf_counter()
    style = style_columns(battles)
    shared = time.perf_counter() - start
    texts = [turns_joined(battles, column) for column in ("response_a", "response_b")]
    makers: dict[str, Callable[[Ints, Ints], Floats]] = {
        "class prior": lambda train, held: np.tile(
            np.bincount(y[train], minlength=3) / len(train), (len(held), 1)
        ),
        "style + logistic regression": lambda train, held: logistic(
            style, y, groups, train, held, strengths=(0.001, 0.003, 0.01, 0.03, 0.1, 1.0), scale=True
        ),
        "style + LightGBM": lambda train, held: trees(style, y, train, held),
        "TF-IDF difference + logistic regression": lambda train, held: tfidf(texts, y, groups, train, held),
    }
    predicted, seconds = {}, {}
    for name, make in makers.items():
        start = time.perf_counter()
        out = np.empty((len(y), 3))
        for train, held in splits:
            out[held] = make(train, held)
        predicted[name] = np.log(out)
        seconds[name] = time.perf_counter() - start + (shared if "style" in name else 0.0)
    return predicted, seconds


def logistic(
    columns: Any, y: Ints, groups: Ints, train: Ints, held: Ints, *, strengths: Sequence[float], scale: bool
) -> Floats:
    """Multinomial logistic regression, C chosen by three grouped folds of the training rows."""

    def model(strength: float) -> Any:
        logit = LogisticRegression(C=strength, max_iter=3000)
        return make_pipeline(StandardScaler(), logit) if scale else logit

    inner = [(train[i], train[j]) for i, j in grouped(y[train], groups[train], folds=3, seed=0)]
    losses = {
        strength: np.mean(
            [
                log_loss(np.log(model(strength).fit(columns[i], y[i]).predict_proba(columns[j])), y[j])
                for i, j in inner
            ]
        )
        for strength in strengths
    }
    best = min(losses, key=lambda strength: losses[strength])
    return np.asarray(model(best).fit(columns[train], y[train]).predict_proba(columns[held]))


def trees(columns: Floats, y: Ints, train: Ints, held: Ints) -> Floats:
    """LightGBM with few small leaves, the strongest setting that we know for so few rows."""
    model = lightgbm.LGBMClassifier(
        n_estimators=150,
        num_leaves=7,
        learning_rate=0.04,
        min_child_samples=20,
        reg_lambda=10,
        verbose=-1,
        n_jobs=1,
    )
    return np.asarray(model.fit(columns[train], y[train]).predict_proba(columns[held]))


def tfidf(texts: list[list[str]], y: Ints, groups: Ints, train: Ints, held: Ints) -> Floats:
    """Difference of the answers' TF-IDF rows; the vocabulary is the training rows'."""
    vectoriser = TfidfVectorizer(min_df=2, sublinear_tf=True)
    vectoriser.fit([side[i] for side in texts for i in train])
    lead = sparse.csr_matrix(vectoriser.transform(texts[0]) - vectoriser.transform(texts[1]))
    return logistic(lead, y, groups, train, held, strengths=(0.3, 1.0, 3.0), scale=False)


def style_columns(battles: Battles) -> Floats:
    """Length, words, lines, lists, bold, headings, code fences, ?, !, refusals, as peers count them."""
    a, b = (
        np.array(
            [
                [len(t), len(t.split()), *(len(p.findall(t)) for p in STYLE)]
                for t in turns_joined(battles, side)
            ],
            dtype=np.float64,
        )
        for side in ("response_a", "response_b")
    )
    log = np.log1p(a) - np.log1p(b)
    return np.hstack([(a - b) / (a + b + 1), log, np.abs(log), np.log1p(a + b)])


def turns_joined(battles: Battles, column: str) -> list[str]:
    return ["\n".join(turn or "" for turn in turns or []) for turns in battles.frame[column].to_list()]


def first_turns(battles: Battles) -> Ints:
    return coded(normalised_text(turns[0] if turns else "") for turns in battles.frame["prompt"].to_list())


def whole_prompts(battles: Battles) -> Ints:
    return coded(normalised_text(text) for text in turns_joined(battles, "prompt"))


def coded(keys: Iterable[str]) -> Ints:
    """Codes in the keys' own order, so that the folds are those of scikit-learn given the keys."""
    return np.unique(np.array(list(keys), dtype=object), return_inverse=True)[1].astype(np.int64)


def grouped(y: Ints, groups: Ints, *, folds: int, seed: int) -> Splits:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rare outcome in a small inner fold
        return list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(y, y, groups))


def mean_of(log_probs: Sequence[Floats]) -> Floats:
    return np.log(np.mean([np.exp(each) for each in log_probs], axis=0))


def scored(predicted: dict[str, Floats], peers: list[str], y: Ints, groups: Ints) -> list[dict[str, Any]]:
    """Log-loss and its error, and the paired difference to the best peer, whichever that is."""
    losses = {name: row_losses(log_probs, y) for name, log_probs in predicted.items()}
    best = min(peers, key=lambda name: float(losses[name].mean()))
    return [
        {
            "name": name,
            "log_loss": round(float(each.mean()), 5),
            "se": round(standard_error(each, groups), 5),
            "to_best_peer": round(float((each - losses[best]).mean()), 5),
            "to_best_peer_se": round(standard_error(each - losses[best], groups), 5),
            "best_peer": name == best,
        }
        for name, each in losses.items()
    ]


def show(name: str, found: dict[str, Any]) -> None:
    for grouping, part in found.items():
        if grouping == "rows":
            continue
        print(f"\n{name}: {found['rows']} rows, {part['groups']} groups ({grouping})")
        for row in part["table"]:
            mark = "*" if row["best_peer"] else " "
            print(
                f"{mark} {row['name']:<76} {row['log_loss']:.4f} ± {row['se']:.4f}   "
                f"{row['to_best_peer']:+.4f} ± {row['to_best_peer_se']:.4f}   {row['seconds']:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
