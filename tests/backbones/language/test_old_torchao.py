"""Adapters beside a torchao that PEFT refuses: Kaggle's image has one."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import import_utils
from torch import nn

from arena_ensemble.backbones.language import adapters, old_torchao
from arena_ensemble.recipes import recipe_from


@pytest.fixture
def torchao(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A torchao of the version in the list, as far as PEFT asks; its answers are forgotten afterwards."""
    version = ["0.10.0"]
    find, tell = importlib.util.find_spec, importlib.metadata.version
    monkeypatch.setattr(
        import_utils.importlib.util,
        "find_spec",
        lambda name, *rest: find("json") if name == "torchao" else find(name, *rest),
    )
    monkeypatch.setattr(
        import_utils.importlib_metadata,
        "version",
        lambda name: version[0] if name == "torchao" else tell(name),
    )
    question = import_utils.is_torchao_available
    question.cache_clear()
    holders = [
        m for n, m in list(sys.modules.items()) if n.startswith("peft") and hasattr(m, question.__name__)
    ]
    yield version
    for module in holders:
        setattr(module, question.__name__, question)
    question.cache_clear()


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4)])


def test_peft_itself_refuses_an_old_one(torchao: list[str]) -> None:
    """Or the whole module is of no use any more."""
    with pytest.raises(ImportError, match="incompatible version of torchao"):
        import_utils.is_torchao_available()


def test_adapters_are_inserted_beside_an_old_one(torchao: list[str]) -> None:
    model: Any = Layers()
    settings = recipe_from({"backbone": "generate", "base": "tiny:decoder"}).adapter
    adapters.attach(model, settings, ())
    assert any(".lora_A." in f".{name}." for name, _ in model.named_parameters())
    assert model.layers[0](torch.zeros(1, 4)).shape == (1, 4)


def test_a_new_one_is_left_alone(torchao: list[str]) -> None:
    torchao[0] = "0.17.0"
    before = import_utils.is_torchao_available
    old_torchao.pass_over()
    assert import_utils.is_torchao_available is before
    assert before()
