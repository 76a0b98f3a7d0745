"""A pack with real wheels, run as Kaggle runs it: a clean environment, no index, no network.

The wheels are downloaded by pip, as `make setup` does; without a package registry the test is skipped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from arena_ensemble import build_ensemble, sample, train_members
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import InputError
from arena_ensemble.kaggle import image
from arena_ensemble.kaggle.pack import PackOptions, write_pack
from arena_ensemble.kaggle.rehearsal import rehearse

TINY = """
backbone = "generate"
base = "tiny:decoder"
[prompt]
max_tokens = 128
[train]
epochs = 1
[tiny]
hidden = 16
layers = 1
vocabulary = 300
"""
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def registry_answers() -> bool:
    """Whether pip finds a small package."""
    command = [sys.executable, "-m", "pip", "index", "versions", "--retries", "1", "typer"]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def test_a_pack_predicts_without_network_and_names_a_missing_wheel(tmp_path: Path) -> None:
    if not registry_answers():
        pytest.skip("no package registry is reachable")
    work = tmp_path / "work"
    work.mkdir()
    for name, content in sample.files(60, 16, seed=4).items():
        (work / name).write_text(content)
    (work / "models" / "tiny").mkdir(parents=True)
    (work / "models" / "tiny" / "recipe.toml").write_text(TINY)
    build_ensemble(train_members(work / "train.csv", ["tiny"], workspace=work, n_folds=3, jobs=1, refit=True))
    options = PackOptions(hours=8.5, use_folds="refit")
    pack = write_pack(Workspace(work), tmp_path / "pack", options, python=PYTHON)
    assert pack.wheel_bytes > 10_000_000

    found = rehearse(pack.folder, Workspace(work), work / "test.csv", rows=16)
    assert found.rows == 16
    assert found.largest_difference < 1e-3
    assert found.hidden_hours > 0

    (wheel,) = (pack.folder / "dataset" / "wheels").glob("polars-*.whl")
    wheel.unlink()
    with pytest.raises(InputError, match="No matching distribution found for polars"):
        rehearse(pack.folder, Workspace(work), work / "test.csv", rows=16)


def test_an_image_has_no_network(tmp_path: Path) -> None:
    python = image.build(tmp_path / "venv", (), ())
    code = "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)"
    done = subprocess.run(
        [str(python), "-I", "-c", code],
        env=dict(image.environment(tmp_path)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode
    assert "no network in a rehearsal" in done.stderr
