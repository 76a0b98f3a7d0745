"""A published reward model, with its one-label head, as the base of our reward head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language.notices import quiet


def test_the_one_label_head_is_replaced_and_the_body_is_kept(tmp_path: Path) -> None:
    causal = save_base(tmp_path / "causal", "llama")
    with torch.random.fork_rng(), quiet():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(causal, num_labels=1)
        model.save_pretrained(tmp_path / "scored")
    transformers.AutoTokenizer.from_pretrained(causal).save_pretrained(tmp_path / "scored")
    rows, reward = battles(), backbones.get("reward")
    chosen = recipe(tmp_path / "scored", "reward")
    reward.prepare(rows, recipe=chosen, cache=tmp_path / "cache")
    (tmp_path / "fold-0").mkdir()
    fitted = reward.fit(rows, recipe=chosen, folder=tmp_path / "fold-0", cache=tmp_path / "cache")
    found = reward.predict(fitted, rows)
    again = reward.load(tmp_path / "fold-0", recipe=chosen, cache=tmp_path / "cache")
    np.testing.assert_array_equal(reward.predict(again, rows), found)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-6)
    base = model.model.state_dict()
    kept = {name: t for name, t in fitted.head_model.model.state_dict().items() if "embed_tokens" in name}
    [embeddings] = kept.values()
    torch.testing.assert_close(embeddings, base["embed_tokens.weight"])
