"""What a fold in training goes on from: its own base, tokenizer and whole checkpoints, on any card."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import battles, recipe, save_base
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from arena_ensemble.backbones.language import checkpoints
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.trainer import Trainer
from arena_ensemble.backbones.language.training_data import training_set_of
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import OutOfTime, StaleError
from arena_ensemble.folds import make_folds
from arena_ensemble.pipeline import tasks
from arena_ensemble.pipeline.tasks import Job
from arena_ensemble.recipes import Recipe
from tests.helpers.ticking import Ticking


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


def run(folder: Path, base: Path, *, fold: int = 0, seconds: float | None = None, **train: Any) -> None:
    made = recipe(base, train={"epochs": 3, **train}).model_copy(update={"name": "mine"})
    rows = battles(24)
    deadline = None if seconds is None else Deadline.after(seconds / 3600, clock=Ticking())
    job = Job(folder, rows, make_folds(rows, n_folds=3), deadline=deadline)
    task = tasks.plan(job, "mine", made)[fold]
    tasks.prepare(job, made)
    tasks.run_fold(job, task)


def begun(folder: Path, base: Path, **train: Any) -> Path:
    """A fold that stopped in time; its checkpoint."""
    with pytest.raises(OutOfTime):
        run(folder, base, seconds=30, **train)
    [place] = (folder / "models" / "mine" / "fold-0.partial").glob("checkpoint-*")
    return place


def other_weights(base: Path) -> str:
    tensors = {name: 1.1 * tensor for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    return "another base model"


def other_tokenizer(base: Path) -> str:
    values = json.loads((base / "tokenizer.json").read_text())
    values["model"]["merges"] = values["model"]["merges"][:-40]
    (base / "tokenizer.json").write_text(json.dumps(values))
    return "another tokenizer"


@pytest.mark.parametrize("change", [other_weights, other_tokenizer])
def test_a_fold_goes_on_upon_what_it_was_begun_on_alone(
    base: Path, tmp_path: Path, change: Callable[[Path], str]
) -> None:
    """Adapters of one base on another of the same shape would train on without an error."""
    other = Path(shutil.copytree(base, tmp_path / "other"))
    begun(tmp_path / "w", base)
    run_again = tmp_path / "again"
    shutil.copytree(tmp_path / "w", run_again)
    what = change(other)
    with pytest.raises(StaleError, match=rf"fold-0.partial: was trained with {what}|on {what}") as caught:
        run(tmp_path / "w", other)
    assert "--base mine=DIR" in str(caught.value)
    run(tmp_path / "w", base)
    with pytest.raises(StaleError, match=f"fold-0: was trained .*{what}"):  # and so does the next fold
        run(tmp_path / "w", other, fold=1)
    shutil.rmtree(next(run_again.rglob("checkpoint-*")))
    run(run_again, other)  # nothing to go on from: nothing is mixed


def test_what_was_begun_with_another_recipe_starts_anew_and_says_so(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun(tmp_path, base)
    with caplog.at_level(logging.WARNING):
        run(tmp_path, base, learning_rate=1e-3)
    assert "was begun with another recipe: its checkpoint is dropped" in caplog.text


def trainer_of(base: Path, cache: Path, **train: Any) -> Trainer:
    made: Recipe = recipe(base, train={"epochs": 2, "checkpoint_every": 2, **train})
    member = open_model(made, cache=cache)
    training_set, _ = training_set_of(member.encoder, battles())
    return Trainer(
        member.head_model, training_set, made.train, policy=member.policy, seed=0,
        pad_id=member.encoder.pad_id, head=member.head_parameters, name="mine fold-0",
    )  # fmt: skip


def without(name: str) -> Callable[[Path], None]:
    """Drops a tensor, and the hash with it."""

    def damage(place: Path) -> None:
        kept = {k: v for k, v in load_file(place / "state.safetensors").items() if not k.startswith(name)}
        save_file(kept, place / "state.safetensors")
        meta = json.loads((place / "state.json").read_text())
        del meta["sha256"]
        (place / "state.json").write_text(json.dumps(meta))

    return damage


def flipped(place: Path) -> None:
    content = bytearray((place / "state.safetensors").read_bytes())
    content[-5] ^= 0x40
    (place / "state.safetensors").write_bytes(bytes(content))


def reshaped(place: Path) -> None:
    without("no such")(place)
    tensors = load_file(place / "state.safetensors")
    name = next(name for name in tensors if name.startswith("weight/"))
    save_file({**tensors, name: torch.ones(3)}, place / "state.safetensors")


def text(content: bytes) -> Callable[[Path], None]:
    def damage(place: Path) -> None:
        (place / "state.json").write_bytes(content)

    return damage


DAMAGE = {
    "empty": text(b""), "no object": text(b"[]"), "no fields": text(b"{}"), "no text": text(b"\xff\xfe"),
    "state": text(b'{"state": 3, "scaler": {}, "seed": 0}'),
    "unknown": text(b'{"state": {"of_tomorrow": 3}, "scaler": {}, "seed": 0}'),
    "flipped": flipped, "no average": without("ema/"), "no random state": without("rng"),
    "no logits": without("seen_logits"), "no weight": without("weight/"), "another shape": reshaped,
}  # fmt: skip


@pytest.fixture(scope="module")
def kept(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one whole checkpoint."""
    folder = tmp_path_factory.mktemp("kept")
    trainer_of(base, folder / "cache", ema=0.9).run(checkpoints=folder / "kept")
    return folder / "kept"


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_whole(
    base: Path, kept: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(kept, tmp_path / "kept")
    [place] = (tmp_path / "kept").glob("checkpoint-*")
    DAMAGE[how](place)
    again = trainer_of(base, tmp_path, ema=0.9)
    before = [parameter.detach().clone() for parameter in again.parameters]
    assert checkpoints.restore(again, tmp_path / "kept") is None
    assert again.state.done == 0
    assert all(torch.equal(a, b) for a, b in zip(before, again.parameters, strict=True))
    assert "is passed over" in caplog.text


def test_an_earlier_version_s_checkpoint_is_continued(base: Path, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, tmp_path / "kept")
    [place] = (tmp_path / "kept").glob("checkpoint-*")
    meta = json.loads((place / "state.json").read_text())
    del meta["sha256"], meta["state"]["recomputes"]
    (place / "state.json").write_text(json.dumps(meta))
    assert checkpoints.restore(trainer_of(base, tmp_path, ema=0.9), tmp_path / "kept") == 4


def scaled(trainer: Trainer) -> Trainer:
    """As on a card without bfloat16."""
    trainer.scaler = trainer.gradients.scaler = torch.amp.GradScaler("cpu", enabled=True)
    return trainer


@pytest.mark.parametrize("first", [False, True])
def test_a_fold_begun_with_a_scaler_or_without_goes_on_on_the_other_kind_of_card(
    base: Path, tmp_path: Path, first: bool
) -> None:
    one, other = trainer_of(base, tmp_path), trainer_of(base, tmp_path)
    (scaled(one) if first else one).run(checkpoints=tmp_path / "kept")
    (other if first else scaled(other)).run(checkpoints=tmp_path / "kept", resume=True)
    for a, b in zip(one.parameters, other.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_litter_of_kills_does_not_pile_up(base: Path, tmp_path: Path) -> None:
    place = begun(tmp_path, base)
    for name in (".checkpoint-7.tmp-1", ".checkpoint-9.tmp-2"):
        (place.parent / name).mkdir()
    place.rename(place.with_name(f".{place.name}.old-3"))  # killed between two renames
    with pytest.raises(OutOfTime):
        run(tmp_path, base, seconds=16)
    found = [path.name for path in place.parent.iterdir() if "checkpoint" in path.name]
    assert len(found) == 1
    assert int(found[0].removeprefix("checkpoint-")) >= int(place.name.removeprefix("checkpoint-"))


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("os error 28"), MemoryError()]
)
def test_a_full_disk_costs_a_checkpoint_and_not_the_training(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    plain = trainer_of(base, tmp_path)
    plain.run(checkpoints=tmp_path / "plain")
    room = [True]

    def save(tensors: Any, path: str) -> None:
        if not room.pop(0):
            raise error
        save_file(tensors, path)

    monkeypatch.setattr("safetensors.torch.save_file", save)
    room[:] = [True, False, False]
    hit = trainer_of(base, tmp_path, checkpoint_every=1)
    with pytest.raises(IndexError):  # killed at the fourth
        hit.run(checkpoints=tmp_path / "kept")
    assert "goes on without the checkpoint of step 2; the last one is of step 1" in caplog.text
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["checkpoint-1"]
    room[:] = [False] * 9
    rest = trainer_of(base, tmp_path, checkpoint_every=1)
    rest.run(checkpoints=tmp_path / "kept", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters, rest.parameters, strict=True))


def test_what_is_kept_where_the_last_checkpoint_failed_is_said(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write", full)
    with pytest.raises(OutOfTime, match=r"out of time after \d+ of 6 steps, 0 of them kept; run the same"):
        trainer_of(base, tmp_path, checkpoint_every=0).run(
            checkpoints=tmp_path / "kept", deadline=Deadline.after(9 / 3600, clock=Ticking())
        )
