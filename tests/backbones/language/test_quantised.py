"""Bases in 4 and 8 bits, for real where bitsandbytes is installed: it runs on a CPU too."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import architectures
import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import adapters
from arena_ensemble.backbones.language.opening import open_model
from arena_ensemble.backbones.language.sequences import collate
from arena_ensemble.errors import DependencyError, RecipeError

here = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="the extra arena-ensemble[quantised] is absent"
)
_CASTS = pytest.mark.filterwarnings("ignore:MatMul8bitLt. inputs will be cast:UserWarning")
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128}  # 4 bits come in blocks of 64
_AGAIN = """
import sys; from pathlib import Path; import numpy as np
from architectures import battles; from arena_ensemble import backbones
from arena_ensemble.recipes import Recipe
base, folder, cache, out = sys.argv[1:5]
recipe = Recipe.model_validate_json(Path(out + ".json").read_text())
fitted = backbones.get("classify").load(Path(folder), recipe=recipe, cache=Path(cache))
np.save(out, backbones.get("classify").predict(fitted, battles(8)))
"""


@here
@_CASTS
@pytest.mark.parametrize("head", ["generate", "reward"])
def test_rounded_activations_do_not_refuse_a_base_in_8_bits(
    tmp_path: Path, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 too, rows in a batch differ from each alone by a percent or two of the logits."""
    sizes = {**architectures._DECODER, **WIDE, "num_hidden_layers": 6}
    monkeypatch.setattr(architectures, "_DECODER", sizes)
    chosen = recipe(save_base(tmp_path / "llama", "llama"), head, adapter={"quantise": "8bit"})
    module, rows, folder, cache = backbones.get(head), battles(8), tmp_path / "fold", tmp_path / "cache"
    folder.mkdir()
    module.prepare(rows, recipe=chosen, cache=cache)
    assert module.fit(rows, recipe=chosen, folder=folder, cache=cache).facts["optimizer_steps"]


@here
@_CASTS
@pytest.mark.parametrize(("bits", "layer"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
def test_a_quantised_base_learns_and_comes_back(
    tmp_path: Path, bits: str, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(architectures, "_DECODER", {**architectures._DECODER, **WIDE})
    base = save_base(tmp_path / "llama", "llama")
    chosen = recipe(base, adapter={"quantise": bits}, train={"epochs": 6, "learning_rate": 3e-3})
    module, rows, folder, cache = backbones.get("classify"), battles(8), tmp_path / "fold", tmp_path / "cache"
    folder.mkdir()
    module.prepare(rows, recipe=chosen, cache=cache)
    fitted = module.fit(rows, recipe=chosen, folder=folder, cache=cache)
    model = fitted.head_model.model
    assert layer in {type(part).__name__ for part in model.modules()}
    assert model.score.weight.is_floating_point()
    assert str(model.score.weight.dtype) == "torch.float32"
    assert not adapters.unmoved(fitted.head_model)
    losses = fitted.facts["epoch_losses"]
    assert losses[-1] < losses[0] - 0.05
    told, out = module.predict(fitted, rows), tmp_path / "again.npy"
    Path(f"{out}.json").write_text(chosen.model_dump_json(), encoding="utf-8")
    helpers = str(Path(architectures.__file__).parent)
    code = f"import sys; sys.path[:0] = {[helpers, *sys.path]!r}\n{_AGAIN}"
    places = [str(base), str(folder), str(cache), str(out)]
    done = subprocess.run([sys.executable, "-c", code, *places], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(out), told)


@here
@pytest.mark.parametrize("bits", ["4bit", pytest.param("8bit", marks=_CASTS)])
@pytest.mark.parametrize("head", ["classify", "generate"])
def test_gradients_reach_every_adapter_after_a_prediction(
    tmp_path: Path, bits: str, head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bitsandbytes packs 4-bit weights when they predict on a CPU, and nothing flows back through those."""
    monkeypatch.setattr(architectures, "_DECODER", {**architectures._DECODER, **WIDE})
    chosen = recipe(save_base(tmp_path / "llama", "llama"), head, adapter={"quantise": bits})
    member = open_model(chosen, cache=tmp_path)
    for name, parameter in member.head_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    sequences = member.encoder.joined(member.encoder.encode(battles(4)))
    batch = collate(sequences, np.arange(4), pad_id=0, segment_ids=None, causal=True)

    def gradients() -> dict[str, torch.Tensor]:
        member.head_model.train()
        member.head_model.zero_grad()
        torch.nn.functional.cross_entropy(member.head_model(batch), torch.arange(4) % 3).backward()
        named = member.head_model.named_parameters()
        return {name: p.grad.clone() for name, p in named if p.grad is not None}

    before = gradients()
    member.head_model.eval()
    predicted = member.log_probs(sequences)
    after = gradients()
    assert before.keys() == after.keys()
    assert all(bool(gradient.any()) for gradient in after.values())
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, msg=name)
    member.head_model.eval()
    np.testing.assert_array_equal(member.log_probs(sequences), predicted)


@here
def test_widths_that_4_bits_cannot_have_on_a_cpu_are_refused_before_training(tmp_path: Path) -> None:
    chosen = recipe(save_base(tmp_path / "llama", "llama"), adapter={"quantise": "4bit"})
    with pytest.raises(RecipeError, match=r"q_proj is 32 wide.*multiples of 64.*'8bit'") as caught:
        open_model(chosen, cache=tmp_path)
    assert "\n" not in str(caught.value)


def test_without_bitsandbytes_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    absent = lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    chosen = recipe(save_base(tmp_path / "llama", "llama"), adapter={"quantise": "4bit"})
    with pytest.raises(DependencyError, match=r"arena-ensemble\[quantised\]"):
        open_model(chosen, cache=tmp_path)
