"""The notebook of a pack and the metadata that Kaggle's own command line uploads it with."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any, Final

from ..pipeline.arguments import UseFolds

NOTEBOOK: Final = "notebook.ipynb"
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
    depths = ("*", "*/*", "*/*/*")
    PACK = next(path.parent for d in depths for path in KAGGLE.glob(f"input/{{d}}/arena-pack.json"))
    DATA = next(path for d in depths for path in KAGGLE.glob(f"input/{{d}}") if path.name == {competition!r})
    os.environ["HF_HUB_OFFLINE"] = "1"
    """
_INSTALL: Final = """
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wheels = ["--no-index", "--find-links", str(PACK / "wheels"), "-r", str(PACK / "requirements.txt")]
    subprocess.run([*pip, *wheels], check=True)
    """
_PREDICT: Final = """
    code = "import json, pathlib, sys; from arena_ensemble.kaggle.unpack import open_pack; "
    code += "print(json.dumps(open_pack(*map(pathlib.Path, sys.argv[1:]))))"
    workspace = KAGGLE / "tmp" / "arena"  # not among the outputs, and with more room
    opened = subprocess.run(
        [sys.executable, "-c", code, str(PACK), str(workspace)],
        check=True, stdout=subprocess.PIPE, text=True,
    )
    bases = json.loads(opened.stdout)

    test = next(p for p in (DATA / "test.parquet", DATA / "test.csv") if p.exists())
    command = [sys.executable, "-m", "arena_ensemble", "predict", "--offline"]
    command += ["--workspace", str(workspace), "--test", str(test)]
    command += ["--out", str(KAGGLE / "working" / "submission.csv"){more}]
    if (DATA / "sample_submission.csv").exists():
        command += ["--sample-submission", str(DATA / "sample_submission.csv")]
    for name, folder in bases.items():
        command += ["--base", f"{{name}}={{folder}}"]
    done = subprocess.run(command, check=False)
    # 4 is partly done and 5 out of time: the submission on disk is valid, from what was predicted until then
    assert done.returncode in (0, 4, 5), f"predict ended with exit code {{done.returncode}}"
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
    owner: str, slug: str, competition: str, model_sources: Sequence[str], *, gpu: bool
) -> dict[str, Any]:
    """``kernel-metadata.json`` as ``kaggle kernels push`` reads it: private, without internet."""
    return {
        "id": f"{owner}/{slug}-notebook",
        "title": f"{slug} notebook",
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": gpu,
        "enable_internet": False,
        "dataset_sources": [f"{owner}/{slug}"],
        "competition_sources": [competition],
        "kernel_sources": [],
        "model_sources": list(model_sources),
    }


def dataset_metadata(owner: str, slug: str) -> dict[str, Any]:
    """``dataset-metadata.json`` as ``kaggle datasets create`` reads it."""
    return {"title": slug, "id": f"{owner}/{slug}", "licenses": [{"name": "other"}]}
