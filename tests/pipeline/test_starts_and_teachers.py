"""Second stages and several teachers: fold k from fold k, means of targets, and what is flagged."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from arena_ensemble import cross_fit, make_folds
from arena_ensemble.artifacts.cards import REFIT
from arena_ensemble.artifacts.fold_file import keep_folds
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.language.adapters import WEIGHTS, read_weights
from arena_ensemble.backbones.language.objective import example_loss
from arena_ensemble.errors import InputError, RecipeError, StaleError
from arena_ensemble.pipeline import distillation, starts
from arena_ensemble.pipeline.cross_fit import run_job
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.recipes import Recipe, recipe_from
from arena_ensemble.sample import make_arena

BATTLES = make_arena(36, seed=2).battles
FOLDS = make_folds(BATTLES, n_folds=3)
SMALL: dict[str, Any] = {
    "backbone": "classify",
    "base": "tiny:decoder",
    "prompt": {"template": "short-1", "max_tokens": 96},
    "adapter": {"r": 2},
    "tiny": {"hidden": 16, "layers": 1, "vocabulary": 512},
}


def small(name: str, folder: Path | None = None, **train: Any) -> Recipe:
    return recipe_from({**SMALL, "train": {"batch_rows": 8, **train}}, name=name, folder=folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a first stage, and a second that starts from it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("w")
    second = small("second", start="member:first", learning_rate=1e-9)
    result = cross_fit([second, small("first", learning_rate=1e-2)], BATTLES, FOLDS, workspace=root, jobs=1)
    assert result.finished == ["first", "second"], result.failed
    return root


def test_every_fold_starts_from_the_same_fold_of_the_first_stage(place: Path) -> None:
    for fold in range(3):
        for other in range(3):
            before = read_weights(place / "models" / "first" / f"fold-{other}" / WEIGHTS)
            after = read_weights(place / "models" / "second" / f"fold-{fold}" / WEIGHTS)
            same = all(torch.allclose(after[name], before[name], atol=1e-6) for name in after)
            assert same == (fold == other)
    card = MemberArtifacts(Workspace(place), "second").card()
    assert card is not None
    assert card.folds_verified
    assert [one["start"]["folds_verified"] for one in card.learned_from] == [True] * 3


def test_a_refit_starts_from_the_refit_of_the_first_stage(tmp_path: Path) -> None:
    """All rows in both stages: no fold of the first is its start, and without a refit there it is refused."""
    torch.set_num_threads(1)
    first = small("first", learning_rate=1e-2)
    second = small("second", start="member:first", learning_rate=1e-9)
    rows = BATTLES.take(np.arange(18))
    folds = make_folds(rows, n_folds=2)
    test = make_arena(4, seed=5).battles.without_outcomes()
    with Workspace(tmp_path).locked("test"):
        keep_folds(Workspace(tmp_path), folds, rows)
    job = Job(tmp_path, rows, folds, test, one_model=REFIT)
    result = run_job(job, {"first": first, "second": second}, jobs=1)
    assert result.finished == ["first", "second"], result.failed
    models = tmp_path / "models"
    before = {name: read_weights(models / "first" / name / WEIGHTS) for name in ("fold-0", "fold-1", "refit")}
    after = read_weights(models / "second" / "refit" / WEIGHTS)
    same = {
        place: all(torch.allclose(after[name], weights[name], atol=1e-6) for name in after)
        for place, weights in before.items()
    }
    assert same == {"fold-0": False, "fold-1": False, "refit": True}
    card = MemberArtifacts(Workspace(tmp_path), "second").fold_card(REFIT)
    assert card is not None
    assert card.rows == len(rows)
    assert card.learned_from["start"] == {"name": "member:first", "folds_verified": True}
    for name in ("first", "second"):
        shutil.rmtree(models / name / "refit")
    again = run_job(job, {"second": second}, jobs=1)
    assert (
        "the refit of 'first', its start, is not fitted; name first in --models too" in again.failed["second"]
    )


def test_the_first_stage_is_part_of_what_the_second_is(place: Path) -> None:
    workspace = Workspace(place)
    recipe = small("second", start="member:first")
    digest = starts.start_digest(workspace, recipe, 3)
    card = MemberArtifacts(workspace, "second").fold_card(0)
    assert card is not None
    assert card.key.start == digest
    with pytest.raises(InputError, match=r"fold 0 of 'absent', .* not fitted yet; name absent in --models"):
        starts.start_digest(workspace, small("x", start="member:absent"), 3)
    with pytest.raises(StaleError, match="with another fold file"):
        starts.start_of(workspace, recipe, make_folds(BATTLES, n_folds=3, seed=9), 0)


def test_a_start_of_unknown_origin_is_used_and_flagged(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("arena_ensemble"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("arena_ensemble"), "handlers", [])
    workspace = Workspace(place)
    (place / "models" / "late").mkdir()
    recipe = small("late", folder=place / "models" / "late", start="../first/fold-0", epochs=0)
    result = cross_fit(recipe, BATTLES, FOLDS, workspace=place, jobs=1)
    assert result.finished == ["late"], result.failed
    said = [one for one in caplog.messages if "nothing shows which rows" in one]
    assert said == [
        "member late: nothing shows which rows ../first/fold-0 was trained on, so its folds are unverified"
    ]
    card = MemberArtifacts(workspace, "late").card()
    assert card is not None
    assert not card.folds_verified
    assert card.learned_unverified
    by_fold = small("late", folder=place / "models" / "late", start="../first")
    assert starts.start_digest(workspace, by_fold, 3) != starts.start_digest(workspace, recipe, 3)
    with pytest.raises(InputError, match=r"fold-3 holds no PEFT adapter .* every fold needs its own"):
        starts.start_digest(workspace, by_fold, 4)
    with pytest.raises(InputError, match="holds no PEFT adapter and no fitted fold; write member:NAME"):
        starts.start_digest(workspace, small("x", folder=tmp_path, start="./nothing"), 3)


def test_older_digests_are_unchanged_by_settings_at_their_defaults() -> None:
    recipe = recipe_from({"backbone": "classify", "base": "org/base"})
    explicit = recipe_from(
        {"backbone": "classify", "base": "org/base", "train": {"start": ""}, "soft": {"loss": "kl"}}
    )
    assert recipe.fit_digest() == explicit.fit_digest()
    assert "start" not in json.dumps(recipe._identity())
    for change in ({"train": {"start": "member:x"}}, {"soft": {"loss": "kl+cosine"}}):
        other = recipe_from({"backbone": "classify", "base": "org/base", **change})
        assert other.fit_digest() != recipe.fit_digest()


# --- several teachers

TEACHERS = st.integers(0, 10_000).map(
    lambda seed: functional.log_softmax(
        torch.randn(3, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2, dim=2
    )
)


@given(TEACHERS, st.floats(0.5, 6.0))
def test_the_mean_of_teachers_has_the_gradient_of_the_mean_of_losses(
    teachers: torch.Tensor, temperature: float
) -> None:
    """torch's own kl_div against each teacher is the oracle."""
    weights = [0.5, 1.5, 2.0]
    mean = torch.from_numpy(distillation.averaged(list(teachers.numpy()), weights, temperature))
    logits = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3).requires_grad_()
    labels = torch.zeros(5, dtype=torch.int64)
    example_loss(logits, labels, mean, temperature=temperature, share=1.0).sum().backward()
    own = logits.grad
    logits.grad = None
    total = torch.zeros(())
    for weight, teacher in zip(weights, teachers, strict=True):
        target = functional.softmax(teacher / temperature, dim=1)
        log_q = functional.log_softmax(logits / temperature, dim=1)
        kl = functional.kl_div(log_q, target, reduction="sum")
        total = total + weight / sum(weights) * temperature**2 * kl
    total.backward()
    torch.testing.assert_close(own, logits.grad)


def test_cosine_is_torchs_own_and_its_gradient_is_right() -> None:
    logits = torch.tensor([[0.3, -1.0, 0.2], [2.0, 0.1, -0.4]], dtype=torch.float64, requires_grad=True)
    teacher = torch.log_softmax(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.5, 0.1]], dtype=torch.float64), 1)
    labels = torch.tensor([0, 2])

    def loss(values: torch.Tensor, cosine: bool = True) -> torch.Tensor:
        return example_loss(values, labels, teacher, temperature=3.0, share=0.8, cosine=cosine)

    p, q = functional.softmax(teacher / 3, 1), functional.softmax(logits / 3, 1)
    more = 0.8 * functional.cosine_embedding_loss(q, p, torch.ones(2), reduction="none")
    torch.testing.assert_close(loss(logits) - loss(logits, cosine=False), more)
    assert torch.autograd.gradcheck(loss, (logits,))


def test_a_teacher_without_an_opinion_is_left_out_of_that_row() -> None:
    first = np.log([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [np.nan] * 3])
    second = np.log([[0.4, 0.4, 0.2], [np.nan] * 3, [np.nan] * 3])
    mean = np.exp(distillation.averaged([first, second], [1, 3], 1.0))
    np.testing.assert_allclose(mean[0], [0.35, 0.375, 0.275])
    np.testing.assert_allclose(mean[1], [0.6, 0.2, 0.2])
    assert np.isnan(mean[2]).all()


def test_several_teachers_are_ordered_digested_and_recorded(tmp_path: Path) -> None:
    soft = {"teachers": ["t1", "t2"], "teacher_weights": [1, 2], "loss": "kl+cosine", "temperature": 5.0}
    with pytest.raises(RecipeError, match=r"soft\.teachers names one teacher twice"):
        recipe_from({**SMALL, "soft": {"teachers": ["a", "a"]}})
    with pytest.raises(RecipeError, match=r"soft\.teacher or soft.teachers, not both"):
        recipe_from({**SMALL, "soft": {"teachers": ["a"], "teacher": "b"}})
    with pytest.raises(RecipeError, match=r"teacher_weights has 1 numbers and soft\.teachers 2 names"):
        recipe_from({**SMALL, "soft": {"teachers": ["a", "b"], "teacher_weights": [1.0]}})
    with pytest.raises(RecipeError, match="teacher_weights"):
        recipe_from({**SMALL, "soft": {**soft, "teacher_weights": [1.0, 0.0]}})
    pupil = recipe_from({**SMALL, "soft": {**soft, "teacher_weights": [1.0, 2.0]}}, name="pupil")
    words = {"interactions": 0, "inner_folds": 0}
    teachers = [
        recipe_from({"backbone": "lexical", "lexical": {**words, "max_features": 60 * k}}, name=f"t{k}")
        for k in (1, 2)
    ]
    result = cross_fit([pupil, *teachers], BATTLES, FOLDS, workspace=tmp_path, jobs=1)
    assert result.finished == ["t1", "t2", "pupil"], result.failed
    learned = MemberArtifacts(Workspace(tmp_path), "pupil").fold_card(0)
    assert learned is not None
    facts = learned.learned_from["teacher"]
    assert (facts["name"], facts["folds_verified"], facts["rows"]) == ("t1, t2", True, len(BATTLES))
    assert [(one["name"], one["weight"]) for one in facts["each"]] == [("t1", 1.0), ("t2", 2.0)]
    digest = distillation.teacher_digest(Workspace(tmp_path), pupil)
    reverse = pupil.model_copy(update={"soft": pupil.soft.model_copy(update={"teachers": ("t2", "t1")})})
    assert digest != distillation.teacher_digest(Workspace(tmp_path), reverse)
