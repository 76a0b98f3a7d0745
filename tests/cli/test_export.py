from __future__ import annotations

import json
from pathlib import Path

import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic

RECIPE = """backbone = "classify"
base = "tiny:decoder"
[prompt]
template = "short-1"
max_tokens = 128
[adapter]
r = 2
[train]
batch_rows = 8
[tiny]
hidden = 16
layers = 1
vocabulary = 512
"""


def test_a_fold_is_exported_and_what_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.csv").write_text(sample.files(30, 2, seed=3)["train.csv"])
    atomic.write_bytes(tmp_path / "models" / "mine" / "recipe.toml", RECIPE.encode())
    where = ["--workspace", str(tmp_path)]
    data = ["--data", str(tmp_path / "train.csv"), "--folds", "2", "--jobs", "1"]

    def export(name: str, *more: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.run(["export", name, *more, *where])
        return code, capsys.readouterr().err

    out = ["--peft", str(tmp_path / "out")]
    code, problem = export("mine", *out)
    assert code == 1
    assert "fold 0 is not fitted" in problem
    assert cli.run(["oof", "--models", "mine", *data, *where]) in (0, 4)  # so few rows teach nothing
    assert export("mine", *out, "--fold", "1")[0] == 0
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["r"], config["modules_to_save"]) == (2, ["score"])
    assert export("mine", "--merged", str(tmp_path / "whole"), "--dtype", "fp16")[0] == 0
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["dtype"] == "float16"
    for arguments, message in (
        (("mine", *out), "is there already; name another folder"),
        (("mine", "--peft", str(tmp_path / "new"), "--fold", "7"), "fold 7 is not fitted"),
        (("lexical", "--peft", str(tmp_path / "new")), "stands on no language model"),
        (("mine", "--merged", str(tmp_path / "new"), "--dtype", "int3"), "choose one of fp32, bf16, fp16"),
    ):
        code, problem = export(*arguments)
        assert code == 1
        assert message in problem
    assert cli.run(["export", "mine", *where]) == 2
    recipe = tmp_path / "models" / "mine" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("r = 2", "r = 3"))
    assert "its recipe was edited since fold 0" in export("mine", "--peft", str(tmp_path / "new"))[1]
