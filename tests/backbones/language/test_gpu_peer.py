"""The peer of benchmarks/gpu.py has a figure whatever happens: out of memory at any moment, out of time."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arena_ensemble.deadline import Deadline

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
pytestmark = [
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks/ is not part of this copy"),
    pytest.mark.filterwarnings("ignore"),  # of transformers about its own names, through PEFT
]
CPU = torch.device("cpu")


@pytest.fixture
def gpu_peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    torch.set_num_threads(1)
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("gpu", "gpu_peer", "gpu_sides"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import gpu_peer

    return gpu_peer


def run(gpu_peer: Any, monkeypatch: pytest.MonkeyPatch, memory: Any, seconds: float = 600) -> list[Any]:
    """What the peer yields for 96 rows; ``memory(rows of a batch, batches so far)``: whether it is short."""
    import gpu

    lengths = gpu.row_lengths(None, 96, 64)
    sequences = gpu.random_sequences(lengths, gpu.TINY["vocab_size"])
    batches = 0

    def short(part: Any, given: Any, named: dict[str, Any]) -> None:
        nonlocal batches
        batches += part.training
        if part.training and memory(len(named["input_ids"]), batches):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model = gpu_peer._model

    def watched(*given: Any) -> Any:
        made = model(*given)
        made.register_forward_pre_hook(short, with_kwargs=True)
        return made

    monkeypatch.setattr(gpu_peer, "_model", watched)
    arguments = argparse.Namespace(quick=False, checkpointing="auto")
    limit = Deadline(time.perf_counter() + seconds, time.perf_counter)
    monkeypatch.setattr(gpu_peer, "adapter_rank", lambda _: 4)
    return list(gpu_peer.peer(gpu.TINY, sequences, CPU, arguments, limit))


def test_a_setting_that_does_not_fit_is_passed_over(gpu_peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_peer, "SETTINGS", ((8, False), (4, False)))
    training, prediction = run(gpu_peer, monkeypatch, lambda rows, _: rows > 4)
    assert training[0] == "training"
    assert training[1]["setting"] == "4 rows a batch"
    assert training[1]["ended"] == "whole"
    assert len(training[2]) == 96
    assert 0 < training[1]["padding_share"] < 1
    assert training[1]["seconds"] > 0
    assert prediction[0] == "prediction"
    assert len(prediction[2]) == 96


def test_out_of_memory_late_in_the_run_leaves_the_steps_before(
    gpu_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_peer, "SETTINGS", ((8, False), (16, False)))
    trials = 4 + 2  # batches of two steps of each setting
    training, _ = run(gpu_peer, monkeypatch, lambda rows, done: rows == 8 and done > trials + 9)
    name = training[1]["setting"]
    assert (training[1]["ended"], len(training[2])) == (
        ("memory", 64) if name == "8 rows a batch" else ("whole", 96)
    )


def test_out_of_memory_early_in_the_run_falls_to_the_next(
    gpu_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_peer, "_by_speed", lambda *_: iter([(8, False), (4, True)]))
    training, _ = run(gpu_peer, monkeypatch, lambda rows, done: rows == 8 and done > 3)
    assert training[1]["setting"] == "4 rows a batch, layers computed again"
    assert training[1]["ended"] == "whole"


def test_a_run_without_time_is_measured_by_its_first_step(
    gpu_peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_peer, "_by_speed", lambda *_: iter([(8, False)]))
    training, prediction = run(gpu_peer, monkeypatch, lambda *_: False, seconds=0)
    assert training[1]["ended"] == "time"
    assert len(training[2]) == 16
    assert np.isfinite(training[1]["seconds"])
    assert len(prediction[2]) == 32
