"""What travels to a notebook without internet, without downloading a wheel."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from arena_ensemble import Ensemble, predict, read_battles
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.sixteen_bits import store_half
from arena_ensemble.errors import DependencyError, InputError
from arena_ensemble.kaggle import contents, image, notebook, rehearsal, wheels
from arena_ensemble.kaggle.pack import PackOptions, write_pack
from arena_ensemble.kaggle.unpack import fitting_sample, open_pack
from arena_ensemble.pipeline.arguments import folds_of
from arena_ensemble.recipes import load_recipe, recipe_from
from tests.helpers.packs import packed, text


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
    recipes = rehearsal._recipes(Workspace(work), {})
    own = rehearsal._own(Workspace(work), recipes, battles, folds_of(use_folds))
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


def test_the_pythons_of_the_pack_are_needed_as_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        "arena-ensemble": [
            'old; python_version < "3.12"',
            'lin; sys_platform == "linux"',
            "torch",
            'q; extra == "x"',
        ],
        "lin": ['mac; platform_system == "Darwin"'],
    }
    monkeypatch.setattr("importlib.metadata.requires", lambda name: lines.get(name, []))
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1")
    assert list(wheels.requirements(python="3.11")) == ["lin", "old"]
    assert list(wheels.requirements(python="3.13", extras=["x"])) == ["lin", "q"]


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
    kaggle = "/kaggle/input/models/google/gemma-2/transformers/gemma-2-9b-it/2"
    pack = packed(work, tmp_path / "noted", bases={"tiny": kaggle})
    assert open_pack(pack.folder / "dataset", tmp_path / "one") == {"tiny": kaggle}
    metadata = json.loads((pack.folder / "notebook" / "kernel-metadata.json").read_text())
    assert metadata["model_sources"] == ["google/gemma-2/transformers/gemma-2-9b-it/2"]
    base = tmp_path / "my-base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    pack = packed(work, tmp_path / "copied", bases={"org/model": str(base)})
    place = open_pack(pack.folder / "dataset", tmp_path / "two")["tiny"]
    assert (Path(place) / "config.json").read_text() == "{}"
    with pytest.raises(InputError, match=r"'org/model', is no folder here; rehearse where it is"):
        rehearsal._base_here(load_recipe(recipe), kaggle)
    with pytest.raises(InputError, match="--base other: no member of this ensemble"):
        packed(work, tmp_path / "wrong", bases={"tiny": kaggle, "other": kaggle})


def test_bases_in_folders_of_one_name_are_two(trained: Path, tmp_path: Path) -> None:
    """Such as those of Kaggle's Models, which are named after their version."""
    copied: dict[Path, str] = {}
    places = []
    for name in ("first", "second", "first"):
        folder = tmp_path / name / "2"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(name)
        recipe = recipe_from({"backbone": "classify", "base": str(folder)}, name=name)
        places.append(contents._pack_base(recipe, tmp_path / "pack", {}, tmp_path / "cache", copied))
    assert places == ["bases/2", "bases/2-1", "bases/2"]
    assert [(tmp_path / "pack" / at / "config.json").read_text() for at in places[:2]] == ["first", "second"]


def test_what_a_member_needs_to_predict_travels_too(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def requirements(image_has: Any, extras: Any, python: str) -> dict[str, str]:
        asked.append((tuple(extras), python))
        return {"numpy": "1"}

    monkeypatch.setattr(wheels, "requirements", requirements)
    work = Path(shutil.copytree(trained, tmp_path / "work"))
    recipe = work / "models" / "tiny" / "recipe.toml"
    recipe.write_text(recipe.read_text() + '[predict]\nquantise = "4bit"\n')
    pack = write_pack(Workspace(work), tmp_path / "pack", PackOptions(), python="3.12,3.13, 3.12")
    assert asked == [(("quantised",), "3.12"), (("quantised",), "3.13")]
    assert json.loads(text(pack, "arena-pack.json"))["pythons"] == ["3.12", "3.13"]
    assert pack.python == "3.12, 3.13"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "print('member two LEFT OUT: fold 0: its base is another')",
            "member two LEFT OUT: fold 0: its base",
        ),
        (
            "print('member two FAILED IN PART: fold 1: out of memory')",
            "member two FAILED IN PART: fold 1",
        ),
        (
            "import sys; sys.exit('ERROR: No matching distribution found for polars')",
            "found for polars; pack again",
        ),
        ("assert False, 'the wheels are for Python 3.9'", "the wheels are for Python 3.9; pack again"),
    ],
)
def test_a_rehearsal_fails_with_the_notebooks_own_words(code: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        rehearsal._run(Path(sys.executable), [code], tmp_path, {})
    assert rehearsal._run(Path(sys.executable), ["print('all members')"], tmp_path, {}) > 0


def test_the_rehearsed_file_has_the_first_rows_and_a_sample_of_them(trained: Path, tmp_path: Path) -> None:
    assert rehearsal._first_rows(trained / "test.csv", tmp_path, 3, 3) == 3
    ids = read_battles(tmp_path / "test.csv").ids
    assert ids.to_list() == read_battles(trained / "test.csv").ids.to_list()[:3]
    assert fitting_sample(trained, tmp_path / "test.csv") == tmp_path / "sample_submission.csv"
    rehearsal._first_rows(trained / "test.csv", tmp_path, 5, 2)
    assert (tmp_path / "sample_submission.csv").read_text().count(",model_a\n") == 5
    with pytest.raises(InputError, match="competitions give CSV or parquet"):
        rehearsal._first_rows(trained / "test.jsonl", tmp_path, 3, 3)


def test_what_cannot_be_packed_or_opened_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        packed(trained, tmp_path)
    with pytest.raises(InputError, match=r"no arena-pack\.json"):
        open_pack(trained, tmp_path / "work")
    pack = packed(trained, tmp_path / "pack")
    with pytest.raises(InputError, match="holds models already"):
        open_pack(pack.folder / "dataset", trained)


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


def test_a_base_in_gguf_that_lies_elsewhere_travels_dequantised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(4) + bytes([1]) + bytes(64))

    def dequantised(found: Path, cache: Path) -> Path:
        assert found == file
        (cache / "bases" / "digest").mkdir(parents=True)
        (cache / "bases" / "digest" / "config.json").write_text("{}")
        return cache / "bases" / "digest"

    monkeypatch.setattr(contents.gguf_base, "dequantised", dequantised)
    recipe = recipe_from({"backbone": "generate", "base": "package:not_here"}, name="m")
    given = {"m": str(file)}
    place = contents._pack_base(recipe, tmp_path / "pack", given, tmp_path / "cache", {})
    assert place == "bases/digest"
    assert (tmp_path / "pack" / place / "config.json").is_file()
