"""loader = "unsloth", through a stand-in: imports, calls, training, folds that either loader reads."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.language import adapters
from arena_ensemble.backbones.language.unsloth_loader import import_unsloth
from arena_ensemble.errors import DependencyError, RecipeError
from arena_ensemble.folds import make_folds
from arena_ensemble.pipeline.cross_fit import cross_fit

FAKE = Path(__file__).parents[2] / "helpers" / "fake_unsloth"
SIGNATURES: dict[str, Any] = json.loads((Path(__file__).parent / "unsloth_signatures.json").read_text())


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the stand-in logs; it can be imported, also in processes that start from here."""
    monkeypatch.setenv("FAKE_UNSLOTH_LOG", str(tmp_path / "calls.jsonl"))
    monkeypatch.syspath_prepend(FAKE)
    torch.set_num_threads(1)
    yield tmp_path / "calls.jsonl"
    sys.modules.pop("unsloth", None)


def calls(log: Path, what: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [call for call in found if call["what"] == what]


def check_signature(given: set[str], *functions: str) -> None:
    """Every name is a parameter of one of the functions, which hand on what they do not know."""
    known: set[str] = set()
    for function in functions[:-1]:
        assert SIGNATURES[function]["more"]
    for function in functions:
        known |= SIGNATURES[function]["parameters"].keys()
    assert given <= known, given - known


@pytest.mark.slow
def test_a_member_trains_in_a_fresh_process_and_its_fold_loads_plainly(tmp_path: Path, log: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    data = battles(16)
    train = {"gradient_checkpointing": True, "epochs": 1}
    chosen = recipe(base, loader="unsloth", train=train, adapter={"first_layer": 1}, seed=5)
    plain = recipe(base, train={"epochs": 1}).model_copy(update={"name": "plain"})
    workspace = Workspace(tmp_path / "w")
    folds = make_folds(data, n_folds=2, seed=0)
    result = cross_fit([chosen, plain], data, folds, workspace=workspace, jobs=1)
    assert not result.failed

    [imported] = calls(log, "import")  # one process for both folds, and transformers not yet there
    assert imported["early"] == []
    loaded, adapted = calls(log, "from_pretrained"), calls(log, "get_peft_model")
    assert len(loaded) == len(adapted) >= 2
    check_signature(
        set(loaded[0]["options"]), "FastLanguageModel.from_pretrained", "FastLlamaModel.from_pretrained"
    )
    check_signature(
        set(adapted[0]["options"]), "FastLanguageModel.get_peft_model", "FastLlamaModel.get_peft_model"
    )
    asked = loaded[0]["options"]
    assert (asked["load_in_4bit"], asked["load_in_8bit"]) == (False, False)
    assert asked["num_labels"] == 3
    asked = adapted[0]["options"]
    assert (asked["r"], asked["lora_alpha"], asked["layers_to_transform"]) == (4, 8, [1])
    assert (asked["use_gradient_checkpointing"], asked["random_state"]) == ("unsloth", 5)
    assert {"q_proj", "down_proj"} <= set(asked["target_modules"])

    artifacts = MemberArtifacts(workspace, "test")
    held = folds.fold == 0
    folder = artifacts.fold_folder(0)
    names = set(adapters.read_weights(folder / adapters.WEIGHTS))
    assert not any("base_model" in name or "modules_to_save" in name for name in names)
    as_plain = chosen.model_copy(update={"loader": "transformers"})
    head = backbones.get("classify")
    fitted = head.load(folder, recipe=as_plain, cache=tmp_path / "other")
    again = head.predict(fitted, data.take(np.flatnonzero(held)).without_outcomes())
    kept = artifacts.load()[0].log_probs[held]
    np.testing.assert_allclose(again, kept, atol=1e-5)
    assert np.abs(kept - np.log(1 / 3)).max() > 0.05


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers about its own names, through PEFT
def test_a_causal_member_is_read_back_by_either_loader(tmp_path: Path, log: Path) -> None:
    base, head = save_base(tmp_path / "base", "llama"), backbones.get("generate")
    chosen = recipe(base, "generate", loader="unsloth")
    (tmp_path / "fold").mkdir()
    fitted = head.fit(battles(), recipe=chosen, folder=tmp_path / "fold", cache=tmp_path / "cache")
    assert "num_labels" not in calls(log, "from_pretrained")[0]["options"]
    rows = battles().without_outcomes()
    expected = head.predict(fitted, rows)
    for loader in ("unsloth", "transformers"):
        same = chosen.model_copy(update={"loader": loader})
        again = head.load(tmp_path / "fold", recipe=same, cache=tmp_path / "cache")
        np.testing.assert_allclose(head.predict(again, rows), expected, atol=1e-5)


def test_late_patches_are_warned_of_once(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    import transformers  # noqa: F401

    with caplog.at_level(logging.WARNING):
        import_unsloth()
        import_unsloth()
    assert caplog.text.count("fresh process") == 1
    assert "transformers" in calls(log, "import")[0]["early"]


def test_a_machine_that_unsloth_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unsloth.py").write_text("raise NotImplementedError('no accelerator found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DependencyError, match=r"no accelerator found.*GPU"):
        import_unsloth()


def test_what_we_rely_on_in_the_wheel() -> None:
    """4 bits are its default, a number of labels reaches the loader, and so do all arguments of adapters."""
    outer = SIGNATURES["FastLanguageModel.from_pretrained"]
    assert SIGNATURES["version"] == "2026.10.9"
    assert outer["parameters"]["load_in_4bit"] == "True"
    assert outer["more"]
    assert "num_labels" in SIGNATURES["FastLlamaModel.from_pretrained"]["parameters"]
    inner = SIGNATURES["FastLlamaModel.get_peft_model"]["parameters"]
    assert inner["use_gradient_checkpointing"] == "'unsloth'"
    assert (
        inner.keys() - {"checkpoint_skip_layers"}
        <= SIGNATURES["FastBaseModel.get_peft_model"]["parameters"].keys()
    )


@pytest.mark.parametrize(
    "sections",
    [
        {"adapter": {"kind": "full"}},
        {"adapter": {"kind": "frozen"}},
        {"adapter": {"dora": True}},
        {"adapter": {"also": ["norms"]}},
        {"train": {"packing": True}},
    ],
)
def test_settings_that_it_cannot_keep_are_refused(sections: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"unsloth.*leave"):
        recipe("some/base", loader="unsloth", **sections)
