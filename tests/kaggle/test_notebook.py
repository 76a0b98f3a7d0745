"""The notebook that a pack brings: it finds what is mounted, and says in words what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arena_ensemble.kaggle import notebook
from tests.helpers.packs import packed, text


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
