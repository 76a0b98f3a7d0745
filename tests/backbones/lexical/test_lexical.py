"""The lexical member: scikit-learn's numbers, swap, a whole round through disk, broken files refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from arena_ensemble.backbones.lexical import model as lexical
from arena_ensemble.backbones.lexical.equivariant_linear import FeatureBlocks, RandomFourierFeatures, stacked
from arena_ensemble.backbones.lexical.equivariant_linear import fit as fit_coefficients
from arena_ensemble.backbones.lexical.tfidf import END, START, TOKEN, Tfidf
from arena_ensemble.battles import Battles
from arena_ensemble.errors import ArtifactError
from arena_ensemble.predictions import Floats, delta_tau
from arena_ensemble.recipes import Recipe, recipe_from

GOOD = ("clear", "correct", "indeed", "shown", "proof")
BAD = ("wrong", "sorry", "unsure", "nothing", "banana")
FILL = ("the", "answer", "is", "that", "one", "may", "say", "so", "漢字", "naïve", "\n- item", "**bold**")


def arena(n: int, seed: int) -> Battles:
    """Battles whose vote follows the words of GOOD and BAD in each answer, ties when they are even."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for i in range(n):
        lead = rng.integers(-1, 2, size=2)
        sides = []
        for sign in lead:
            words = list(rng.choice(FILL, size=rng.integers(5, 25)))
            words += list(rng.choice(GOOD if sign > 0 else BAD, size=3)) if sign else []
            sides.append(" ".join(map(str, rng.permutation(words))))
        gap = 1.5 * (lead[0] - lead[1])
        logits = np.array([gap, -gap, 0.5 - abs(gap)]) + rng.gumbel(size=3)
        rows.append(
            {
                "id": i,
                "prompt": [f"question {i // 3}", None],
                "response_a": [sides[0], None],
                "response_b": [sides[1], "and"],
                "outcome": int(np.argmax(logits)),
            }
        )
    return Battles.from_rows(rows)


def recipe(**lexical_settings: Any) -> Recipe:
    return recipe_from({"backbone": "lexical", "lexical": lexical_settings}, name="lexical")


def fitted_in(folder: Path, train: Battles, **settings: Any) -> lexical.Lexical:
    folder.mkdir(exist_ok=True)
    return lexical.fit(train, recipe=recipe(**settings), folder=folder, cache=folder)


def loss(log_probs: np.ndarray, battles: Battles) -> float:
    return float(-log_probs[np.arange(len(battles)), battles.outcomes()].mean())


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> tuple[lexical.Lexical, Path]:
    folder = tmp_path_factory.mktemp("member")
    return fitted_in(folder, arena(400, 0), interactions=32), folder


def test_tfidf_is_that_of_scikit_learn() -> None:
    battles = arena(60, 1)
    texts = pl.concat([lexical.side_text(battles, "response_a"), lexical.side_text(battles, "response_b")])

    def terms(text: str) -> list[str]:
        words = pl.Series([text]).str.to_lowercase().str.extract_all(TOKEN)[0].to_list()
        words = [START, *words, END]
        return [*words, *(f"{one} {two}" for one, two in pairwise(words))]

    ours = Tfidf.fit(texts, max_features=10**6, min_count=2, pairs=True)
    theirs = TfidfVectorizer(analyzer=terms, sublinear_tf=True, min_df=2).fit(texts.to_list())
    names = [*ours.words, *(f"{ours.words[i]} {ours.words[j]}" for i, j in ours.pairs)]
    assert set(names) == set(theirs.vocabulary_)
    columns = [theirs.vocabulary_[name] for name in names]
    expected = theirs.transform(texts.to_list()).toarray()[:, columns]
    np.testing.assert_allclose(ours.transform(texts).toarray(), expected, atol=1e-12)


def test_vocabulary_keeps_the_most_frequent_terms() -> None:
    texts = pl.Series(["one two three", "one two", "one"])
    kept = Tfidf.fit(texts, max_features=4, min_count=1, pairs=True)
    # one, <s> and </s> and the pair "<s> one" stand in all three; words come first, by the alphabet.
    assert kept.words == ("</s>", "<s>", "one")
    assert [(kept.words[i], kept.words[j]) for i, j in kept.pairs] == [("<s>", "one")]
    assert kept.transform(pl.Series([], dtype=pl.String)).shape == (0, 4)
    assert Tfidf.fit(texts.head(0), max_features=4, min_count=1, pairs=True).transform(texts).nnz == 0


def test_coefficients_are_those_of_scikit_learn_on_both_orders() -> None:
    """A multinomial fit on both orders is ours, once its ridge is read in delta and tau.

    By symmetry its rows are A = (d, s), B = (-d, s), TIE = (0, t) with 2s + t = 0, so that w = 2d and
    u = 3t/2, and its ridge (1/2C)(2d² + 2s² + t²) over doubled rows is (1/4C)(w²/2 + 2u²/3) for ours.
    """
    rng = np.random.default_rng(0)
    n, strength = 300, 0.7
    odd, even = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    y = rng.integers(0, 3, n)
    y[odd[:, 0] > 1] = 0
    both = np.vstack([np.hstack([odd, even]), np.hstack([-odd, even])])
    oracle = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000)
    oracle.fit(both, np.concatenate([y, np.array([1, 0, 2])[y]]))
    scale_odd, scale_even = np.sqrt(4 * strength), np.sqrt(3 * strength)
    design = FeatureBlocks((sparse.csr_matrix(odd * scale_odd),), (even * scale_even,))
    ours = fit_coefficients(design, np.eye(3)[y], tolerance=1e-14, max_steps=2000)
    expected = oracle.predict_log_proba(np.hstack([odd, even]))
    np.testing.assert_allclose(ours.log_probs(design), expected, atol=1e-4)


def test_waves_are_odd_and_even() -> None:
    rng = np.random.default_rng(0)
    odd, even = rng.normal(size=(20, 4)), rng.normal(size=(20, 3))
    fourier = RandomFourierFeatures.draw(4, 3, 16, width=1.0, seed=1)
    first, second = fourier.apply(odd, even), fourier.apply(-odd, even)
    assert np.array_equal(first[0], -second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(RandomFourierFeatures.draw(4, 3, 16, width=1.0, seed=2).phase, fourier.phase)


def test_learns_what_the_words_say(member: tuple[lexical.Lexical, Path]) -> None:
    test = arena(300, 7)
    predicted = lexical.predict(member[0], test.without_outcomes())
    assert predicted.shape == (300, 3)
    np.testing.assert_allclose(np.exp(predicted).sum(axis=1), 1, atol=1e-12)
    prior = np.log(np.bincount(arena(400, 0).outcomes(), minlength=3) / 400)
    assert loss(predicted, test) < loss(np.tile(prior, (300, 1)), test) - 0.1


def test_swapped_battles_give_swapped_predictions_to_the_bit(member: tuple[lexical.Lexical, Path]) -> None:
    test = arena(50, 8)
    shown = lexical.predict(member[0], test)
    other = lexical.predict(member[0], test.swapped())
    assert np.array_equal(shown[:, [1, 0, 2]], other)


def test_training_on_swapped_battles_is_the_same_fit(tmp_path: Path) -> None:
    train, test = arena(120, 2), arena(20, 3)
    one = lexical.predict(fitted_in(tmp_path / "one", train, inner_folds=0), test)
    two = lexical.predict(fitted_in(tmp_path / "two", train.swapped(), inner_folds=0), test)
    np.testing.assert_allclose(one, two, atol=1e-9)


@pytest.mark.slow
def test_a_new_process_loads_the_same_bits(member: tuple[lexical.Lexical, Path], tmp_path: Path) -> None:
    fitted, folder = member
    test = arena(40, 9)
    frame = test.without_outcomes().frame
    frame.write_parquet(tmp_path / "test.parquet")
    program = (
        "import sys, pathlib, numpy as np, polars as pl\n"
        "from arena_ensemble.backbones import lexical\n"
        "from arena_ensemble.battles import Battles\n"
        "from arena_ensemble.recipes import recipe_from\n"
        "folder, data, out = map(pathlib.Path, sys.argv[1:])\n"
        "made = lexical.load(folder, recipe=recipe_from({'backbone': 'lexical'}), cache=folder)\n"
        "np.save(out, lexical.predict(made, Battles(pl.read_parquet(data))))\n"
    )
    out = tmp_path / "said.npy"
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "test.parquet"), str(out)]
    subprocess.run(command, check=True)
    assert np.load(out).tobytes() == lexical.predict(fitted, test).tobytes()


@pytest.mark.parametrize(
    "settings", [{"length": False}, {"interactions": 0}, {"word_ngram_max": 1, "max_features": 5}]
)
def test_every_setting_survives_the_disk(tmp_path: Path, settings: dict[str, Any]) -> None:
    fitted = fitted_in(tmp_path / "m", arena(60, 4), inner_folds=0, **settings)
    again = lexical.load(tmp_path / "m", recipe=recipe(**settings), cache=tmp_path)
    test = arena(10, 5)
    assert np.array_equal(lexical.predict(again, test), lexical.predict(fitted, test))
    assert again.facts == fitted.facts
    assert {path.name for path in (tmp_path / "m").iterdir()} == {lexical.VOCABULARY, lexical.WEIGHTS}


def test_weights_count_rows_and_a_teacher_is_heard(tmp_path: Path) -> None:
    train, test = arena(90, 4), arena(20, 5)
    twice = Battles(pl.concat([train.frame, train.frame.with_columns(pl.col("id") + 1000)], how="vertical"))
    settings = recipe(inner_folds=0, interactions=0, min_count=1)
    doubled = np.full(90, 2.0)

    def predicted(name: str, battles: Battles, **given: Any) -> np.ndarray:
        (tmp_path / name).mkdir()
        made = lexical.fit(battles, recipe=settings, folder=tmp_path / name, cache=tmp_path, **given)
        return lexical.predict(made, test)

    plain = predicted("plain", train)
    # Weight two is two copies, up to the copies' effect on the vocabulary's idf.
    by_weight, by_copy = predicted("weight", train, weights=doubled), predicted("copy", twice)
    assert np.abs(by_weight - by_copy).max() < np.abs(plain - by_copy).max() / 3
    teacher = np.tile(np.log([0.05, 0.05, 0.9]), (90, 1))
    teacher[:45] = np.nan
    assert (
        delta_tau(predicted("taught", train, soft_targets=teacher))[1].mean()
        > delta_tau(plain)[1].mean() + 0.1
    )


def test_odd_training_sets_do_not_break_it(tmp_path: Path) -> None:
    same = Battles.from_rows(
        [
            {"id": i, "prompt": ["p"], "response_a": [None], "response_b": [], "outcome": i % 3}
            for i in range(9)
        ]
    )
    predicted = lexical.predict(fitted_in(tmp_path / "m", same), arena(5, 1))
    assert np.isfinite(predicted).all()
    few = arena(30, 1)
    no_tie = few.take(np.flatnonzero(few.outcomes() != 2))
    assert np.isfinite(lexical.predict(fitted_in(tmp_path / "n", no_tie), arena(5, 1))).all()


@pytest.mark.parametrize("name", [lexical.VOCABULARY, lexical.WEIGHTS])
def test_truncated_files_are_refused(member: tuple[lexical.Lexical, Path], tmp_path: Path, name: str) -> None:
    files = {path.name: path.read_bytes() for path in member[1].iterdir()}
    for part in range(0, 100, 5):
        for file, content in files.items():
            (tmp_path / file).write_bytes(content[: len(content) * part // 100] if file == name else content)
        with pytest.raises(ArtifactError, match="lexical member in"):
            lexical.load(tmp_path, recipe=recipe(), cache=tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match="fit this fold again"):
        lexical.load(tmp_path, recipe=recipe(), cache=tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("words", ["one"]),
        ("odd_names", []),
        ("blocks", ["features"]),
        ("blocks", []),
        ("intercept", "nan"),
        ("intercept", 3),
        ("facts", 1),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    member: tuple[lexical.Lexical, Path], tmp_path: Path, key: str, value: Any
) -> None:
    plain = json.loads((member[1] / lexical.VOCABULARY).read_text())
    (tmp_path / lexical.VOCABULARY).write_text(json.dumps({**plain, key: value}))
    (tmp_path / lexical.WEIGHTS).write_bytes((member[1] / lexical.WEIGHTS).read_bytes())
    with pytest.raises(ArtifactError, match="does not fit together"):
        lexical.load(tmp_path, recipe=recipe(), cache=tmp_path)


def test_past_some_rows_it_learns_from_so_many_drawn_at_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = arena(400, seed=1), arena(60, seed=2)
    made = {}
    for name, limit in (("all", 400), ("some", 150)):
        monkeypatch.setattr(lexical, "LEARNED_ROWS", limit)
        (tmp_path / name).mkdir()
        made[name] = lexical.fit(train, recipe=recipe(), folder=tmp_path / name, cache=tmp_path)
    assert "of_rows" not in made["all"].facts
    assert (made["some"].facts["rows"], made["some"].facts["of_rows"]) == (150, 400)
    drawn = np.sort(np.random.default_rng(0).choice(400, 150, replace=False))
    alone = lexical.fit(train.take(drawn), recipe=recipe(), folder=tmp_path / "some", cache=tmp_path)
    expected = lexical.predict(alone, test)
    np.testing.assert_array_equal(lexical.predict(made["some"], test), expected)
    assert np.abs(lexical.predict(made["all"], test) - expected).max() > 0.01
    # soft targets and weights follow their rows
    targets = np.full((400, 3), np.nan)
    targets[drawn[:20]] = np.log([0.1, 0.1, 0.8])
    weights = np.linspace(0.5, 1.5, 400)
    taught = [
        lexical.fit(
            some, soft_targets=soft, weights=weight, recipe=recipe(), folder=tmp_path / "some", cache=tmp_path
        )
        for some, soft, weight in (
            (train, targets, weights),
            (train.take(drawn), targets[drawn], weights[drawn]),
        )
    ]
    np.testing.assert_array_equal(*(lexical.predict(one, test) for one in taught))


def test_it_predicts_some_rows_at_a_time_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = arena(200, seed=1), arena(70, seed=2)
    fitted = lexical.fit(train, recipe=recipe(), folder=tmp_path, cache=tmp_path)
    whole = lexical.predict(fitted, test)
    monkeypatch.setattr(lexical, "PREDICTED_ROWS", 16)
    told: list[tuple[float, float, str]] = []
    np.testing.assert_array_equal(
        lexical.predict(fitted, test, on_progress=lambda *event: told.append(event)), whole
    )
    assert told == [(k, 5, "") for k in range(1, 6)]
    assert lexical.predict(fitted, test.take([])).shape == (0, 3)


def test_columns_made_in_parts_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = arena(160, seed=1), arena(40, seed=2)
    made: list[int] = []

    def counted(parts: Iterable[FeatureBlocks]) -> FeatureBlocks:
        blocks = list(parts)
        made.append(len(blocks))
        return stacked(blocks)

    monkeypatch.setattr(lexical, "stacked", counted)

    def predicted(rows: int, learned: int) -> Floats:
        monkeypatch.setattr(lexical, "DESIGN_ROWS", rows)
        monkeypatch.setattr(lexical, "LEARNED_ROWS", learned)
        return lexical.predict(lexical.fit(train, recipe=recipe(), folder=tmp_path, cache=tmp_path), test)

    whole, parts = predicted(150, 150), predicted(64, 150)
    assert made == [3]
    np.testing.assert_allclose(whole, parts, atol=1e-5)  # where its search stops, rounding decides
    # whoever learns from all rows keeps the bits
    for learned in (160, 161):
        np.testing.assert_array_equal(predicted(64, learned), predicted(160, learned))
    assert made == [3]
