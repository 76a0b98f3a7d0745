"""The folds' averaged weights predict in place of the folds: measured first, refused with the figure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from workspaces import Arena, refusal, tree

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.cards import AVERAGED
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.calibration import fold_average_gamma
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline import averaging, workflow
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.predictions import Predictions, average_folds

LM = """backbone = "classify"
base = "tiny:decoder"
[prompt]
template = "short-1"
max_tokens = 64
[train]
learning_rate = 2e-3
epochs = 2
[adapter]
r = 2
[tiny]
hidden = 16
layers = 1
vocabulary = 400
"""
LEXICAL = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'


class Both(Arena):
    """A finished workspace of a language model and a lexical member."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workspace = folder, folder / "w"
        for name, text in sample.files(60, 30, seed=3).items():
            (folder / name).write_text(text)
        (folder / "new.csv").write_text(sample.files(2, 25, seed=4)["test.csv"])
        for name, text in (("mine", LM), ("words", LEXICAL)):
            atomic.write_bytes(self.workspace / "models" / name / "recipe.toml", text.encode())

    def train(self, verb: str, *more: str, workspace: Path | None = None) -> list[str]:
        return [
            verb, "--data", str(self.folder / "train.csv"), "--workspace", str(workspace or self.workspace),
            "--models", "mine,words", "--folds", "3", "--jobs", "1", *more,
        ]  # fmt: skip


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Both:
    torch.set_num_threads(1)
    made = Both(tmp_path_factory.mktemp("average"))
    assert cli.run(made.submission()) in (0, 4)
    return made


def copied(arena: Both, tmp_path: Path) -> Both:
    here = Both.__new__(Both)
    here.folder, here.workspace = arena.folder, Path(shutil.copytree(arena.workspace, tmp_path / "w"))
    return here


def member(arena: Both, name: str = "mine") -> MemberArtifacts:
    return MemberArtifacts(Workspace(arena.workspace), name)


def of_new(arena: Both, use_folds: str | None) -> tuple[list[Predictions], dict[str, float]]:
    battles = read_battles(arena.folder / "new.csv")
    found = workflow.predict(
        Ensemble.load(arena.workspace),
        battles,
        workspace=arena.workspace,
        jobs=1,
        use_folds="averaged" if use_folds else None,
    )
    return member(arena).load_test(), found.gammas


def test_it_predicts_like_the_folds_and_is_as_sharp_as_their_corrected_average(
    arena: Both, tmp_path: Path
) -> None:
    here = copied(arena, tmp_path)
    folds, _ = of_new(here, None)
    words = member(here, "words").load_test()
    [one], gammas = of_new(here, "averaged")
    assert set(one.fold.tolist()) == {AVERAGED}
    assert len(member(here, "words").load_test()) == len(words) == 3, "a lexical member has no such average"
    assert gammas["mine"] == 1
    gamma = fold_average_gamma([part.log_probs for part in folds])
    card = member(here).fold_card(AVERAGED)
    assert card is not None
    measured = card.facts["averaged"]
    assert measured["rows"] == len(folds[0])
    assert measured["gamma"] == pytest.approx(gamma, abs=1e-9)
    mean = average_folds(folds).log_probs
    assert 0 <= measured["mean_kl"] <= 0.005
    sharpened = gamma * mean
    sharpened -= np.log(np.exp(sharpened).sum(axis=1, keepdims=True))
    spread = max(np.abs(part.log_probs - mean).max() for part in folds)
    assert np.abs(one.log_probs - sharpened).max() < 0.3 * spread


def test_its_folder_alone_is_enough_and_is_not_made_twice(arena: Both, tmp_path: Path) -> None:
    here = copied(arena, tmp_path)
    out = tmp_path / "out.csv"
    assert cli.run(here.predict("--use-folds", "averaged", "--out", str(out))) == 0
    wanted, card = out.read_bytes(), member(here).fold_card(AVERAGED)
    shutil.rmtree(here.workspace / "oof" / "mine")
    for fold in range(3):
        shutil.rmtree(here.workspace / "models" / "mine" / f"fold-{fold}")
    assert cli.run(here.predict("--use-folds", "averaged", "--out", str(out))) == 0
    assert out.read_bytes() == wanted
    assert member(here).fold_card(AVERAGED) == card


def test_a_submission_of_it_changes_nothing_out_of_fold(arena: Both, tmp_path: Path) -> None:
    here = copied(arena, tmp_path)
    before = tree(here.workspace)
    assert cli.run(here.submission("--average-folds")) in (0, 4)
    after = tree(here.workspace)
    for name in ("oof/mine/oof.parquet", "oof/mine/card.json", "oof/ensemble/oof.parquet"):
        assert after[name] == before[name]
    assert after["submission.csv"] != before["submission.csv"]
    assert json.loads(after["oof/mine/test.json"])["key"]["use_folds"] == "averaged"
    assert json.loads(after["oof/words/test.json"])["key"]["use_folds"] is None
    assert cli.run(here.submission("--average-folds")) in (0, 4)
    assert tree(here.workspace) == after, "a second run does nothing"


def test_gammas_that_fewer_models_gave_are_not_kept_for_single_battles(arena: Both, tmp_path: Path) -> None:
    here = copied(arena, tmp_path)
    kept = here.workspace / "oof" / "ensemble" / "gammas.json"
    assert json.loads(kept.read_text())["folds"] == {"mine": 3, "words": 3}
    for option in ("--average-folds", "--refit"):
        kept.unlink(missing_ok=True)
        assert cli.run(here.submission(option)) in (0, 4)
        assert not kept.exists(), "a single battle is predicted by all folds"
    assert cli.run(here.predict("--out", str(tmp_path / "out.csv"))) == 0
    assert json.loads(kept.read_text())["folds"] == {"mine": 3, "words": 3}


def test_an_average_that_predicts_otherwise_is_refused_with_the_figure(
    arena: Both, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = copied(arena, tmp_path)
    recipe = here.workspace / "models" / "mine" / "recipe.toml"
    recipe.write_text(recipe.read_text() + "[predict]\ntolerance = 0.0\n")
    line = refusal(here.predict("--use-folds", "averaged", "--strict"), capsys, codes=(1, 4))
    assert "predicts otherwise than its 3 folds on average (mean KL" in line
    assert "on 25 rows; predict.tolerance = 0)" in line
    assert "predict with all folds" in line
    assert not list((here.workspace / "models" / "mine").glob("averaged*"))
    assert cli.run(here.predict("--out", str(tmp_path / "out.csv"))) == 0, "the folds predict as before"


def test_too_few_battles_do_not_measure_it(
    arena: Both, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = copied(arena, tmp_path)
    few = tmp_path / "few.csv"
    few.write_text(sample.files(2, 5, seed=4)["test.csv"])
    arguments = ["--use-folds", "averaged", "--strict", "--test", str(few)]
    line = refusal(here.predict(*arguments), capsys, codes=(1, 4))
    assert "on 20 battles or more and keeps their gamma; 5 are to be predicted: predict a longer" in line
    assert not list((here.workspace / "models" / "mine").glob("averaged*"))
    assert cli.run(here.predict("--use-folds", "averaged", "--out", str(tmp_path / "out.csv"))) == 0
    assert cli.run(here.predict(*arguments, "--out", str(tmp_path / "out.csv"))) == 0, "once it is made"


def test_it_is_not_used_for_other_folds_than_it_was_made_of(
    arena: Both, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = copied(arena, tmp_path)
    assert cli.run(here.predict("--use-folds", "averaged", "--out", str(tmp_path / "out.csv"))) == 0
    here.edit_card("models/mine/fold-1", lambda card: card.update(seconds=9.5))
    shutil.rmtree(here.workspace / "oof" / "mine")
    line = refusal(here.predict("--use-folds", "averaged", "--strict"), capsys, codes=(1, 4))
    assert "was averaged from another fold 1; remove it" in line
    member(here).forget()
    assert not list((here.workspace / "models" / "mine").glob("averaged*"))


def test_its_key_names_its_folds_so_that_no_other_average_stands_for_it(
    arena: Both, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = copied(arena, tmp_path)
    third = here.workspace / "models" / "mine" / "fold-2"
    aside = Path(shutil.move(third, tmp_path / "aside"))
    [two], _ = of_new(here, "averaged")
    card = member(here).fold_card(AVERAGED)
    assert card is not None
    assert card.key.folds_averaged == "0,1"
    note = here.workspace / "oof" / "mine" / "test.json"
    assert json.loads(note.read_text())["key"]["folds_averaged"] == "0,1"
    shutil.copytree(aside, third)
    for command in (here.predict("--use-folds", "averaged", "--strict"), here.submission("--average-folds")):
        line = refusal(command, capsys, codes=(1, 4))
        assert "was averaged from the folds 0, 1, and " in line
        assert "remove it and run again" in line
    shutil.rmtree(here.workspace / "models" / "mine" / "averaged")
    [three], _ = of_new(here, "averaged")
    assert json.loads(note.read_text())["key"]["folds_averaged"] == "0,1,2"
    assert np.abs(three.log_probs - two.log_probs).max() > 0
    assert cli.run(here.submission("--average-folds")) in (0, 4)


def test_where_both_orders_are_predicted_both_measure_it(arena: Both, tmp_path: Path) -> None:
    here = Both.__new__(Both)
    here.folder, here.workspace = arena.folder, tmp_path / "w"
    for name, text in (("mine", "read_orders = 2\n" + LM), ("words", LEXICAL)):
        atomic.write_bytes(here.workspace / "models" / name / "recipe.toml", text.encode())
    assert cli.run(here.submission()) in (0, 4)
    folds, _ = of_new(here, None)
    of_new(here, "averaged")
    card = member(here).fold_card(AVERAGED)
    assert card is not None
    gamma = fold_average_gamma([part.combined().log_probs for part in folds])
    first = fold_average_gamma([part.log_probs for part in folds])
    assert abs(gamma - first) > 1e-6, "the orders differ"
    assert card.facts["averaged"]["gamma"] == pytest.approx(gamma, abs=1e-9)


def test_what_it_needs_is_named(arena: Both, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = copied(arena, tmp_path)
    assert "--average-folds needs --test" in refusal(here.train("oof", "--average-folds"), capsys)
    assert "give one" in refusal(here.submission("--average-folds", "--refit"), capsys)
    for fold in (1, 2):
        shutil.rmtree(here.workspace / "models" / "mine" / f"fold-{fold}")
    line = refusal(here.predict("--use-folds", "averaged", "--strict"), capsys, codes=(1, 4))
    assert "an average needs the models of two folds or more" in line
    assert averaging.ROWS == 256
