"""One contract, every architecture and head: padding, batches, files, heads, gradients, pooling."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import DECODERS, ENCODERS, battles, recipe, save_base
from safetensors.torch import load_file, save_file

from arena_ensemble import backbones
from arena_ensemble.backbones.language import adapters, inference, loading
from arena_ensemble.backbones.language import trainer as _training
from arena_ensemble.backbones.language.model import MemberModel
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.sequences import TokenSequences, TrainingSet, collate
from arena_ensemble.backbones.language.training_data import training_set_of
from arena_ensemble.errors import ArtifactError

pytestmark = pytest.mark.slow
CASES = [(kind, "classify") for kind in (*ENCODERS, *DECODERS)]
CASES += [(kind, "generate") for kind in DECODERS] + [("bert", "reward"), ("llama", "reward")]


class Fold:
    """A base, a recipe and its fitted fold."""

    def __init__(self, root: Path, kind: str, head: str) -> None:
        self.base = root / "bases" / kind
        if not self.base.exists():
            save_base(self.base, kind)
        self.recipe = recipe(self.base, head)
        self.cache = root / "cache"
        self.folder = root / f"{kind}-{head}"
        self.folder.mkdir()
        self.module = backbones.get(head)
        self.module.prepare(battles(), recipe=self.recipe, cache=self.cache)
        self.fitted: Any = self.module.fit(
            battles(), recipe=self.recipe, folder=self.folder, cache=self.cache
        )
        self.log_probs = self.module.predict(self.fitted, battles().without_outcomes())

    def untrained(self, **sections: Any) -> MemberModel:
        """The same base with fresh adapters."""
        chosen = recipe(self.base, self.recipe.backbone, **sections)
        return open_model(chosen, cache=self.cache)


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Fold]:
    root = tmp_path_factory.mktemp("contract")
    torch.set_num_threads(1)
    return {case: Fold(root, *case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_same_answers_for_any_batch_size_and_order(folds: dict[Any, Fold], case: tuple[str, str]) -> None:
    fold = folds[case]
    rows = battles().without_outcomes()
    order = np.random.default_rng(0).permutation(len(rows))
    alone = fold.module.predict(fold.fitted, rows.take(order[:1]))
    shuffled = fold.module.predict(fold.fitted, rows.take(order))
    np.testing.assert_allclose(alone, fold.log_probs[order[:1]], atol=1e-5)
    np.testing.assert_allclose(shuffled, fold.log_probs[order], atol=1e-5)
    assert np.isfinite(fold.log_probs).all()
    assert fold.log_probs.std(axis=0).min() > 1e-4, "a constant answer would pass every comparison here"


@pytest.mark.parametrize("case", [c for c in CASES if c[0] in DECODERS], ids="-".join)
def test_same_answers_for_either_padding_side(folds: dict[Any, Fold], case: tuple[str, str]) -> None:
    """Right padding without a mask against left padding with mask and positions."""
    fold = folds[case]
    encoder = fold.fitted.encoder
    sequences = encoder.joined(encoder.encode(battles()))
    sides = [
        inference.predict_logits(
            fold.fitted.head_model,
            sequences,
            policy=fold.fitted.policy,
            pad_id=encoder.pad_id,
            batch_tokens=4096,
            left=left,
        )
        for left in (False, True)
    ]
    np.testing.assert_allclose(sides[0], sides[1], atol=1e-5)


def test_new_process_reads_the_same_bits(folds: dict[Any, Fold], tmp_path: Path) -> None:
    script = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np, torch
torch.set_num_threads(1)
from architectures import battles, recipe
from arena_ensemble import backbones
for job in json.load(open(sys.argv[1])):
    r = recipe(job["base"], job["head"])
    module = backbones.get(job["head"])
    fitted = module.load(Path(job["folder"]), recipe=r, cache=Path(job["cache"]))
    np.save(job["out"], module.predict(fitted, battles().without_outcomes()))
"""
    jobs = [
        {
            "base": str(fold.base),
            "head": fold.recipe.backbone,
            "folder": str(fold.folder),
            "cache": str(fold.cache),
            "out": str(tmp_path / f"{kind}-{head}.npy"),
        }
        for (kind, head), fold in folds.items()
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            str(tmp_path / "jobs.json"),
            str(Path(__file__).parents[1] / "helpers"),
        ],
        check=True,
    )
    for job, fold in zip(jobs, folds.values(), strict=True):
        assert np.load(job["out"]).tobytes() == fold.log_probs.tobytes(), job["out"]


@pytest.mark.parametrize("case", [c for c in CASES if c[1] != "generate"], ids="-".join)
def test_missing_head_is_an_error(folds: dict[Any, Fold], case: tuple[str, str], tmp_path: Path) -> None:
    fold = folds[case]
    tensors = load_file(str(fold.folder / "weights.safetensors"))
    heads = [name for name in tensors if "score" in name or "classifier" in name]
    assert heads
    for name in heads:
        assert tensors[name].dtype == torch.float32
        del tensors[name]
    for name in ("settings.json", "base.json"):
        (tmp_path / name).write_bytes((fold.folder / name).read_bytes())
    save_file(tensors, str(tmp_path / "weights.safetensors"))
    with pytest.raises(ArtifactError, match="freshly initialised"):
        fold.module.load(tmp_path, recipe=fold.recipe, cache=fold.cache)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_one_step_moves_every_adapter_and_nothing_frozen(
    folds: dict[Any, Fold], case: tuple[str, str]
) -> None:
    fold = folds[case]
    member = fold.untrained(train={"batch_rows": 12})
    before = {name: p.detach().clone() for name, p in member.head_model.named_parameters()}
    _trainer(member, training_set_of(member.encoder, battles())[0]).run()
    for name, parameter in member.head_model.named_parameters():
        moved = not torch.equal(before[name], parameter)
        if "lora_B" in name or name in member.head_parameters:
            assert moved, f"{name} has not learned"
        elif "lora_" not in name:
            assert not moved, f"{name} is frozen and has moved"
    assert case[1] == "generate" or member.head_parameters


def _trainer(member: MemberModel, training_set: TrainingSet) -> _training.Trainer:
    return _training.Trainer(
        member.head_model,
        training_set,
        member.encoder.recipe.train,
        policy=member.policy,
        seed=0,
        pad_id=member.encoder.pad_id,
        head=member.head_parameters,
    )


def _gradients(member: MemberModel, training_set: TrainingSet, batch_tokens: int) -> dict[str, torch.Tensor]:
    """Gradients of the mean loss over all readings, cut into micro-batches of a token budget."""
    trainer = _trainer(member, training_set)
    settings = member.encoder.recipe.train.model_copy(
        update={"batch_rows": 64, "batch_tokens": batch_tokens, "max_grad_norm": 0.0, "learning_rate": 1e-12}
    )
    trainer.settings = settings
    kept: dict[str, torch.Tensor] = {}

    def keep() -> None:
        kept.update({k: p.grad.clone() for k, p in trainer.named.items() if p.grad is not None})

    trainer.optimizer.register_step_pre_hook(lambda *_: keep())
    [step] = trainer.plan(0)
    member.head_model.train()  # activations are recomputed in training mode only
    for part in member.head_model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0  # the comparison is of arithmetic
    trainer.train_step(step, 1.0)
    return kept


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_accumulation_and_checkpointing_change_no_gradient(
    folds: dict[Any, Fold], case: tuple[str, str]
) -> None:
    fold = folds[case]
    found = []
    for budget, checkpointing, late in (
        (1 << 20, False, False), (128, False, False), (1 << 20, True, False), (1 << 20, True, True),
    ):  # fmt: skip
        member = fold.untrained(train={"gradient_checkpointing": False if late else checkpointing})
        if late:
            loading.recompute_activations(member.head_model.model)
        recomputed = [bool(getattr(m, "gradient_checkpointing", False)) for m in member.head_model.modules()]
        assert any(recomputed) == checkpointing
        found.append(_gradients(member, training_set_of(member.encoder, battles())[0], budget))
    whole, cut, checkpointed, late_checkpointed = found
    assert whole.keys() == cut.keys() == checkpointed.keys()
    for name, gradient in checkpointed.items():
        assert torch.equal(late_checkpointed[name], gradient), f"{name}: turned on when memory ran out"
    scale = max(float(g.abs().max()) for g in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, atol=1e-5 * scale, rtol=1e-4)
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-5 * scale, rtol=1e-4)


PADS = [(kind, "classify") for kind in DECODERS] + [("llama", "generate"), ("gemma2", "generate")]


@pytest.mark.parametrize("case", PADS, ids="-".join)
@pytest.mark.parametrize("pad", [False, "eos"])
def test_the_true_last_token_is_pooled_whatever_the_pad_token(
    folds: dict[Any, Fold], tmp_path: Path, pad: bool | str, case: tuple[str, str]
) -> None:
    """A base without pad token, or with pad = eos, answers as the one with a pad token of its own."""
    fold, (kind, head) = folds[case], case
    base = save_base(tmp_path / "base", kind, pad=pad, padding_side="left")
    words = fold.fitted.encoder.tokenizer
    module, chosen = backbones.get(head), recipe(base, head)
    member = open_model(chosen, cache=tmp_path / "cache")
    adapters.load_weights(member.head_model, fold.folder / "weights.safetensors")
    predicted = module.predict(member.ready(), battles())
    np.testing.assert_allclose(predicted, fold.log_probs, atol=1e-5)
    assert words.pad_token_id is not None


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_whose_tokenizer_pads_on_the_left_answers_the_same(
    folds: dict[Any, Fold], tmp_path: Path, kind: str
) -> None:
    """Padding is ours, on the right; what the tokenizer would do by itself does not matter."""
    fold = folds[kind, "classify"]
    base = save_base(tmp_path / "base", kind, padding_side="left")
    (tmp_path / "fold").mkdir()
    predicted = fold.module.predict(
        fold.module.fit(battles(), recipe=recipe(base), folder=tmp_path / "fold", cache=tmp_path / "cache"),
        battles().without_outcomes(),
    )
    assert predicted.tobytes() == fold.log_probs.tobytes()


def test_collate_masks_only_where_it_must() -> None:
    sequences = TokenSequences(
        np.arange(9, dtype=np.int32), np.zeros(9, np.int8), np.array([0, 4, 9]), np.array([[0], [1]])
    )
    settings: dict[str, Any] = {"pad_id": 77, "segment_ids": None}
    causal = collate(sequences, np.array([0, 1]), causal=True, **settings)
    assert "attention_mask" not in causal
    assert causal["input_ids"].tolist() == [[0, 1, 2, 3, 77], [4, 5, 6, 7, 8]]
    assert causal["last"].tolist() == [3, 4]
    both = collate(sequences, np.array([0, 1]), causal=False, **settings)
    assert both["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5]
    assert "attention_mask" not in collate(sequences, np.array([1]), causal=False, **settings)
