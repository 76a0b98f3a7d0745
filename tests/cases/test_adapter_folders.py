"""Case 21: an adapter, its parent, a checkpoint of it, or base and adapter in one, given as a base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workspaces import refusal

from arena_ensemble import cli, sample
from arena_ensemble.backbones.language.base_folder import check_base_folder
from arena_ensemble.errors import RecipeError

CONFIG = {"peft_type": "LORA", "base_model_name_or_path": "org/base-7b", "r": 16}


def adapter(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    (folder / "adapter_model.safetensors").write_bytes(b"x")
    return folder


def model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(b"x")
    return folder


def problem(folder: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        check_base_folder(folder, member="mine", base=str(folder))
    message = str(caught.value)
    assert message.startswith("member 'mine'")
    return message


def test_an_adapter(tmp_path: Path) -> None:
    for folder in (adapter(tmp_path / "adapter"), adapter(tmp_path / "run" / "checkpoint-500")):
        message = problem(folder)
        assert "is a PEFT adapter of 'org/base-7b' and no model" in message
        assert "merge_and_unload" in message
        assert "or give base = 'org/base-7b' and train anew" in message


def test_an_adapter_with_a_configuration_beside_it_and_no_weights(tmp_path: Path) -> None:
    (adapter(tmp_path) / "config.json").write_text("{}")
    assert "is a PEFT adapter" in problem(tmp_path)


@pytest.mark.parametrize("names", [["checkpoint-500"], ["checkpoint-500", "checkpoint-1000"], ["final"]])
def test_the_parent_of_adapters(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        adapter(tmp_path / name)
    message = problem(tmp_path)
    assert "is no model folder but holds" in message
    assert all(name in message for name in names)
    assert "merge_and_unload" in message


def test_the_parent_of_models(tmp_path: Path) -> None:
    model(tmp_path / "checkpoint-500")
    message = problem(tmp_path)
    assert f"give one of these, such as {tmp_path / 'checkpoint-500'}" in message


def test_base_and_adapter_in_one(tmp_path: Path) -> None:
    message = problem(adapter(model(tmp_path)))
    assert "a model and a PEFT adapter" in message
    assert "move adapter_config.json" in message
    assert "merge_and_unload" in message


def test_a_damaged_adapter_and_an_empty_folder(tmp_path: Path) -> None:
    (adapter(tmp_path / "damaged") / "adapter_config.json").write_text("{")
    assert "is a PEFT adapter and no model" in problem(tmp_path / "damaged")
    (tmp_path / "empty").mkdir()
    assert "holds no config.json, so it is no model folder" in problem(tmp_path / "empty")


def test_a_model_passes_with_an_adapter_in_a_folder_of_its_own(tmp_path: Path) -> None:
    check_base_folder(model(tmp_path))
    adapter(tmp_path / "adapter")
    check_base_folder(tmp_path)


@pytest.mark.parametrize("head", ["classify", "generate", "reward"])
def test_it_is_said_before_anything_is_trained(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in sample.files(40, 5, seed=1).items():
        (tmp_path / name).write_text(text)
    adapter(tmp_path / "theirs")
    recipe = tmp_path / "models" / "mine" / "recipe.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(f'backbone = "{head}"\nbase = "../../theirs"\n')
    command = ["oof", "--data", str(tmp_path / "train.csv"), "--models", "mine", "--workspace", str(tmp_path)]
    line = refusal(command, capsys)
    assert "member 'mine'" in line
    assert "is a PEFT adapter of 'org/base-7b'" in line
    assert not (tmp_path / "oof").exists()
    assert cli.run(["doctor", "--help"]) == 0
