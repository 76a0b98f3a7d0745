"""``[predict]``: how a model predicts on another machine, and what that changes, measured."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from architectures import battles
from scipy.special import rel_entr
from trained_member import Trained
from workspaces import refusal

from arena_ensemble.artifacts import shards
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.battles import Battles
from arena_ensemble.errors import MemberError, RecipeError
from arena_ensemble.kaggle.contents import pack_members
from arena_ensemble.pipeline import equivalence, workflow
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.predictions import Floats
from arena_ensemble.recipes import PredictSettings, recipe_from

BF16 = '[predict]\nprecision = "bf16"\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("predict"), test_rows=8)


@pytest.fixture
def trained(made: Trained) -> Iterator[Trained]:
    yield made
    made.recipe.write_text(made.text)


def test_another_number_type_is_measured_and_accepted(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    plain = trained.predicted().log_probs
    assert trained.checks() == {}, "as it was trained: nothing to measure"
    with caplog.at_level(logging.INFO, logger="arena_ensemble"):
        rounded = trained.predicted(BF16).log_probs
    found = trained.checks()
    assert list(found) == ["0", "1", "2"]
    for fold, one in found.items():
        assert 0 < one.mean_kl < 0.005
        assert 0 < one.mean_difference < one.max_difference < 0.2
        assert one.rows == len(pl.read_parquet(trained.member.models / f"fold-{fold}" / "check.parquet"))
        assert (one.trained["dtype"], one.running["dtype"]) == ("float32", "bfloat16")
    assert sum("dtype float32 → bfloat16: mean KL" in line for line in caplog.messages) == 3
    assert 0 < np.abs(rounded - plain).max() < 0.2
    np.testing.assert_array_equal(
        trained.predicted().log_probs, plain, "predictions of other settings are not reused"
    )
    assert trained.checks() == {}


def test_the_same_figure_as_scipys(trained: Trained) -> None:
    trained.predicted(BF16)
    frame = pl.read_parquet(trained.member.models / "fold-1" / "check.parquet")
    before = np.exp(frame.select("log_p_a", "log_p_b", "log_p_tie").to_numpy())
    rng = np.random.default_rng(0)
    after = rng.dirichlet(np.ones(3), len(before))
    wanted = rel_entr(before, after).sum(axis=1).mean()
    assert equivalence.differences(np.log(before), np.log(after))["mean_kl"] == pytest.approx(wanted)


def test_no_tolerance_is_refused_with_the_setting_to_change(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    trained.recipe.write_text(trained.text + BF16 + "tolerance = 0.0\n")
    shutil.rmtree(trained.member.predictions)
    command = ["predict", "--test", str(trained.test), "--workspace", str(trained.workspace), "--strict"]
    line = refusal(command, capsys, codes=(1, 2, 3, 4))
    assert line.count("mine") == 1, "the member and its fold are named once"
    assert re.search(
        "member mine: fold [012]: dtype float32 → bfloat16 changes its predictions too much", line
    )
    assert 'set precision = "fp32" in [predict], or raise predict.tolerance' in line
    assert not list(trained.member.predictions.glob("*.parquet")), "nothing of it is kept"
    trained.member.predictions.mkdir(exist_ok=True)


def test_noise_is_refused_and_predict_proba_measures_each_fold(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []
    differences = equivalence.differences
    monkeypatch.setattr(equivalence, "differences", lambda *pair: measured.append(pair) or differences(*pair))
    trained.recipe.write_text(trained.text + BF16)
    Ensemble.load(trained.workspace).predict_proba(trained.test)
    assert len(measured) == 3
    log_probs = MemberModel.log_probs

    def noisy(self: MemberModel, *given: Any) -> Floats:
        found = log_probs(self, *given) + np.random.default_rng(0).normal(size=3)
        return found - np.log(np.exp(found).sum(axis=1, keepdims=True))

    monkeypatch.setattr(MemberModel, "log_probs", noisy)
    with pytest.raises(MemberError, match=r"too much .* set precision = \"fp32\""):
        Ensemble.load(trained.workspace).predict_proba(trained.test)


def test_what_runs_as_it_was_trained_is_not_predicted_again(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equivalence, "differences", None)
    trained.recipe.write_text(trained.text + "[predict]\ntokens = 200\ntolerance = 0.0\n")
    Ensemble.load(trained.workspace).predict_proba(trained.test)


@dataclass
class Moved:
    """A model whose predictions are shifted by as much as one may ask, and where it runs."""

    running: dict[str, str]
    shift: float
    facts: dict[str, Any] = field(default_factory=dict)

    def predict(self, fitted: Moved, battles: Battles, **named: Any) -> Floats:
        logits = np.tile([0.3, fitted.shift, 0.0], (len(battles), 1))
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


AS_TRAINED = {"device": "H100", "dtype": "bfloat16", "attention": "sdpa", "quantise": "none"}


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"quantise": "4bit", "dtype": "float16"}, 'set quantise = "none"'),
        ({"dtype": "float32"}, 'set precision = "bf16"'),
        ({"dtype": "float16", "device": "T4"}, 'set precision = "fp32"'),
        ({"attention": "eager"}, 'set attention = "sdpa"'),
        ({"device": "T4"}, 'set precision = "fp32"'),
    ],
)
def test_the_remedy_is_the_setting_that_differs(tmp_path: Path, change: dict[str, str], remedy: str) -> None:
    recipe = recipe_from({"backbone": "classify", "base": "org/name"}, name="mine")
    backbone: Any = Moved(AS_TRAINED, 0.0)
    equivalence.keep_rows(tmp_path, backbone, Moved(AS_TRAINED, 0.0), battles(9), recipe)
    card: Any = SimpleNamespace(facts=AS_TRAINED)
    assert equivalence.check(tmp_path, card, backbone, Moved(AS_TRAINED, 9.0), recipe) is None
    near, far = Moved(AS_TRAINED | change, 0.01), Moved(AS_TRAINED | change, 0.5)
    found = equivalence.check(tmp_path, card, backbone, near, recipe)
    assert found is not None
    assert found.rows == 9
    with pytest.raises(MemberError, match=remedy):
        equivalence.check(tmp_path, card, backbone, far, recipe)


def test_adapters_stored_in_half_are_measured(trained: Trained, tmp_path: Path) -> None:
    plain = trained.predicted().log_probs
    pack_members(Workspace(trained.workspace), tmp_path, bases={})
    packed = MemberArtifacts(Workspace(tmp_path / "workspace"), "mine")
    np.testing.assert_allclose(
        trained.predicted(workspace=tmp_path / "workspace").log_probs, plain, atol=0.01
    )
    checks = shards.note_of(packed.predictions / "test.parquet").checks
    assert {one.running["stored"] for one in checks.values()} == {"adapters in float16"}
    assert all(one.mean_kl < 1e-4 for one in checks.values())


def test_a_fold_need_not_keep_texts(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tmp_path / "models" / "mine" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(trained.text + "[predict]\ncheck_rows = 0\n")
    data = trained.folder / "train.csv"
    run = workflow.train_members(data, ["mine"], workspace=tmp_path, n_folds=3, jobs=1)
    workflow.build_ensemble(run)
    assert not list(tmp_path.rglob("check.parquet"))
    recipe.write_text(trained.text + BF16)
    Ensemble.load(tmp_path).predict_proba(trained.test)
    assert "is not measured, since the fold keeps no rows" in caplog.text


OTHER: dict[str, Any] = {
    "precision": "bf16", "attention": "eager", "quantise": "8bit", "tokens": 7, "tolerance": 0.1,
    "check_rows": 0, "merge": "auto",
}  # fmt: skip


def test_no_setting_of_prediction_is_part_of_what_was_learned() -> None:
    assert set(OTHER) == set(PredictSettings.model_fields)
    values = {"backbone": "classify", "base": "org/name"}
    plain = recipe_from(values)
    for name, value in OTHER.items():
        other = recipe_from({**values, "predict": {name: value}})
        assert other.fit_digest() == plain.fit_digest()
        numbers = name in ("precision", "attention", "quantise", "merge")
        assert (other.prediction_numbers() != plain.prediction_numbers()) == numbers
    changed = recipe_from({**values, "predict": OTHER}).for_prediction()
    assert (changed.train.precision, changed.train.attention) == ("bf16", "eager")
    assert changed.adapter.quantise == "8bit"
    assert plain.for_prediction() == plain


def test_the_old_name_of_the_tokens_is_accepted_for_one_release(caplog: pytest.LogCaptureFixture) -> None:
    values: dict[str, Any] = {"backbone": "classify", "base": "org/name", "train": {"epochs": 2}}
    old = recipe_from({**values, "train": {"epochs": 2, "predict_tokens": 99}})
    assert old == recipe_from({**values, "predict": {"tokens": 99}})
    assert old.fit_digest() == recipe_from(values).fit_digest()
    assert "train.predict_tokens is now predict.tokens" in caplog.text


@pytest.mark.parametrize("change", ["4bit", "8bit"])
def test_weights_trained_in_full_are_not_quantised(change: str) -> None:
    values: dict[str, Any] = {"backbone": "classify", "base": "org/name", "adapter": {"kind": "full"}}
    with pytest.raises(RecipeError, match=r"predict\.quantise = .* leave it out"):
        recipe_from({**values, "predict": {"quantise": change}})
