"""Schedules, rates, reports, the watch during training, stopping: what people expect of a training loop."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architectures import battles, recipe, save_base
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble import backbones
from arena_ensemble.backbones.language import checkpoints, objective, reporting
from arena_ensemble.backbones.language import trainer as training
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.training_data import training_set_of
from arena_ensemble.battles import Battles


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


def trainer_of(base: Path, cache: Path, rows: Battles, **sections: Any) -> training.Trainer:
    chosen = recipe(base, **sections)
    member = open_model(chosen, cache=cache)
    training_set, _ = training_set_of(member.encoder, rows)
    return training.Trainer(
        member.head_model,
        training_set,
        chosen.train,
        policy=member.policy,
        seed=0,
        pad_id=member.encoder.pad_id,
        head=member.head_parameters,
    )


@given(st.integers(2, 400), st.floats(0, 0.9), st.sampled_from(["cosine", "linear", "constant"]), st.data())
def test_the_rate_climbs_once_and_then_never_rises(
    steps: int, warmup: float, schedule: str, data: st.DataObject
) -> None:
    rates = np.asarray([objective.rate_at(k, steps, warmup, schedule) for k in range(steps)])
    assert (rates > 0).all()
    assert (rates <= 1).all()
    climb = int(np.ceil(warmup * steps))
    assert (np.diff(rates[:climb]) > 0).all()
    assert (np.diff(rates[climb:]) <= 1e-12).all()
    later = data.draw(st.integers(climb, steps))
    if schedule == "linear" and later < steps:
        done = (later - warmup * steps) / max(1.0, steps - warmup * steps)
        assert rates[later] == pytest.approx(1 - done)
    if schedule == "constant":
        assert (rates[climb:] == 1).all()


def test_layers_and_head_have_their_own_rates(base: Path, tmp_path: Path) -> None:
    settings = {"learning_rate": 1e-3, "head_learning_rate": 7e-3, "layer_decay": 0.5, "weight_decay": 0.1}
    trainer = trainer_of(base, tmp_path, battles(), train=settings, adapter={"kind": "full"})
    rates, decays = {}, {}
    names = {id(p): name for name, p in trainer.named.items()}
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["peak"]
            decays[names[id(parameter)]] = group["weight_decay"]
    assert rates.keys() == trainer.named.keys()
    for name, rate in rates.items():
        if "score" in name:
            assert rate == 7e-3
        elif ".layers.0." in name:
            assert rate == 0.5e-3
        elif "embed" in name:
            assert rate == 0.25e-3
        else:
            assert rate == 1e-3, name
        assert decays[name] == (0.1 if trainer.named[name].ndim > 1 else 0.0)


def test_gradients_are_clipped_at_the_norm_that_is_asked_for(base: Path, tmp_path: Path) -> None:
    norms = {}
    for limit in (0.0, 1e-3):
        trainer = trainer_of(base, tmp_path, battles(), train={"max_grad_norm": limit, "batch_rows": 12})

        def measure(optimizer: Any, *_: Any, limit: float = limit, trainer: Any = trainer) -> None:
            squares = [float(p.grad.square().sum()) for p in trainer.parameters if p.grad is not None]
            norms[limit] = float(np.sqrt(sum(squares)))

        trainer.optimizer.register_step_pre_hook(measure)
        trainer.run()
    assert norms[0.0] > 0.01
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-2)


class Recorder(transformers.TrainerCallback):
    """Writes down what any of transformers' reports would be told."""

    logged: list[tuple[int, dict[str, float]]] = []  # noqa: RUF012
    ended = 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        self.logged.append((state.global_step, logs))

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        type(self).ended += 1


def test_reports_get_every_step_and_an_end(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        transformers.integrations, "get_reporting_integration_callbacks", lambda names: [Recorder]
    )
    Recorder.logged, Recorder.ended = [], 0
    chosen = recipe(base, train={"epochs": 2, "report_to": ["anything"]})
    folder = tmp_path / "fold-0.partial"
    folder.mkdir()
    module: Any = backbones.get("classify")
    fitted = module.fit(battles(), recipe=chosen, folder=folder, cache=tmp_path / "cache")
    steps = [step for step, values in Recorder.logged if "loss" in values]
    assert steps == list(range(1, fitted.facts["optimizer_steps"] + 1))
    assert all(np.isfinite(list(values.values())).all() for _, values in Recorder.logged)
    assert {"log_loss", "prior_log_loss", "entropy", "share_a"} <= set().union(
        *(v for _, v in Recorder.logged)
    )
    assert Recorder.ended == 1


def test_tensorboard_writes_a_curve(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra arena-ensemble[tensorboard] is not installed")
    with_warnings = "import warnings; warnings.simplefilter('default')\n"
    script = """
import sys
from pathlib import Path
from arena_ensemble.backbones.language.reporting import reporter
log, close = reporter(["tensorboard"], Path(sys.argv[1]), 3)
for step in (1, 2, 3):
    log(step, {"loss": 1.0 / step})
close()
"""
    subprocess.run([sys.executable, "-c", with_warnings + script, str(tmp_path)], check=True, env=os.environ)
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_report_names_are_checked() -> None:
    assert callable(reporting.reporter([], Path("nowhere"), 1)[0])


def test_a_collapse_is_told_while_training(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A rate far too high gives every row one class; the log says so long before the end."""
    settings = {"epochs": 40, "learning_rate": 3.0, "head_learning_rate": 30.0, "max_grad_norm": 0.0}
    rows = battles(60)
    trainer = trainer_of(base, tmp_path, rows, train={**settings, "batch_rows": 12})
    looks: list[tuple[int, dict[str, float]]] = []

    def log(step: int, values: Any) -> None:
        if "entropy" in values:
            looks.append((step, dict(values)))

    with caplog.at_level(logging.WARNING):
        trainer.run(on_log=log)
    steps = trainer.steps
    assert [step for step, _ in looks] == list(range(steps // 10, steps + 1, steps // 10))
    warned = [r.getMessage() for r in caplog.records if "steps: it " in r.getMessage()]
    assert warned
    assert "worse than the class prior" in " ".join(warned)
    early = re.search(r"^a member in training, after (\d+) of", warned[0])
    assert early is not None
    assert int(early[1]) < steps / 2


def test_a_run_killed_just_after_it_stopped_stays_stopped(base: Path, tmp_path: Path) -> None:
    """Its last checkpoint holds the step that stopped it; a better look must not set it going again."""
    settings = {"epochs": 12, "early_stopping": 1, "checkpoint_every": 1}
    values = iter([1.0, 2.0])
    trainer = trainer_of(base, tmp_path / "cache", battles(), train=settings)
    facts = trainer.run(checkpoints=tmp_path, evaluate=lambda: next(values))
    assert facts["stopped_early"]
    assert facts["optimizer_steps"] == 6
    again = trainer_of(base, tmp_path / "cache", battles(), train=settings)
    resumed = again.run(checkpoints=tmp_path, resume=True, evaluate=lambda: 0.0)
    assert resumed["stopped_early"]
    assert resumed["optimizer_steps"] == 6
    assert resumed["epoch_losses"] == facts["epoch_losses"]
    assert all(torch.equal(a, b) for a, b in zip(trainer.parameters, again.parameters, strict=True))


def test_broken_checkpoints_are_passed_over(base: Path, tmp_path: Path) -> None:
    settings = {"epochs": 2, "checkpoint_every": 2}
    trainer = trainer_of(base, tmp_path / "cache", battles(), train=settings)
    trainer.run(checkpoints=tmp_path)
    [place] = tmp_path.glob("checkpoint-*")
    content = (place / "state.safetensors").read_bytes()
    (place / "state.safetensors").write_bytes(content[: len(content) // 2])
    again = trainer_of(base, tmp_path / "cache", battles(), train=settings)
    assert not checkpoints.restore(again, tmp_path)
    assert again.state.done == 0


def test_the_mass_outside_the_verdicts_is_a_mean_over_rows(base: Path, tmp_path: Path) -> None:
    """Before training and for zero-shot alike; against transformers' own full-vocabulary logits."""
    module: Any = backbones.get("generate")
    rows, found = battles(), []
    for epochs in (0, 1):
        chosen = recipe(base, "generate", train={"epochs": epochs})
        folder = tmp_path / str(epochs)
        folder.mkdir()
        fitted = module.fit(rows, recipe=chosen, folder=folder, cache=tmp_path / "cache")
        found.append(fitted.facts["mass_outside_verdicts"])
    [encoded] = fitted.encoder.encode(rows)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    masses = []
    for start, end in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True):
        ids = torch.from_numpy(encoded.tokens[start:end].astype(np.int64))[None]
        with torch.inference_mode():
            probs = torch.softmax(model(input_ids=ids).logits[0, -1], -1)
        masses.append(1 - float(probs[fitted.head_model.verdicts].sum()))
    assert found[0] == found[1] == pytest.approx(np.mean(masses), abs=1e-4)


def test_plain_settings_are_enough_for_the_rates() -> None:
    """The inner loop reads attributes only: a benchmark needs no recipe."""
    layer = torch.nn.Linear(2, 2)
    settings = SimpleNamespace(learning_rate=1.0, head_learning_rate=None, layer_decay=1.0, weight_decay=0.0)
    [group] = objective.parameter_groups(layer, settings, [])
    assert group["peak"] == 1.0
