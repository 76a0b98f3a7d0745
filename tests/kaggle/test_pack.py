"""What travels to a notebook without internet, without downloading a wheel."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from arena_ensemble import Ensemble, build_ensemble, predict, read_battles, sample, train_members
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.sixteen_bits import store_half
from arena_ensemble.errors import DependencyError, InputError
from arena_ensemble.kaggle import contents, image, notebook, rehearsal, wheels
from arena_ensemble.kaggle.pack import Pack, PackOptions, write_pack
from arena_ensemble.kaggle.sources import mounted, sources_of
from arena_ensemble.kaggle.unpack import fitting_sample, open_pack, predict_options
from arena_ensemble.pipeline.arguments import folds_of
from arena_ensemble.recipes import load_recipe, recipe_from

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
    assert (metadata["enable_gpu"], metadata["machine_shape"]) == (True, "NvidiaTeslaT4")
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


LAYOUTS = [
    ("arena-pack", "a-competition"),
    ("datasets/me/arena-pack", "competitions/a-competition"),
    ("datasets/me/arena-pack/dataset", "competitions/a-competition"),
]


def mount(root: Path, pack: str, data: str, pythons: list[str]) -> None:
    for place, content in (
        (f"{pack}/arena-pack.json", json.dumps({"pythons": pythons})),
        (f"{pack}/wheels/a.whl", ""),
        (f"{data}/test.csv", "id\n1\n"),
        ("datasets/other/a-competition/train.csv", ""),  # a data set of the competition's name
    ):
        path = root / "input" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "working").mkdir(exist_ok=True)


@pytest.fixture
def kaggle_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAGGLE_ROOT", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    return tmp_path


@pytest.mark.parametrize(("pack", "data"), LAYOUTS)
def test_the_notebook_finds_what_is_mounted_in_either_layout(
    kaggle_root: Path, pack: str, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    find, *_ = notebook.cells("a-competition", 8.5)
    found: dict[str, Any] = {}
    with pytest.raises(AssertionError, match=r"no arena-pack\.json below /kaggle/input: add the dataset"):
        exec(find, found)
    mount(kaggle_root, pack, data, ["3.11"])
    exec(find, found)
    assert found["PACK"] == kaggle_root / "input" / pack
    assert found["TEST"] == kaggle_root / "input" / data / "test.csv"
    found["TEST"].unlink()
    with pytest.raises(AssertionError, match=r"no test file of a-competition below .*: add the competition"):
        exec(find, found)
    shutil.rmtree(found["PACK"] / "wheels")
    with pytest.raises(AssertionError, match="upload it with --dir-mode zip"):
        exec(find, found)


def test_the_notebook_names_another_python_and_a_failed_installation(
    kaggle_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, install, *_ = notebook.cells("a-competition", 8.5)
    mount(kaggle_root, *LAYOUTS[1], ["2.7", "2.6"])
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(
        AssertionError, match=f"for Python 2.7, 2.6 and this image has {here}: pack again with"
    ):
        exec(f"{find}\n{install}", {})
    mount(kaggle_root, *LAYOUTS[1], ["2.7", here])
    done = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda command, **others: done)
    with pytest.raises(AssertionError, match="pip says above which one"):
        exec(f"{find}\n{install}", {})


@pytest.mark.parametrize("rerun", [False, True])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("code", "says"),
    [(0, ""), (4, "NOT ALL MEMBERS"), (5, "OUT OF TIME"), (1, "code 1"), (3, "code 3"), (-9, "code -9")],
)
def test_a_valid_submission_of_a_late_or_partial_run_ends_the_notebook_well(
    code: int,
    says: str,
    there: bool,
    rerun: bool,
    kaggle_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that breaks down is an error for the one who looks on, and none where it would cost the score."""
    mount(kaggle_root, *LAYOUTS[0], ["3.11"])
    submission = kaggle_root / "working" / "submission.csv"
    submission.write_text("of an earlier run")
    if rerun:
        monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")

    def run(command: list[str], **others: Any) -> subprocess.CompletedProcess[str]:
        if "-c" in command:
            return subprocess.CompletedProcess([], 0, stdout='["--base", "tiny=/base"]')
        assert command[-2:] == ["--base", "tiny=/base"]
        assert command[command.index("--hours") + 1] == "8.5"
        if there:
            submission.write_text("new")
        return subprocess.CompletedProcess([], code)

    monkeypatch.setattr(subprocess, "run", run)
    find, _, predict_cell, _ = notebook.cells("a-competition", 8.5)
    if there and (code in (0, 4, 5) or rerun):
        exec(f"{find}\n{predict_cell}", {})
        assert says in capsys.readouterr().out
    else:
        with pytest.raises(AssertionError):
            exec(f"{find}\n{predict_cell}", {})


@pytest.mark.parametrize(
    ("place", "sources", "datasets", "models"),
    [
        ("models/google/gemma/transformers/9b/2", (), (), ("google/gemma/transformers/9b/2",)),
        ("models/google/gemma/transformers/9b/2/inner", (), (), ("google/gemma/transformers/9b/2",)),
        (
            "gemma/transformers/9b/2",
            ("google/gemma/transformers/9b/2",),
            (),
            ("google/gemma/transformers/9b/2",),
        ),
        ("datasets/me/my-gemma", (), ("me/my-gemma",), ()),
        ("datasets/me/my-gemma/inner/", ("a/b/c/d/1",), ("me/my-gemma",), ("a/b/c/d/1",)),
    ],
)
def test_what_a_base_needs_is_mounted(
    place: str, sources: tuple[str, ...], datasets: tuple[str, ...], models: tuple[str, ...]
) -> None:
    assert sources_of({"m": f"/kaggle/input/{place}"}, sources) == (datasets, models)


@pytest.mark.parametrize(
    ("place", "sources"),
    [
        ("gemma/transformers/9b/2", ()),
        ("gemma/transformers/9b/2", ("google/gemma/transformers/9b/1",)),
        ("my-gemma", ()),
        ("models/google/gemma", ()),
        ("datasets/me", ()),
    ],
)
def test_a_base_that_nothing_mounts_is_refused(place: str, sources: tuple[str, ...]) -> None:
    with pytest.raises(
        InputError, match=r"the notebook mounts nothing there; write /kaggle/input/models/OWNER"
    ):
        sources_of({"m": f"/kaggle/input/{place}"}, sources)


def test_sources_and_names_that_kaggle_would_refuse(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected OWNER/MODEL/FRAMEWORK/VARIATION/N"):
        sources_of({}, ["gemma/transformers/9b/2"])
    for name in ("short", "My-Pack", "with_line", "a--bcdef", "-abcdef", "x" * 42):
        with pytest.raises(InputError, match=f"--name {name}: .* such as arena-pack"):
            packed(trained, tmp_path / "pack", name=name)
    for python in ("", "3", "3.12;3.13", "three"):
        with pytest.raises(InputError, match=r"give versions such as 3\.12"):
            write_pack(Workspace(trained), tmp_path / "pack", PackOptions(), python=python)


@pytest.mark.parametrize("given", ["gemma/transformers/9b/2", "models/google/gemma/transformers/9b/2"])
@pytest.mark.parametrize("there", ["gemma/transformers/9b/2", "models/google/gemma/transformers/9b/2"])
def test_a_base_is_found_in_either_layout(given: str, there: str, tmp_path: Path) -> None:
    place = f"/kaggle/input/{given}"
    assert mounted(place, tmp_path) == tmp_path / given  # in none: as it was given
    (tmp_path / there).mkdir(parents=True)
    assert mounted(place, tmp_path) == tmp_path / there


def test_a_data_set_is_found_in_either_layout(tmp_path: Path) -> None:
    (tmp_path / "my-gemma").mkdir()
    assert mounted("/kaggle/input/datasets/me/my-gemma", tmp_path) == tmp_path / "my-gemma"
    (tmp_path / "datasets" / "me" / "my-qwen").mkdir(parents=True)
    assert mounted("/kaggle/input/my-qwen", tmp_path) == tmp_path / "datasets" / "me" / "my-qwen"


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


def test_a_sample_of_other_ids_stops_nothing_and_one_of_another_task_does(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    test = tmp_path / "test.csv"
    shutil.copy(trained / "test.csv", test)
    assert fitting_sample(trained, test) is None
    sample = tmp_path / "sample_submission.csv"
    shutil.copy(trained / "sample_submission.csv", sample)
    assert fitting_sample(trained, test) == sample
    lines = sample.read_text().splitlines(keepends=True)
    sample.write_text("".join(lines[:3]))
    assert fitting_sample(trained, test) is None
    assert "sample_submission.csv is not looked at" in caplog.text
    sample.write_text("id,winner\n1,model_a\n")
    with pytest.raises(InputError, match="has the columns id, winner, the submission has id, winner_model_a"):
        fitting_sample(trained, test)


def test_a_pack_is_opened_once_and_gives_the_options_again(trained: Path, tmp_path: Path) -> None:
    packed(trained, tmp_path / "pack")
    shutil.copy(trained / "test.csv", tmp_path / "test.csv")
    options = [str(tmp_path / name) for name in ("pack/dataset", "work", "test.csv", "input")]
    assert predict_options(*options) == []
    kept = tmp_path / "work" / "oof" / "kept.txt"
    kept.write_text("what was predicted so far")
    assert predict_options(*options) == []
    assert kept.exists()
    other = packed(trained, tmp_path / "other", use_folds=[0])  # another, into the same session
    with pytest.raises(InputError, match="holds models already"):
        open_pack(other.folder / "dataset", tmp_path / "work")
    half = packed(trained, tmp_path / "exact", half=False)
    with pytest.raises(InputError, match="holds models already"):
        open_pack(half.folder / "dataset", tmp_path / "work")


def test_a_pack_whose_copy_was_interrupted_is_opened_anew(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, work = packed(trained, tmp_path / "pack").folder / "dataset", tmp_path / "work"
    copies = 0

    def stopped(source: str, target: str) -> None:
        nonlocal copies
        copies += 1
        if copies == 4:
            raise KeyboardInterrupt
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(shutil, "copyfile", stopped)
    with pytest.raises(KeyboardInterrupt):
        open_pack(pack, work)
    monkeypatch.undo()
    open_pack(pack, work)
    names = {path.relative_to(pack / "workspace") for path in (pack / "workspace").rglob("*")}
    assert names < {path.relative_to(work) for path in work.rglob("*")}
    assert not list(work.glob("*.begun"))


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
