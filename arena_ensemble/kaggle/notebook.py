"""The notebook of a pack and the metadata that Kaggle's own command line uploads it with."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from ..pipeline.arguments import UseFolds

NOTEBOOK: Final = "notebook.ipynb"
MACHINE: Final = "NvidiaTeslaT4"
"""Two T4 (Kaggle/kaggle-cli, pull request 1198 of September 2026). With ``enable_gpu`` alone its command line
asked for a P100, which PyTorch's present builds do not serve, until Kaggle retired it on 2026-09-15."""
_TITLE: Final = (
    "# Predictions of an arena-ensemble\n"
    "Installs the wheels of the pack, copies its workspace to where it can be written, and predicts the test "
    "file of the competition. No internet is needed."
)
_FIND: Final = """
    import json
    import os
    import subprocess
    import sys
    from pathlib import Path

    KAGGLE = Path(os.environ.get("KAGGLE_ROOT", "/kaggle"))  # another root only for a rehearsal
    COMPETITION = {competition!r}
    # input/NAME, or input/datasets/OWNER/NAME and input/competitions/NAME; an upload by hand adds a folder
    folders = [path for depth in range(1, 5) for path in sorted(KAGGLE.glob("input" + "/*" * depth))]
    packs = [path for path in folders if (path / "arena-pack.json").is_file()]
    assert packs, "no arena-pack.json below /kaggle/input: add the dataset of the pack to this notebook"
    PACK = packs[0]
    assert (PACK / "wheels").is_dir(), "the pack has no wheels: upload it with --dir-mode zip"
    data = [path for path in folders if path.name == COMPETITION]
    tests = [path / name for path in data for name in ("test.parquet", "test.csv") if (path / name).is_file()]
    assert tests, f"no test file of {{COMPETITION}} below /kaggle/input: add the competition to this notebook"
    TEST = tests[0]
    os.environ["HF_HUB_OFFLINE"] = "1"
    """
_INSTALL: Final = """
    pythons = json.loads((PACK / "arena-pack.json").read_text())["pythons"]
    here = "%d.%d" % sys.version_info[:2]
    assert here in pythons, (
        f"the wheels are for Python {', '.join(pythons)} and this image has {here}: pack again with "
        f"--python {here}, or pin this notebook to an image with the other"
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wheels = ["--no-index", "--find-links", str(PACK / "wheels"), "-r", str(PACK / "requirements.txt")]
    done = subprocess.run([*pip, *wheels], check=False)
    assert done.returncode == 0, "the wheels cannot be installed: pip says above which one, and why"
    """
_PREDICT: Final = """
    workspace = KAGGLE / "tmp" / "arena"  # not among the outputs, and with more room
    code = "import json, sys; from arena_ensemble.kaggle.unpack import predict_options; "
    code += "print(json.dumps(predict_options(*sys.argv[1:])))"
    places = [str(PACK), str(workspace), str(TEST), str(KAGGLE / "input")]
    command = [sys.executable, "-c", code, *places]
    opened = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert opened.returncode == 0, "the pack cannot be opened: the last line above says why"

    submission = KAGGLE / "working" / "submission.csv"
    submission.unlink(missing_ok=True)
    command = [sys.executable, "-m", "arena_ensemble", "predict", "--offline"]
    command += ["--workspace", str(workspace), "--test", str(TEST), "--out", str(submission){more}]
    ended = subprocess.run([*command, *json.loads(opened.stdout)], check=False).returncode
    # predict keeps a valid file from its first minute: the prior, then a pool of the members so far
    there = submission.is_file()
    if ended == 4:
        print("NOT ALL MEMBERS predicted: the lines above name who was left out, and why")
    elif ended == 5:
        print("OUT OF TIME: the lines above say what was left out")
    elif ended and there and os.environ.get("KAGGLE_IS_COMPETITION_RERUN"):
        print(f"predict ended with exit code {{ended}}: the submission is what was there by then")
    else:
        assert ended == 0, f"predict ended with exit code {{ended}}: the lines above say why"
    assert there, "predict has written no submission"
    """
_SHOW: Final = """
    print((KAGGLE / "working" / "submission.csv").read_text()[:400])
    """


def cells(competition: str, hours: float | None, use_folds: UseFolds = None) -> list[str]:
    """The notebook's code, a text a cell."""
    words = "" if hours is None else f', "--hours", "{hours:g}"'
    if use_folds is not None:
        text = use_folds if isinstance(use_folds, str) else ",".join(map(str, use_folds))
        words += f', "--use-folds", "{text}"'
    texts = (_FIND.format(competition=competition), _INSTALL, _PREDICT.format(more=words), _SHOW)
    return [textwrap.dedent(text).strip() for text in texts]


def code_of(text: str) -> list[str]:
    """The code cells of a notebook's JSON."""
    return [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def notebook(competition: str, hours: float | None, use_folds: UseFolds = None) -> str:
    """A notebook (nbformat 4.5) as JSON."""
    parts: list[dict[str, Any]] = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": _TITLE}]
    for place, code in enumerate(cells(competition, hours, use_folds)):
        cell = {"cell_type": "code", "id": f"cell-{place}", "metadata": {}, "source": code}
        parts.append({**cell, "outputs": [], "execution_count": None})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    value = {"cells": parts, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(value, indent=1) + "\n"


def kernel_metadata(
    owner: str,
    slug: str,
    competition: str,
    dataset_sources: Sequence[str],
    model_sources: Sequence[str],
    *,
    machine: str,
) -> dict[str, Any]:
    """``kernel-metadata.json`` as ``kaggle kernels push`` reads it: private, without internet.

    ``machine`` is Kaggle's name of the accelerator, empty for none.
    """
    return {
        "id": f"{owner}/{slug}-notebook",
        "title": f"{slug} notebook",
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": bool(machine),
        "enable_internet": False,
        "machine_shape": machine,
        "dataset_sources": [f"{owner}/{slug}", *dataset_sources],
        "competition_sources": [competition],
        "kernel_sources": [],
        "model_sources": list(model_sources),
    }


def dataset_metadata(owner: str, slug: str) -> dict[str, Any]:
    """``dataset-metadata.json`` as ``kaggle datasets create`` reads it."""
    return {"title": slug, "id": f"{owner}/{slug}", "licenses": [{"name": "other"}]}
