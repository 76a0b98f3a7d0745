"""Adapters of other tools become members: the recipe, the files, and what the guard sees."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from arena_ensemble import backbones, cli, make_folds, sample
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.fold_file import keep_folds
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import ArenaError, ArtifactError, InputError, MemberError
from arena_ensemble.pipeline import starts
from arena_ensemble.pipeline.adapter_import import import_adapter
from arena_ensemble.pipeline.cross_fit import run_job
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.predictions import Predictions
from arena_ensemble.recipes import load_recipe, recipe_from

RECIPE = """backbone = "{head}"
base = "{base}"
[prompt]
template = "short-1"
max_tokens = 128
[adapter]
r = 2
[train]
batch_rows = 8
epochs = 1
[tiny]
hidden = 16
layers = 1
vocabulary = 512
"""


def run(*arguments: str) -> int:
    return cli.run(list(arguments))


@pytest.mark.parametrize("head", ["classify", "reward"])
def test_an_exported_adapter_comes_back_as_the_same_member(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Export, import elsewhere, predict: the fold's own predictions are the oracle."""
    torch.set_num_threads(1)
    (tmp_path / "train.csv").write_text(sample.files(30, 2, seed=3)["train.csv"])
    atomic.write_bytes(
        tmp_path / "models" / "one" / "recipe.toml", RECIPE.format(head=head, base="tiny:decoder").encode()
    )
    place = ["--workspace", str(tmp_path)]
    data = ["--data", str(tmp_path / "train.csv"), "--folds", "2", "--jobs", "1", *place]
    assert run("oof", "--models", "one", *data) in (0, 4)
    for fold in ("0", "1"):
        target = str(tmp_path / "out" / f"fold-{fold}")
        assert run("export", "one", "--peft", target, "--fold", fold, *place) == 0
    base = tmp_path / "models" / "one" / "fold-0" / "base"
    capsys.readouterr()
    back = ["import", "back", "--adapter", str(tmp_path / "out"), "--base", str(base)]
    assert run(*back, *place) == 0
    printed = capsys.readouterr().out
    assert "2 adapters, one for each fold, folds unverified; run `arena-ensemble oof" in printed
    recipe = load_recipe(tmp_path / "models" / "back")
    assert (recipe.backbone, recipe.train.epochs, recipe.adapter.r) == (head, 0, 2)
    assert (recipe.prompt.template, recipe.prompt.max_tokens) == ("short-1", 128)
    assert run("oof", "--models", "back", *data) in (0, 4)
    one, again = (np.asarray(_oof(tmp_path, name)) for name in ("one", "back"))
    np.testing.assert_allclose(again, one, atol=1e-5)
    card = json.loads((tmp_path / "oof" / "back" / "card.json").read_text())
    assert not card["folds_verified"]
    assert run(*back, *place) == 1
    assert "is there already; choose another name" in capsys.readouterr().err


def _oof(root: Path, name: str) -> Any:
    from arena_ensemble.artifacts.members import MemberArtifacts

    return MemberArtifacts(Workspace(root), name).load()[0].log_probs


def adapter(folder: Path, task: str | None, outputs: int | None, **config: Any) -> Path:
    """The files of a PEFT adapter over two attention layers of a made-up base."""
    folder.mkdir(parents=True)
    known = {"peft_type": "LORA", "task_type": task, "r": 4, "lora_alpha": 8, "use_rslora": True}
    known |= {"base_model_name_or_path": "org/base", **config}
    (folder / "adapter_config.json").write_text(json.dumps(known))
    at = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    tensors = {at.format(k, part): torch.ones(2, 2) for k in (3, 7) for part in "AB"}
    if outputs is not None:
        tensors["base_model.model.score.weight"] = torch.ones(outputs, 2)
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    return folder


@pytest.mark.parametrize(
    ("task", "outputs", "backbone"),
    [
        ("SEQ_CLS", 3, "classify"),
        ("SEQ_CLS", 1, "reward"),
        ("CAUSAL_LM", None, "generate"),
        (None, 1, "reward"),
    ],
)
def test_the_recipe_follows_from_the_adapter(
    task: str | None, outputs: int | None, backbone: str, tmp_path: Path
) -> None:
    given = adapter(tmp_path / "given", task, outputs)
    found = import_adapter(Workspace(tmp_path), "mine", given)
    assert not found.knows_prompt
    values = tomllib.loads(found.recipe.read_text())
    assert (values["backbone"], values["base"]) == (backbone, "org/base")
    shape = {"r": 4, "alpha": 8.0, "rslora": True, "target": "attention", "first_layer": 3}
    assert values["adapter"] == shape
    recipe = load_recipe(found.recipe.parent)
    assert recipe.has_weights
    copied = load_file(str(starts._folder(recipe, 0) / "adapter_model.safetensors"))
    assert copied.keys() == load_file(str(given / "adapter_model.safetensors")).keys()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"outputs": 5}, ArtifactError, "its head has 5 outputs; use one of 3"),
        ({"outputs": None}, ArtifactError, "no head .* save it with modules_to_save"),
        ({"peft_type": "IA3"}, ArtifactError, "only LORA can be imported"),
        ({"base_model_name_or_path": None}, InputError, "does not name its base model; give --base"),
        (
            {"base_model_name_or_path": "/home/other/base"},
            InputError,
            "no folder on this machine; give --base",
        ),
    ],
)
def test_what_cannot_be_a_member_is_refused_and_leaves_nothing(
    change: dict[str, Any], kind: type[ArenaError], message: str, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"task": "SEQ_CLS", "outputs": 3, **change}
    given = adapter(tmp_path / "given", **arguments)
    with pytest.raises(kind, match=message):
        import_adapter(Workspace(tmp_path), "mine", given)
    assert not (tmp_path / "models").exists()


def test_folds_must_be_alike(tmp_path: Path) -> None:
    adapter(tmp_path / "g" / "fold-0", "SEQ_CLS", 3)
    adapter(tmp_path / "g" / "fold-1", "SEQ_CLS", 3, r=8)
    with pytest.raises(InputError, match=r"fold-1: has other settings than"):
        import_adapter(Workspace(tmp_path), "mine", tmp_path / "g")


def test_a_head_in_another_order_is_refused(tmp_path: Path) -> None:
    battles = sample.make_arena(400, seed=1).battles
    y = battles.outcomes()
    groups = make_folds(battles, n_folds=3).group
    sure = np.full((len(y), 3), 0.15)
    sure[np.arange(len(y)), y] = 0.7
    right = Predictions(battles.ids, np.log(sure), np.zeros(len(y), dtype=np.int64))
    wrong = Predictions(battles.ids, np.log(sure[:, [2, 0, 1]]), np.zeros(len(y), dtype=np.int64))
    values = {"backbone": "classify", "base": "org/base"}
    folder = recipe_from({**values, "train": {"epochs": 0, "start": "./adapter"}}, name="mine")
    starts.refuse_exchanged_head(folder, right, y, groups)
    with pytest.raises(MemberError, match=r"classes look exchanged: .* --retrain mine"):
        starts.refuse_exchanged_head(folder, wrong, y, groups)
    ours = recipe_from({**values, "train": {"start": "member:first"}}, name="mine")
    starts.refuse_exchanged_head(ours, wrong, y, groups)


@dataclass
class Elsewhere:
    """An adapter of another tool: it knows the votes, and gives its outputs in this order."""

    answers: dict[str, int]
    order: tuple[int, int, int]

    def prepare(self, *args: Any, **others: Any) -> None:
        """Nothing is needed."""

    def fit(self, train: Any, *, folder: Path, recipe: Any, cache: Path, **others: Any) -> Any:
        (folder / "weights.json").write_text("{}")
        return self.load(folder, recipe=recipe, cache=cache)

    def load(self, folder: Path, *, recipe: Any, cache: Path) -> Any:
        return SimpleNamespace(facts={"device": "none"})

    def predict(self, fitted: Any, battles: Any, *, on_progress: Any = None) -> Any:
        sure = np.full((len(battles), 3), 0.15)
        sure[np.arange(len(battles)), [self.answers[str(name)] for name in battles.ids]] = 0.7
        return np.log(sure)[:, list(self.order)]


def test_a_member_whose_head_is_exchanged_is_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard stands before the card: nothing of it is left to stack, and the mended one is kept."""
    battles = sample.make_arena(400, seed=1).battles
    folds = make_folds(battles, n_folds=3)
    answers = dict(zip(map(str, battles.ids), battles.outcomes().tolist(), strict=True))
    member = tmp_path / "models" / "mine"
    adapter(member / "adapter", "SEQ_CLS", 3)
    values = {"backbone": "classify", "base": "tiny:decoder", "train": {"epochs": 0, "start": "./adapter"}}
    recipe = recipe_from(values, name="mine", folder=member)
    tool = Elsewhere(answers, (2, 0, 1))
    monkeypatch.setattr(backbones, "get", lambda name: tool)
    keep_folds(Workspace(tmp_path), folds, battles)
    job = Job(tmp_path, battles, folds)
    result = run_job(job, {"mine": recipe}, jobs=1)
    assert not result.finished
    assert "its classes look exchanged: taken as" in result.failed["mine"]
    assert "--retrain mine" in result.failed["mine"]
    artifacts = job.artifacts("mine")
    assert artifacts.card() is None
    assert not (artifacts.predictions / "oof.parquet").exists()
    artifacts.forget()
    tool.order = (0, 1, 2)
    result = run_job(job, {"mine": recipe}, jobs=1)
    assert result.finished == ["mine"], result.failed
    card = artifacts.card()
    assert card is not None
    assert not card.folds_verified, "nobody knows what the adapter was trained on"


def test_either_predictions_or_an_adapter(tmp_path: Path) -> None:
    for more in ([], ["--oof", "a.csv", "--adapter", "b"], ["--oof", "a.csv", "--base", "b"]):
        assert run("import", "mine", *more, "--workspace", str(tmp_path)) == 2
