"""What travels to a notebook without internet, without downloading a wheel."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from arena_ensemble import Ensemble, build_ensemble, predict, read_battles, sample, train_members
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.sixteen_bits import store_half
from arena_ensemble.errors import DependencyError, InputError
from arena_ensemble.kaggle import image, notebook, rehearsal, wheels
from arena_ensemble.kaggle.pack import Pack, PackOptions, write_pack
from arena_ensemble.kaggle.unpack import open_pack
from arena_ensemble.pipeline.arguments import folds_of

TINY = """
backbone = "classify"
base = "tiny:encoder"
[prompt]
template = "./words/mine.toml"
max_tokens = 128
[train]
epochs = 1
[tiny]
hidden = 16
layers = 1
vocabulary = 300
"""
WORDS = 'opening = "User: "\nbefore_a = "A: "\nbefore_b = "B: "\ncue = "Best:"\nrounds = true\n'
LEXICAL = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("trained")
    for name, text in sample.files(90, 10, seed=4).items():
        (work / name).write_text(text)
    for name, recipe in (("tiny", TINY), ("words", LEXICAL)):
        (work / "models" / name).mkdir(parents=True)
        (work / "models" / name / "recipe.toml").write_text(recipe)
    (work / "models" / "tiny" / "words").mkdir()
    (work / "models" / "tiny" / "words" / "mine.toml").write_text(WORDS)
    run = train_members(work / "train.csv", ["tiny", "words"], workspace=work, n_folds=3, jobs=1, refit=True)
    build_ensemble(run)
    return work


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels are empty files here: tests/road downloads and installs real ones."""

    def collect(folder: Path, versions: dict[str, str], **others: object) -> None:
        folder.mkdir()
        for name, version in versions.items():
            (folder / f"{name}-{version}-py3-none-any.whl").write_text("")

    monkeypatch.setattr(wheels, "collect", collect)


def packed(work: Path, folder: Path, **options: object) -> Pack:
    return write_pack(Workspace(work), folder, PackOptions(**options), python="3.11")  # type: ignore[arg-type]


def test_a_pack_predicts_what_the_workspace_predicts(trained: Path, tmp_path: Path) -> None:
    battles = read_battles(trained / "test.csv")
    ours = Ensemble.load(trained).predict_proba(battles)
    found = {}
    for name, half in (("exact", False), ("half", True)):
        pack = packed(trained, tmp_path / name, half=half)
        assert {member.name: member.folds for member in pack.members} == {"tiny": 3, "words": 3}
        bases = open_pack(pack.folder / "dataset", tmp_path / f"work-{name}")
        assert bases == {}  # a tiny base lies in the fold, a lexical member has none
        ensemble = Ensemble.load(tmp_path / f"work-{name}")
        found[name] = np.exp(predict(ensemble, battles, jobs=1).log_probs)
    np.testing.assert_array_equal(found["exact"], ours)
    np.testing.assert_allclose(found["half"], ours, atol=2e-3)
    assert (found["half"] != ours).any()


@pytest.mark.parametrize(
    ("use_folds", "folders"),
    [("refit", {"refit"}), ([0, 2], {"fold-0", "fold-2"}), ("averaged", {"averaged"})],
)
def test_a_pack_of_some_models_predicts_what_they_predict_here(
    trained: Path, tmp_path: Path, use_folds: Any, folders: set[str]
) -> None:
    """Nothing else travels; the notebook's command asks for them; a rehearsal compares with them."""
    work = Path(shutil.copytree(trained, tmp_path / "work"))
    battles = read_battles(work / "test.csv")
    if use_folds == "averaged":
        with pytest.raises(InputError, match="its model of averaged weights is not made yet; make it with"):
            packed(work, tmp_path / "early", use_folds=use_folds)
        long = read_battles(work / "train.csv")  # the ten of the test file are too few to measure it
        predict(Ensemble.load(work), long, jobs=1, use_folds=use_folds)
    ours = predict(Ensemble.load(work), battles, jobs=1, use_folds=use_folds)
    pack = packed(work, tmp_path / "pack", half=False, use_folds=use_folds, hours=1.0)
    open_pack(pack.folder / "dataset", tmp_path / "there")
    assert {path.name for path in (tmp_path / "there/models/tiny").iterdir() if path.is_dir()} - {
        "words"
    } == folders
    if use_folds == "averaged":  # a lexical member has none, and predicts with all folds
        folders = {"fold-0", "fold-1", "fold-2"}
    assert {path.name for path in (tmp_path / "there/models/words").iterdir() if path.is_dir()} == folders
    theirs = predict(Ensemble.load(tmp_path / "there"), battles, jobs=1, use_folds=use_folds)
    np.testing.assert_array_equal(theirs.log_probs, ours.log_probs)
    text = use_folds if isinstance(use_folds, str) else "0,2"
    code = notebook.code_of((pack.folder / "notebook" / notebook.NOTEBOOK).read_text())
    assert any(f'"--hours", "1", "--use-folds", "{text}"]' in cell for cell in code)
    own = rehearsal._own(Workspace(work), battles, folds_of(use_folds))
    np.testing.assert_allclose(own, np.exp(ours.log_probs), atol=1e-9)


def test_half_precision_keeps_heads_and_large_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "adapter": rng.normal(size=(8, 4)).astype(np.float32),
        "head": rng.normal(size=(3, 4)).astype(np.float32),
        "large": np.full(3, 1e6, dtype=np.float32),
    }
    safetensors.numpy.save_file(tensors, tmp_path / "weights.safetensors", metadata={"kept": "yes"})
    assert store_half(tmp_path, {"head"}) > 0
    stored = safetensors.numpy.load_file(tmp_path / "weights.safetensors")
    assert {name: array.dtype.name for name, array in stored.items()} == {
        "adapter": "float16",
        "head": "float32",
        "large": "float32",
    }
    np.testing.assert_array_equal(stored["head"], tensors["head"])
    np.testing.assert_array_equal(stored["adapter"], tensors["adapter"].astype(np.float16))
    assert store_half(tmp_path, {"head"}) == 0  # halved already: left as it is
    assert store_half(tmp_path / "absent", ()) == 0


def test_the_notebook_is_one_that_kaggle_can_run(trained: Path, tmp_path: Path) -> None:
    pack = packed(
        trained,
        tmp_path / "pack",
        competition="wsdm-cup-multilingual-chatbot-arena",
        owner="me",
        hours=8.5,
        model_sources=("google/gemma-2/transformers/gemma-2-9b-it/2",),
    )
    metadata = json.loads((pack.folder / "notebook" / "kernel-metadata.json").read_text())
    assert metadata["enable_internet"] is False
    assert metadata["competition_sources"] == ["wsdm-cup-multilingual-chatbot-arena"]
    assert metadata["model_sources"] == ["google/gemma-2/transformers/gemma-2-9b-it/2"]
    assert metadata["dataset_sources"] == [json.loads(text(pack, "dataset-metadata.json"))["id"]]
    written = json.loads((pack.folder / "notebook" / metadata["code_file"]).read_text())
    assert written["nbformat"] == 4
    code = notebook.code_of((pack.folder / "notebook" / metadata["code_file"]).read_text())
    assert code == notebook.cells("wsdm-cup-multilingual-chatbot-arena", 8.5)
    for cell in code:
        compile(cell, "cell", "exec")
    assert any('"--hours", "8.5"' in cell for cell in code)


@pytest.mark.parametrize(("code", "passes"), [(0, True), (4, True), (5, True), (1, False), (3, False)])
def test_a_valid_submission_of_a_late_or_partial_run_ends_the_notebook_well(
    code: int, passes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("pack/arena-pack.json", "a-competition/test.csv"):
        path = tmp_path / "input" / place
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    monkeypatch.setenv("KAGGLE_ROOT", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.CompletedProcess([], code, stdout='{"tiny": "/kaggle/input/base"}')
    monkeypatch.setattr(subprocess, "run", lambda command, **others: done)
    find, _, predict_cell, _ = notebook.cells("a-competition", 8.5)
    if passes:
        exec(f"{find}\n{predict_cell}", {})
    else:
        with pytest.raises(AssertionError, match=f"exit code {code}"):
            exec(f"{find}\n{predict_cell}", {})


def text(pack: Pack, name: str) -> str:
    return (pack.folder / "dataset" / name).read_text()


def test_wheels_are_of_the_installed_versions(trained: Path, tmp_path: Path) -> None:
    pack = packed(trained, tmp_path / "pack")
    lines = text(pack, "requirements.txt").split()
    assert lines[-1] == "arena-ensemble"
    assert f"numpy=={np.__version__}" in lines
    names = {line.partition("==")[0] for line in lines}
    assert {"transformers", "polars", "lightgbm", "scipy", "joblib"} <= names  # joblib: scikit-learn's need
    assert not {"torch", "sympy", "pytest", "ruff"} & names
    everything = wheels.requirements(image_has=())
    assert {"torch", "sympy"} <= set(everything)
    with pytest.raises(DependencyError, match="pip install"):
        wheels.requirements(extras=("unsloth",))


def test_a_base_travels_once_or_is_noted_where_kaggle_has_it(trained: Path, tmp_path: Path) -> None:
    """Of members on a base, which are expensive to train here: their recipes alone are changed."""
    work = tmp_path / "work"
    shutil.copytree(trained, work)
    recipe = work / "models" / "tiny" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("tiny:encoder", "org/model"))
    with pytest.raises(InputError, match=r"base 'org/model' is no folder here; give --base tiny=DIR"):
        packed(work, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
    kaggle = "/kaggle/input/gemma-2/transformers/gemma-2-9b-it/2"
    pack = packed(work, tmp_path / "noted", bases={"tiny": kaggle})
    assert open_pack(pack.folder / "dataset", tmp_path / "one") == {"tiny": kaggle}
    base = tmp_path / "my-base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    pack = packed(work, tmp_path / "copied", bases={"org/model": str(base)})
    place = open_pack(pack.folder / "dataset", tmp_path / "two")["tiny"]
    assert (Path(place) / "config.json").read_text() == "{}"
    with pytest.raises(InputError, match="--base other: no member of this ensemble"):
        packed(work, tmp_path / "wrong", bases={"tiny": kaggle, "other": kaggle})


def test_what_cannot_be_packed_or_opened_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        packed(trained, tmp_path)
    with pytest.raises(InputError, match=r"no arena-pack\.json"):
        open_pack(trained, tmp_path / "work")
    pack = packed(trained, tmp_path / "pack")
    open_pack(pack.folder / "dataset", tmp_path / "work")
    with pytest.raises(InputError, match="holds models already"):
        open_pack(pack.folder / "dataset", tmp_path / "work")


def test_an_imported_member_cannot_travel(trained: Path, tmp_path: Path) -> None:
    from arena_ensemble.artifacts.members import MemberArtifacts
    from arena_ensemble.pipeline.imported import import_member

    work = tmp_path / "work"
    shutil.copytree(trained, work)
    source = tmp_path / "tiny-oof.parquet"
    source.write_bytes((work / "oof" / "tiny" / "oof.parquet").read_bytes())
    shutil.rmtree(work / "oof" / "tiny")
    import_member(Workspace(work), "tiny", source, None)
    card = MemberArtifacts(Workspace(work), "tiny").card()
    assert card is not None
    assert card.is_external
    with pytest.raises(InputError, match="was imported: a notebook cannot make its predictions"):
        packed(work, tmp_path / "pack")


def test_the_image_links_what_it_has_and_nothing_that_the_wheels_hold(tmp_path: Path) -> None:
    names = {path.name for path in image._files(["polars"], set())}
    assert "polars" in names
    assert any(name.startswith("polars") and name.endswith(".dist-info") for name in names)
    assert {path.name for path in image._files(["polars"], {"polars"})} == set()
    with pytest.raises(InputError, match="--image-has absent"):
        list(image._files(["absent"], set()))
