"""Offline: no socket is opened, and what is missing is named at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.language import hub
from arena_ensemble.errors import RecipeError
from arena_ensemble.recipes import recipe_from

HERE = Path(__file__).resolve().parents[2] / "helpers"
TINY = """backbone = "classify"
base = "tiny:encoder"
[prompt]
template = "short-1"
max_tokens = 96
[tiny]
hidden = 16
layers = 1
vocabulary = 300
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, text in sample.files(40, 5, seed=3).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def command(folder: Path, member: str) -> list[str]:
    return [
        "oof", "--data", str(folder / "train.csv"), "--workspace", str(folder / "w"), "--models", member,
        "--folds", "2", "--offline",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_whole_offline_run_opens_no_socket(data: Path) -> None:
    atomic.write_bytes(data / "w" / "models" / "small" / "recipe.toml", TINY.encode())
    names = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    done = subprocess.run(
        [sys.executable, str(HERE / "offline_cli.py"), *command(data, "small,lexical"), "--jobs", "1"],
        capture_output=True, text=True, check=False, env={**names, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    # 4: two optimizer steps teach nothing, and the collapse alarm says so
    assert done.returncode in (0, 4), done.stderr
    assert "SOCKET" not in done.stderr
    assert Workspace(data / "w").member_names() == ["lexical", "small"]


def test_a_hub_base_that_is_not_cached_is_named_at_once(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = 'backbone = "classify"\nbase = "some-org/some-model"\n'
    atomic.write_bytes(data / "w" / "models" / "big" / "recipe.toml", recipe.encode())
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "")
    before = sorted((data / "w").rglob("*"))
    assert cli.run(command(data, "big")) == 1
    output = capsys.readouterr().err
    assert "config.json of 'some-org/some-model' is not in the hub's cache" in output
    assert "hf download some-org/some-model" in output
    assert sorted(p for p in (data / "w").rglob("*") if p.name != ".arena-lock") == before


@pytest.mark.parametrize("word", ["1", "ON", "true", "YES"])
def test_the_hubs_own_variable_is_enough(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", word)
    recipe = recipe_from({"backbone": "classify", "base": "org/absent", "revision": "0" * 40}, name="m")
    with pytest.raises(RecipeError, match=r"at revision 0{40} is not in the hub's cache"):
        hub.check_base(recipe)


def test_online_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    recipe = recipe_from({"backbone": "classify", "base": "org/absent"}, name="m")
    hub.check_base(recipe)  # no error: it may be downloaded
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RecipeError, match="is not in the hub's cache"):
        hub.check_base(recipe)


def test_code_that_travels_with_a_checkpoint_never_runs() -> None:
    package = HERE.parents[1] / "arena_ensemble"
    lines = [line.strip() for path in package.rglob("*.py") for line in path.read_text().splitlines()]
    found = [line for line in lines if "trust_remote_code" in line]
    assert found
    assert all("False" in line for line in found)
