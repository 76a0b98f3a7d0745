"""The member that needs no GPU: TF-IDF difference, length and formatting; seconds on a CPU.

Delta is linear in what changes sign when the responses change places (difference of TF-IDF rows,
odd features, odd random Fourier features), tau in what does not (absolute difference, even
features, even random features): equivariant by construction. All is fitted on the training
rows alone; the strength of the ridge is chosen by grouped folds inside them. Nothing is pickled:
vocabulary and settings are JSON, numbers are safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from ...battles import Battles
from ...deadline import Deadline
from ...errors import ArtifactError
from ...features import Features, extract
from ...predictions import Floats
from ...recipes import LexicalSettings, Recipe
from ..base import Progress, labels_of
from .equivariant_linear import Coefficients, FeatureBlocks, RandomFourierFeatures, Scaler, stacked
from .equivariant_linear import fit as fit_coefficients
from .strength import choose_strength
from .tfidf import Tfidf
from .together import Scales, Together

VOCABULARY: Final = "vocabulary.json"
WEIGHTS: Final = "weights.safetensors"
FORMAT: Final = 1
LEARNED_ROWS: Final = 200_000
"""Battles that it learns from at most: see docs/scale.md for what more would gain."""
DESIGN_ROWS: Final = 1 << 16
"""Battles of a sample whose columns are made at once: what is held for a while is several times these."""
PREDICTED_ROWS: Final = 1 << 15
"""Battles whose features are held at once."""

# Prior standard deviations of the coefficients of each block, in units of its columns (TF-IDF rows
# have length 1, features unit scale, waves length about 1). Rounded from a look at mtbench, tulu1 and
# pandalm together, and flat there: a factor of 1.7 either way moves the log-loss by about 0.005.
WORD_SCALE: Final = {"odd": 1.0, "even": 0.5}
FEATURE_SCALE: Final = 0.06
WAVE_SCALE: Final = 1.0
WAVE_WIDTH: Final = 0.7


@dataclass(frozen=True, eq=False)
class Lexical:
    """A fitted lexical member; ``scaler`` and ``waves`` are None where the recipe turns them off."""

    words: Tfidf
    scaler: Scaler | None
    fourier: RandomFourierFeatures | None
    coefficients: Coefficients
    feature_names: tuple[tuple[str, ...], tuple[str, ...]]
    facts: dict[str, Any]


def prepare(battles: Battles, *, recipe: Recipe, cache: Path, on_progress: Progress | None = None) -> None:
    """Nothing depends on the text alone: even the vocabulary is learned from training rows."""


def fit(
    train: Battles,
    *,
    valid: Battles | None = None,
    soft_targets: Floats | None = None,
    weights: Floats | None = None,
    recipe: Recipe,
    folder: Path,
    cache: Path,
    resume: bool = False,
    on_progress: Progress | None = None,
    deadline: Deadline | None = None,
) -> Lexical:
    """Fit on ``train`` and write ``vocabulary.json`` and ``weights.safetensors``; see `base.Backbone`.

    ``valid``, ``resume`` and ``deadline`` are not used: nothing is stopped early, and a fold takes seconds.
    Past `LEARNED_ROWS` battles it learns from as many, drawn at random.
    """
    settings = recipe.lexical
    given = len(train)
    if given > LEARNED_ROWS:
        some = np.sort(np.random.default_rng(recipe.seed).choice(given, LEARNED_ROWS, replace=False))
        train = train.take(some)
        soft_targets = None if soft_targets is None else soft_targets[some]
        weights = None if weights is None else weights[some]
    train = train.in_memory()
    tell = on_progress or (lambda done, total, text: None)
    steps = 4.0
    words = _fit_words(train, settings)
    tell(1, steps, f"{len(words.idf)} terms")
    features = extract(train)
    scaler = Scaler.fit(features) if settings.length else None
    fourier = None
    if settings.length and settings.interactions:
        shape = features.odd.shape[1], features.even.shape[1]
        fourier = RandomFourierFeatures.draw(
            *shape, settings.interactions, width=WAVE_WIDTH, seed=recipe.seed
        )
    # in parts only where it learns from a sample: rounding of the waves depends on how rows are cut
    rows = DESIGN_ROWS if given > len(train) else len(train)
    design = _design(train, features, words, scaler, fourier, rows)
    tell(2, steps, "features")
    target = _targets(train, soft_targets, recipe)
    outcomes = labels_of(train, soft_targets)[0]
    strength, losses = choose_strength(train, design, target, outcomes, weights, recipe)
    tell(3, steps, f"C = {strength:g}")
    scale = float(np.sqrt(strength))
    design.scale_in_place(scale)
    coefficients = fit_coefficients(design, target, weights=weights).times(scale)
    facts = {  # no seconds, which the card tells: these lie beside what was learned, the same bytes each time
        "device": "cpu",
        "dtype": "float64",
        "rows": len(train),
        "terms": len(words.idf),
        "C": strength,
        "inner_log_loss": losses,
    }
    if given > len(train):
        facts["of_rows"] = given
    names = (features.odd_names, features.even_names)
    fitted = Lexical(words, scaler, fourier, coefficients, names, facts)
    _write(fitted, folder)
    tell(steps, steps, "done")
    return fitted


def predict(fitted: Lexical, battles: Battles, *, on_progress: Progress | None = None) -> Floats:
    """Log-probabilities (n, 3), float64, rows normalised; exactly equivariant under a swap."""
    count = max(1, -(-len(battles) // PREDICTED_ROWS))
    found = []
    for number, part in enumerate(battles.parts(PREDICTED_ROWS), start=1):
        found.append(predict_together((fitted,), part)[0])
        if on_progress:
            on_progress(number, count, "")
    return np.concatenate(found)


def predict_together(
    fits: Sequence[Lexical], battles: Battles, *, features: Features | None = None
) -> list[Floats]:
    """As :func:`predict` of each fit, to the bit, with the texts cut into words once for all.

    ``features`` are those of the battles, where they are known already.
    """
    a, b = (side_text(battles, column) for column in ("response_a", "response_b"))
    return joined(fits).log_probs(a, b, extract(battles) if features is None else features)


def joined(fits: Sequence[Lexical]) -> Together:
    """Fits that predict the same battles side by side."""
    return Together.of(fits, Scales(WORD_SCALE["odd"], WORD_SCALE["even"], FEATURE_SCALE, WAVE_SCALE))


def held(fits: Sequence[Lexical]) -> Callable[[Battles, Features], list[Floats]]:
    """Fits that stay joined: what predicts battles with the given features, as `predict_together` does."""
    together = joined(fits)

    def predict_held(battles: Battles, features: Features) -> list[Floats]:
        a, b = (side_text(battles, column) for column in ("response_a", "response_b"))
        return together.log_probs(a, b, features)

    return predict_held


def predict_level(fitted: Lexical, battles: Battles) -> Floats:
    """As :func:`predict`, at equal length and format: words alone decide who wins."""
    return predict_together((fitted,), battles, features=extract(battles).level())[0]


def load(folder: Path, *, recipe: Recipe, cache: Path) -> Lexical:
    """Read what :func:`fit` wrote.

    Raises
    ------
    ArtifactError
        A file is missing, broken, of another format, or its parts do not fit each other.
    """
    try:
        plain = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        arrays = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"lexical member in {folder}: {error}; fit this fold again") from None
    try:
        return _restored(plain, arrays)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"lexical member in {folder} does not fit together ({what})") from None


def _fit_words(train: Battles, settings: LexicalSettings) -> Tfidf:
    texts = pl.concat([side_text(train, "response_a"), side_text(train, "response_b")])
    return Tfidf.fit(
        texts,
        max_features=settings.max_features,
        min_count=settings.min_count,
        pairs=settings.word_ngram_max > 1,
    )


def side_text(battles: Battles, column: str) -> pl.Series:
    """All turns of a side, joined by a line break; a null turn is left out."""
    joined = pl.col(column).list.join("\n", ignore_nulls=True).fill_null("")
    return battles.frame.select(joined.alias("text"))["text"]


def _design(
    battles: Battles,
    features: Features,
    words: Tfidf,
    scaler: Scaler | None,
    fourier: RandomFourierFeatures | None,
    rows: int,
) -> FeatureBlocks:
    """The columns of all battles, so many ``rows`` at a time."""
    if len(battles) > rows:
        starts = range(0, len(battles), rows)
        return stacked(
            _design(part, features.take(np.arange(start, start + len(part))), words, scaler, fourier, rows)
            for start, part in zip(starts, battles.parts(rows), strict=True)
        )
    a, b = (words.transform(side_text(battles, column)) for column in ("response_a", "response_b"))
    lead = (a - b).tocsr()
    odd: list[Any] = [lead * WORD_SCALE["odd"]]
    even: list[Any] = [abs(lead) * WORD_SCALE["even"]]
    if scaler is not None:
        odd_columns, even_columns = scaler.apply(features)
        odd.append(odd_columns * FEATURE_SCALE)
        even.append(even_columns * FEATURE_SCALE)
        if fourier is not None:
            odd_waves, even_waves = fourier.apply(odd_columns, even_columns)
            odd.append(odd_waves * WAVE_SCALE)
            even.append(even_waves * WAVE_SCALE)
    return FeatureBlocks(tuple(odd), tuple(even))


def _targets(train: Battles, soft_targets: Floats | None, recipe: Recipe) -> Floats:
    """One-hot votes (n, 3), mixed with the teacher's probabilities where it has an opinion.

    Where nobody voted, the teacher's alone.
    """
    labels, voted = labels_of(train, soft_targets)
    votes = np.eye(3)[labels]
    if soft_targets is None:
        return votes
    taught = ~np.isnan(soft_targets).any(axis=1)
    teacher = np.exp(log_softmax(soft_targets[taught], axis=1))
    share = np.where(voted[taught], recipe.soft.weight, 1.0)[:, None]
    votes[taught] = (1 - share) * votes[taught] + share * teacher
    return votes


_BLOCKS: Final = ("words", "features", "waves")


def _write(fitted: Lexical, folder: Path) -> None:
    """The two files of a fitted member; the caller renames the folder when it is whole."""
    blocks = _BLOCKS[: len(fitted.coefficients.odd)]
    plain = {
        "format": FORMAT,
        "words": list(fitted.words.words),
        "intercept": fitted.coefficients.intercept.hex(),
        "odd_names": list(fitted.feature_names[0]),
        "even_names": list(fitted.feature_names[1]),
        "blocks": list(blocks),
        "facts": fitted.facts,
    }
    arrays: dict[str, npt.NDArray[Any]] = {"pairs": fitted.words.pairs, "idf": fitted.words.idf}
    for name, odd, even in zip(blocks, fitted.coefficients.odd, fitted.coefficients.even, strict=True):
        arrays[f"odd.{name}"], arrays[f"even.{name}"] = odd, even
    if fitted.scaler is not None:
        scaler = fitted.scaler
        arrays.update(odd_scale=scaler.odd_scale, even_mean=scaler.even_mean, even_scale=scaler.even_scale)
    if fitted.fourier is not None:
        arrays.update(wave_p=fitted.fourier.p, wave_q=fitted.fourier.q, wave_phase=fitted.fourier.phase)
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    (folder / VOCABULARY).write_text(text, encoding="utf-8")
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / WEIGHTS)


def _restored(plain: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Lexical:
    """The member from its two files' content; KeyError or ValueError where parts disagree."""
    if plain["format"] != FORMAT:
        raise ValueError(f"format {plain['format']!r}, expected {FORMAT}")
    names = tuple(map(str, plain["odd_names"])), tuple(map(str, plain["even_names"]))
    nothing = extract(_no_battles())
    if names != (nothing.odd_names, nothing.even_names):
        raise ValueError("its features are not those that this version of the toolkit measures")
    terms, blocks = tuple(map(str, plain["words"])), list(plain["blocks"])
    words = Tfidf(terms, _checked(arrays["pairs"], (-1, 2), np.int64), _checked(arrays["idf"], (-1,)))
    k, m = len(names[0]), len(names[1])
    if len(words.idf) != len(terms) + len(words.pairs) or len(set(terms)) != len(terms):
        raise ValueError("words, pairs and idf differ in number, or a word repeats")
    if len(words.pairs) and (words.pairs.min() < 0 or words.pairs.max() >= len(terms)):
        raise ValueError("a pair names a word that is not there")
    scaler = fourier = None
    widths = {"words": (len(words.idf), len(words.idf)), "features": (k, m)}
    if "features" in blocks:
        parts = (arrays["odd_scale"], k), (arrays["even_mean"], m), (arrays["even_scale"], m)
        scaler = Scaler(*(_checked(array, (size,)) for array, size in parts))
    if "waves" in blocks:
        phase = _checked(arrays["wave_phase"], (-1,))
        count = len(phase)
        fourier = RandomFourierFeatures(
            _checked(arrays["wave_p"], (k, count)), _checked(arrays["wave_q"], (m, count)), phase
        )
        widths["waves"] = (count, count)
    if blocks != list(_BLOCKS[: len(blocks)]) or not blocks:
        raise ValueError(f"unknown blocks {blocks!r}")
    coefficients = Coefficients(
        tuple(_checked(arrays[f"odd.{name}"], (widths[name][0],)) for name in blocks),
        tuple(_checked(arrays[f"even.{name}"], (widths[name][1],)) for name in blocks),
        float.fromhex(plain["intercept"]),
    )
    if not np.isfinite(coefficients.intercept):
        raise ValueError("the intercept is not finite")
    return Lexical(words, scaler, fourier, coefficients, names, dict(plain["facts"]))


def _checked(array: npt.NDArray[Any], shape: tuple[int, ...], dtype: Any = np.float64) -> npt.NDArray[Any]:
    """The array if it has this type and shape (-1: any) and is finite; else ValueError."""
    fits = array.ndim == len(shape) and all(
        w in (-1, have) for w, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != dtype or not np.isfinite(array).all():
        raise ValueError(f"an array is {array.dtype}{array.shape}, expected finite {np.dtype(dtype)}{shape}")
    return array


def _no_battles() -> Battles:
    return Battles.from_rows([])
