"""Explanations add up, swap as they must, and agree with predictions; a prediction has no companions."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble import Battles, Ensemble, build_ensemble, predict, predict_test, sample, train_members
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.cards import PredictionKey
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.share_shards import load_any_share
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.registry import HEADS
from arena_ensemble.cli import run
from arena_ensemble.cli.explain import text_of
from arena_ensemble.errors import ArtifactError, InputError
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline import explaining, fold_models, submission
from arena_ensemble.pipeline.explaining import Reasons, View, _member, kind_of, reasons_of, view_of
from arena_ensemble.pipeline.explanation import Explanation
from arena_ensemble.pipeline.kept_explanation import explain_test
from arena_ensemble.pipeline.neighbours import TrainingPrompts
from arena_ensemble.predictions import Predictions, average_folds, from_delta_tau

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 8\ninner_folds = 0\n'


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished workspace of two lexical members, which has predicted 24 test battles."""
    place = tmp_path_factory.mktemp("explain")
    for name, text in sample.files(90, 24, seed=3).items():
        (place / name).write_text(text)
    atomic.write_bytes(place / "models" / "one" / "recipe.toml", RECIPE.encode())
    other = RECIPE.replace("= 60", "= 20").replace("[lexical]", "seed = 1\n[lexical]")
    atomic.write_bytes(place / "models" / "two" / "recipe.toml", other.encode())
    members = ["one", "two"]
    trained = train_members(
        place / "train.csv", members, workspace=place, test=place / "test.csv", n_folds=3, jobs=1
    )
    predict_test(trained, build_ensemble(trained))
    return place


@pytest.fixture(scope="module")
def ensemble(work: Path) -> Ensemble:
    return Ensemble.load(work).in_memory()


@pytest.fixture(scope="module")
def test(work: Path) -> Battles:
    return read_battles(work / "test.csv")


def sums(found: Explanation) -> tuple[float, float]:
    parts = [*found.members, *found.features, found.order, found.rest]
    return sum(one.delta for one in parts), sum(one.tau for one in parts) + found.constant


def test_parts_sum_to_delta_and_tau(ensemble: Ensemble, test: Battles) -> None:
    for row in range(5):
        found = ensemble.explain(test.take([row]))
        assert sums(found) == pytest.approx((found.delta, found.tau), abs=1e-9)
        assert max(abs(found.rest.delta), abs(found.rest.tau)) < 1e-9, "pools and logistic forms are exact"
        kinds = [found.length, found.format, found.prompt]
        assert sum(one.delta for one in kinds) == pytest.approx(sum(one.delta for one in found.features))
        chances = np.array([found.chances.a, found.chances.b, found.chances.tie])
        assert chances.sum() == pytest.approx(1)
        assert np.log(chances[0] / chances[1]) == pytest.approx(found.delta)


def test_a_swap_negates_parts_of_delta_and_keeps_those_of_tau(ensemble: Ensemble, test: Battles) -> None:
    shown, other = (ensemble.explain(one.take([2])) for one in (test, test.swapped()))
    pairs = [*zip(shown.members, other.members, strict=True), (shown.length, other.length)]
    pairs += [(shown.format, other.format), (shown.prompt, other.prompt), (shown.order, other.order)]
    for one, two in pairs:
        assert two.delta == pytest.approx(-one.delta, abs=1e-12)
        assert two.tau == pytest.approx(one.tau, abs=1e-12)
    assert other.constant == shown.constant
    assert (other.level.b, other.level.tie) == pytest.approx((shown.level.a, shown.level.tie))
    assert shown.exchanged is not None
    assert vars(shown.exchanged) == pytest.approx(vars(shown.chances), abs=1e-12)
    assert [one.position_bias for one in shown.members] == [0.0, 0.0]


def test_an_explanation_is_of_the_prediction_of_that_battle_alone(work: Path, test: Battles) -> None:
    ensemble = Ensemble.load(work)
    found = ensemble.explain(test.take([1]))
    alone = ensemble.predict_proba(test.take([1]))[0]
    assert [found.chances.a, found.chances.b, found.chances.tie] == alone.tolist()
    assert ensemble.in_memory().explain(test.take([1])) == found
    assert json.loads(json.dumps(found.to_dict()))["chances"]["a"] == found.chances.a


def test_a_row_is_predicted_alike_alone_and_among_others(
    work: Path, ensemble: Ensemble, test: Battles
) -> None:
    together = ensemble.predict_proba(test)
    np.testing.assert_array_equal(Ensemble.load(work).predict_proba(test), together)
    alone = np.vstack([ensemble.predict_proba(test.take([row])) for row in range(len(test))])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-12)
    backwards = ensemble.predict_proba(test.take(np.arange(len(test))[::-1]))
    np.testing.assert_allclose(backwards[::-1], together, rtol=0, atol=1e-12)


def test_gammas_of_the_first_test_file_stay(work: Path, tmp_path: Path, test: Battles) -> None:
    path = work / "oof" / "ensemble" / "gammas.json"
    kept = json.loads(path.read_text())
    assert kept["rows"] == 24
    assert kept["folds"] == {"one": 3, "two": 3}
    assert any(gamma != 1 for gamma in kept["gammas"].values())
    ensemble = Ensemble.load(work)
    of_file = predict(ensemble, test, jobs=1)
    assert of_file.gammas == kept["gammas"]
    np.testing.assert_allclose(ensemble.predict_log_proba(test), of_file.log_probs, atol=1e-12)
    predict(ensemble, sample.make_arena(30, seed=9).battles, jobs=1)
    predict(ensemble, test.take([0]), jobs=1, use_folds=[0])
    assert json.loads(path.read_text()) == kept
    text = path.read_text()
    path.write_text(text[:-20])
    with pytest.raises(ArtifactError, match=r"gammas\.json: not as written"):
        ensemble.predict_proba(test)
    path.unlink()
    try:
        plain = ensemble.predict_proba(test)
        assert np.abs(plain - np.exp(of_file.log_probs)).max() > 1e-6, "without a test file gamma is 1"
        predict(ensemble, test.take(range(10)), jobs=1)
        assert not path.exists(), "ten rows are too few"
    finally:
        path.write_text(text)


def test_a_training_battle_is_explained_out_of_fold(work: Path) -> None:
    ensemble, train = Ensemble.load(work), read_battles(work / "train.csv")
    name = train.ids[7]
    found = ensemble.explain_training(train, name, neighbours=4)
    assert found.source == "out of fold"
    assert found.vote == "AB"[train.outcomes()[7]] if train.outcomes()[7] < 2 else found.vote == "tie"
    for one in found.members:
        mine = MemberArtifacts(Workspace(work), one.name).load()[0].aligned_to(train.ids).probs[7]
        assert [one.chances.a, one.chances.b, one.chances.tie] == pytest.approx(mine.tolist())
        assert one.level is not None
    assert sums(found) == pytest.approx((found.delta, found.tau), abs=1e-9)
    assert len(found.nearest) == 4
    assert name not in [one.id for one in found.nearest]
    with pytest.raises(InputError, match="no training battle has the id 'x'; choose"):
        ensemble.explain_training(train, "x")
    with pytest.raises(InputError, match="not the training battles"):
        ensemble.explain_training(train.take(range(50)), name)
    with pytest.raises(InputError, match="takes one battle, given 90"):
        ensemble.explain(train)


def test_a_row_of_the_test_file_is_explained_from_what_is_kept_of_it(work: Path, test: Battles) -> None:
    """The same explanation as the fold models give, without asking one; it is of the submission's row."""
    ensemble, train = Ensemble.load(work), read_battles(work / "train.csv")
    run_again = predict(ensemble, test, jobs=1)
    for row in (0, 11):
        kept = explain_test(ensemble, test, row, train=TrainingPrompts(train), neighbours=3)
        asked = ensemble.explain(test.take([row]), train=train, neighbours=3)
        assert kept.source == "kept predictions"
        mine = np.log([kept.chances.a, kept.chances.b, kept.chances.tie])
        np.testing.assert_allclose(mine, run_again.log_probs[row], atol=1e-9)
        assert close(kept.to_dict() | {"source": ""}, asked.to_dict() | {"source": ""})
    other = sample.make_arena(30, seed=9).battles.without_outcomes()
    assert explain_test(ensemble, other, 2).source == "fold models", "of another file nothing is kept"
    assert explain_test(ensemble, test.take([3]), 0).source == "fold models"
    with pytest.raises(InputError, match="without a workspace"):
        explain_test(dataclasses.replace(ensemble, workspace=None), test, 0)


@pytest.mark.parametrize("models", [[0, 2], "refit"])
def test_a_row_that_other_models_predicted_is_explained_by_these(
    work: Path, test: Battles, models: list[int] | str
) -> None:
    ensemble = Ensemble.load(work)
    if models == "refit":
        trained = train_members(
            work / "train.csv", ["one", "two"], workspace=work, test=work / "test.csv", refit=True, n_folds=3
        )
        submitted = predict_test(trained, ensemble)
    else:
        submitted = predict(ensemble, test, jobs=1, use_folds=models)
    try:
        found = explain_test(ensemble, test, 11)
    finally:
        of_all = predict(ensemble, test, jobs=1)
    assert found.source == "kept predictions"
    mine = np.log([found.chances.a, found.chances.b, found.chances.tie])
    np.testing.assert_allclose(mine, submitted.log_probs[11], atol=1e-9)
    assert np.abs(mine - of_all.log_probs[11]).max() > 1e-6, "other models predict other things"
    assert sums(found) == pytest.approx((found.delta, found.tau), abs=1e-9)
    assert all(one.words for one in found.members)


def close(one: object, other: object) -> bool:
    """Whether nested values are the same but for rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == (pytest.approx(other, abs=1e-9) if isinstance(other, float) else other)


def test_a_language_model_is_not_loaded_to_hear_that_it_names_no_words(
    work: Path, test: Battles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(fold_models, "load", loaded)
    place, battle = Workspace(work), test.take([0])
    for name, head in HEADS.items():
        if head.needs_base:
            module = importlib.import_module(head.module)
            assert not {"predict_level", "word_parts"} & set(dir(module)), name
            found = reasons_of(place, "one", name, battle, n_classes=3)
            assert (found.level, found.words, found.equivariant) == (None, {}, head.swap_equivariant)
    assert reasons_of(place, "one", None, battle, n_classes=3).level is None


def test_at_equal_length_only_words_are_left(ensemble: Ensemble) -> None:
    text = "The same words stand here."
    longer = {"prompt": "Why?", "response_a": text, "response_b": "\n\n".join([text] * 3)}
    found = ensemble.explain(longer)
    assert abs(found.delta) > 0.05
    same = {**longer, "response_b": text}
    at_same_length = ensemble.explain(same)
    assert at_same_length.delta == pytest.approx(0, abs=1e-12)
    assert at_same_length.level.a == pytest.approx(at_same_length.level.b)
    assert abs(np.log(found.level.a / found.level.b)) < abs(found.delta)


def test_position_bias_is_the_mean_over_fold_models_and_unknown_of_one_order() -> None:
    ids = pl.Series("id", [1])
    parts = [
        Predictions(
            ids,
            from_delta_tau(np.array([shift + 0.4]), np.zeros(1)),
            np.zeros(1, dtype=np.int64),
            from_delta_tau(np.array([shift - 0.2]), np.zeros(1)),
        )
        for shift in (0.0, 1.0)
    ]
    assert _member("m", View(parts, None, None, False, {}), 0, 0).position_bias == pytest.approx(0.3)
    alone = [Predictions(ids, parts[0].log_probs, np.zeros(1, dtype=np.int64))]
    assert _member("m", View(alone, None, None, False, {}), 0, 0).position_bias is None
    assert _member("m", View(alone, None, None, True, {}), 0, 0).position_bias == 0
    twice = [dataclasses.replace(one, swap_log_probs=one.log_probs) for one in alone]
    assert _member("m", View(twice, None, None, False, {}), 0, 0).position_bias is None


def test_a_hard_verdict_of_another_tool_that_holds_in_both_orders_has_no_bias() -> None:
    shown = np.log([[0.98, 0.01, 0.01]])
    same = Predictions(pl.Series("id", ["x"]), shown, np.zeros(1, dtype=np.int32), shown)
    assert not explaining.in_both_orders(same), "a row outside the share of the second order looks alike"
    assert explaining.in_both_orders(same, external=True)
    alone = Predictions(same.ids, shown, same.fold)
    assert not explaining.in_both_orders(alone, external=True)


def test_a_row_outside_the_share_of_the_second_order_is_known_in_one_order(
    work: Path, test: Battles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a row holds its one order twice: nobody knows what exchanged answers would give."""
    ensemble, train = Ensemble.load(work), read_battles(work / "train.csv")
    predict(ensemble, test, jobs=1)

    def one_order(*given: Any, **named: Any) -> Reasons:
        return dataclasses.replace(reasons_of(*given, **named), equivariant=False)

    def twice(of: MemberArtifacts, key: PredictionKey) -> Predictions | None:
        found = load_any_share(of, key)
        return None if found is None else dataclasses.replace(found, swap_log_probs=found.log_probs)

    monkeypatch.setattr(explaining, "reasons_of", one_order)
    monkeypatch.setattr(submission, "load_any_share", twice)
    for found in (explain_test(ensemble, test, 0), ensemble.explain_training(train, train.ids[7])):
        assert found.source != "fold models"
        assert found.exchanged is None
        assert {one.position_bias for one in found.members} == {None}
        asks = "a file of this battle alone" in " ".join(text_of(found).split())
        assert asks == (found.source == "kept predictions")
        others = [dataclasses.replace(one, external=True) for one in found.members]
        assert "a file of" not in text_of(dataclasses.replace(found, members=others)), "it would be refused"


def test_words_sum_to_what_a_lexical_member_says_at_equal_length(ensemble: Ensemble, test: Battles) -> None:
    for row in range(4):
        view = view_of(ensemble._models("one"), test.take([row]))
        assert view.level is not None
        level = average_folds(list(view.level)).log_probs[0]
        assert sum(view.words.values()) == pytest.approx(level[0] - level[1], abs=1e-9)
        swapped = view_of(ensemble._models("one"), test.take([row]).swapped())
        assert swapped.words == pytest.approx({term: -part for term, part in view.words.items()})
        found = ensemble.explain(test.take([row])).members[0].words
        assert [abs(one.delta) for one in found] == sorted((abs(one.delta) for one in found), reverse=True)
        assert {one.term: one.delta for one in found}.items() <= view.words.items()


def test_kinds_of_features_by_name() -> None:
    names = {"chars.log": "length", "lines.sum": "length", "bold.rel": "format", "prompt_words": "prompt"}
    names |= {"pair_jaccard": "prompt", "prompt_echoed.diff": "format", "capital_share.gap": "format"}
    assert {name: kind_of(name) for name in names} == names


def test_neighbours_are_those_of_nearest_prompts() -> None:
    rows = [
        {"id": k, "prompt": prompt, "response_a": "x", "response_b": "y", "outcome": outcome}
        for k, (prompt, outcome) in enumerate(
            [("Name the capital of France", 0), ("capital of Peru", 2), ("Bake bread", 1), ("", None)]
        )
    ]
    train = TrainingPrompts(Battles.from_rows(rows))
    found = train.nearest(Battles.from_rows([{**rows[0], "id": 9}]), 3)
    assert [(one.id, one.vote) for one in found] == [(0, "A"), (1, "tie")]
    assert found[0].similarity == pytest.approx(1)
    assert [one.id for one in train.nearest(Battles.from_rows(rows[:1]), 3, leave_out=True)] == [1]
    assert train.nearest(Battles.from_rows(rows[3:]), 3) == []
    empty = TrainingPrompts(Battles.from_rows([{**rows[3], "prompt": ["", None]}]))
    assert empty.nearest(Battles.from_rows(rows[:1]), 3) == []


def test_where_no_tie_can_be_voted_there_is_no_tau(tmp_path: Path) -> None:
    battles = sample.make_arena(90, seed=3).battles
    frame = battles.frame.filter(pl.col("outcome") < 2)
    columns = [pl.col(name).list.join("\n") for name in ("prompt", "response_a", "response_b")]
    winner = pl.col("outcome").replace_strict({0: "model_a", 1: "model_b"}, return_dtype=pl.String)
    frame.select("id", *columns, winner.alias("winner")).write_csv(tmp_path / "train.csv")
    atomic.write_bytes(tmp_path / "models" / "one" / "recipe.toml", RECIPE.encode())
    trained = train_members(tmp_path / "train.csv", ["one"], workspace=tmp_path, n_folds=3, jobs=1)
    assert trained.n_classes == 2
    build_ensemble(trained)
    found = Ensemble.load(tmp_path).explain(trained.train.take([0]))
    assert found.tau is None
    assert found.chances.tie == 0
    assert sums(found) == pytest.approx((found.delta, 0), abs=1e-9)


def test_the_verb(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = read_battles(work / "train.csv")
    place = ["--workspace", str(work)]
    assert run(["explain", "--data", str(work / "train.csv"), "--id", str(train.ids[0]), *place]) == 0
    out = capsys.readouterr().out
    for words in (
        "by members that never saw it; the vote was",
        "in delta",
        "one ",
        "position bias",
        "equal len",
        "words that count for",
    ):
        assert words in out
    assert "nearest training battle" in out
    assert max(map(len, out.splitlines())) <= 118
    test = read_battles(work / "test.csv")
    arguments = ["explain", "--test", str(work / "test.csv"), *place]
    assert run([*arguments, "--id", str(test.ids[0]), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["id"] == test.ids[0]
    assert facts["nearest"] == []
    assert facts["source"] == "kept predictions"
    alone = Ensemble.load(work).predict_proba(test.take([0]))[0, 0]
    assert facts["chances"]["a"] == pytest.approx(alone, abs=1e-9)
    for wrong, message in (
        ([*arguments], "24 battles; choose one with --id"),
        ([*arguments, "--id", "nobody"], "no battle with the id 'nobody'; choose"),
    ):
        assert run(wrong) == 1
        assert message in capsys.readouterr().err
    assert run(["explain", *place]) == 2


def test_nothing_is_cut_in_a_narrow_terminal(work: Path) -> None:
    ensemble, test = Ensemble.load(work), read_battles(work / "test.csv")
    found = ensemble.explain(test.take([0]), train=work / "train.csv")
    nearest = [dataclasses.replace(found.nearest[0], prompt="word " * 40 + "\x9b31m\u202e\x1b[31mlast")]
    found = dataclasses.replace(found, nearest=nearest)
    for width in (60, 80, 118):
        text = text_of(found, width)
        words = text.split()  # of the prompt, whose column wraps
        assert words.count("word") == 40
        assert any(word.endswith("last") for word in words)
        assert not {"\x1b", "\x9b", "\u202e", "\x7f"} & set(text)
        for member in found.members:
            shown = [one for one in member.words if one.delta >= 0.01][:6]
            assert all(f"{one.delta:+.2f}" in text for one in shown)
        tail = text.splitlines()[text.splitlines().index("") :]
        assert max(len(line) for line in tail if "words that count" in line or line[:4] == "    ") <= 118
