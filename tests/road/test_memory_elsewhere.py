"""Memory that runs out where no batch can be cut: the error names the member, what it did, and remedies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import adapters, loading, trainer
from arena_ensemble.backbones.language.heads import GenerationHeadModel
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.errors import MemberError
from arena_ensemble.pipeline import equivalence


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError("Unable to allocate 3.00 GiB for an array"),
]
PLACES: dict[str, tuple[Any, str, str]] = {
    "loading": (loading, "load_model", "loading of test: out of memory"),
    "the check of the verdicts": (GenerationHeadModel, "mass_outside", "training of test: out of memory"),
    "clipping": (torch.nn.utils, "clip_grad_norm_", "optimizer step 1 ran out of memory"),
    "the average": (torch, "_foreach_lerp_", "optimizer step 1 ran out of memory"),
    "the best weights": (trainer, "exchange", "training of test: out of memory"),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", PLACES)
def test_training_names_what_it_did_and_what_helps(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    owner, name, message = PLACES[place]

    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(owner, name, full)
    chosen = recipe(base, "generate", train={"ema": 0.9, "early_stopping": 1})
    with pytest.raises(MemberError, match=re.escape(message)) as caught:
        backbones.get("generate").fit(battles(24), recipe=chosen, folder=tmp_path, cache=tmp_path)
    said = str(caught.value)
    assert "end what else uses the memory" in said
    assert "adapter" in said
    assert "\n" not in said


@pytest.mark.parametrize("settings", [{"early_stopping": 1}, {"ema": 0.9}])
def test_the_kept_weights_need_no_room_beside_the_trained_ones(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """A second copy of the weights on a card that training has filled would cost all of it at its end."""
    monkeypatch.setattr(trainer, "exchange", lambda *_: pytest.fail("keeps what is thrown away"))
    chosen = recipe(base, train={"epochs": 2, **settings})
    fitted = backbones.get("classify").fit(battles(24), recipe=chosen, folder=tmp_path, cache=tmp_path)
    assert fitted.facts["optimizer_steps"]


def test_what_fails_after_the_last_step_does_not_cost_the_training(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, module = recipe(base, train={"epochs": 2, "checkpoint_every": 4}), backbones.get("classify")

    def full(*_: Any, **__: Any) -> None:
        raise ERRORS[0]

    def fit(*, resume: bool) -> list[float]:
        seen: list[float] = []
        module.fit(
            battles(24), recipe=chosen, folder=tmp_path, cache=tmp_path, resume=resume,
            on_progress=lambda done, *_: seen.append(done),
        )  # fmt: skip
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(adapters, "merge_adapters", full)
        with pytest.raises(MemberError, match=r"merging of test: out of memory"):
            fit(resume=False)
    assert fit(resume=True) == [9, 10, 11, 12]
    assert not list(tmp_path.glob("checkpoint-*"))


def test_rows_that_cannot_be_predicted_are_not_kept_and_cost_no_fold(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chosen, module = recipe(base), backbones.get("classify")
    fitted = module.fit(battles(), recipe=chosen, folder=tmp_path, cache=tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise MemberError("out of memory with a single row")

    monkeypatch.setattr(MemberModel, "log_probs", full)
    equivalence.keep_rows(tmp_path, module, fitted, battles(), chosen)
    assert not (tmp_path / equivalence.CHECK).exists()
    assert "keeps no rows to measure [predict] on: out of memory with a single row" in caplog.text


def test_prediction_names_its_own_settings(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, module = recipe(base), backbones.get("classify")
    module.fit(battles(), recipe=chosen, folder=tmp_path, cache=tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise ERRORS[0]

    with monkeypatch.context() as patch:
        patch.setattr(adapters, "load_weights", full)
        with pytest.raises(
            MemberError, match=r"loading of test: out of memory .*set quantise = '4bit'.*predict"
        ):
            module.load(tmp_path, recipe=chosen, cache=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(adapters, "merge_adapters", full)
        with pytest.raises(MemberError, match=r"merging of test: out of memory .*merge = false"):
            module.load(tmp_path, recipe=chosen, cache=tmp_path)
