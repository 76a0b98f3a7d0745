"""A pack where it is opened: bases as Kaggle mounts them, the sample submission, an interrupted copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.errors import InputError
from arena_ensemble.kaggle.pack import PackOptions, write_pack
from arena_ensemble.kaggle.sources import mounted, sources_of
from arena_ensemble.kaggle.unpack import fitting_sample, open_pack, predict_options
from tests.helpers.packs import packed


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
