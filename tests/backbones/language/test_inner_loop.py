"""The inner loop takes token ids and plain settings, and needs torch, transformers, peft and numpy alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).resolve().parents[3] / "benchmarks" / "gpu.py"
OTHERS = ("polars", "pydantic", "scipy", "sklearn", "lightgbm", "joblib", "zstandard", "rich")
WITHOUT = f"""
import sys
for name in {OTHERS!r}:
    sys.modules[name] = None  # importing it now is an ImportError
"""
RUN = """
import os, runpy
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))  # as python FILE has it
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_training_loop_imports_nothing_else() -> None:
    names = (
        "trainer",
        "inference",
        "heads",
        "adapters",
        "loading",
        "speedups.fused_lora",
        "speedups.last_layer",
    )
    python("\n".join(f"import arena_ensemble.backbones.language.{name}" for name in names))


@pytest.mark.slow
def test_gpu_benchmark_rehearses_on_a_cpu_without_the_other_packages() -> None:
    if not GPU.is_file():
        pytest.skip("benchmarks/ is not part of this copy")
    last = python(RUN, str(GPU), "--device", "cpu", "--quick", "--json").splitlines()[-1]
    figures = json.loads(last)
    for side in ("ours", "transformers.Trainer"):
        for act in ("training", "prediction"):
            found = figures[side][act]
            assert found["seconds"] > 0
            assert found["tokens_per_second"] > 0
            assert 0 < found["mfu"] < 1
            assert 0 <= found["padding_share"] < 1
    assert figures["real_tokens"] > 0


def test_gpu_benchmark_without_a_gpu_says_so() -> None:
    if not GPU.is_file():
        pytest.skip("benchmarks/ is not part of this copy")
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert "no CUDA device here" in python(RUN, str(GPU))
