"""The joint between a rented card and Kaggle: one base by hub id, snapshot, folder, other shards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from architectures import save_base
from safetensors.torch import load_file, save_file
from workspaces import refusal

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.backbones.language import hub, loading
from arena_ensemble.backbones.language.base_identity import BaseIdentity
from arena_ensemble.errors import ArtifactError, RecipeError
from arena_ensemble.pipeline.member_recipes import recipes_and_refusals
from arena_ensemble.recipes import Recipe, recipe_from, with_bases

HUB_ID, COMMIT = "some-org/tiny-llama", "0123456789abcdef0123456789abcdef01234567"
RECIPE = f"""backbone = "classify"
base = "{HUB_ID}"
[prompt]
template = "short-1"
max_tokens = 96
[train]
learning_rate = 1e-2
[adapter]
r = 2
"""


def identity(folder: Path) -> BaseIdentity:
    return BaseIdentity.of(folder, loading.load_config(loading.Source(str(folder))))


class Road:
    """A hub cache with one model, and a workspace whose member was trained from it offline."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workspace = folder, folder / "w"
        repository = folder / "hub" / "models--some-org--tiny-llama"
        self.snapshot = save_base(repository / "snapshots" / COMMIT, "llama")
        atomic.write_bytes(repository / "refs" / "main", COMMIT.encode())
        for name, text in sample.files(40, 8, seed=3).items():
            (folder / name).write_text(text)
        atomic.write_bytes(self.workspace / "models" / "mine" / "recipe.toml", RECIPE.encode())

    def command(self, verb: str, *more: str) -> list[str]:
        test = ["--test", str(self.folder / "test.csv"), "--workspace", str(self.workspace), "--jobs", "1"]
        return [verb, *test, "--offline", *more]

    def train(self, *more: str) -> list[str]:
        data = str(self.folder / "train.csv")
        return self.command("submission", "--data", data, "--models", "mine", "--folds", "3", *more)

    def predict(self, base: Path, out: str) -> list[str]:
        shutil.rmtree(self.workspace / "oof" / "mine", ignore_errors=True)  # predict anew
        return self.command("predict", "--base", f"mine={base}", "--out", str(self.folder / out))


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    patch = pytest.MonkeyPatch()
    made = Road(tmp_path_factory.mktemp("road"))
    with patch.context() as cache:
        cache.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(made.folder / "hub"))
        assert cli.run(made.train()) in (0, 4)  # 4: so few steps teach nothing
    hub._found.clear()
    return made


def plain_copy(road: Road, to: Path) -> Path:
    return Path(shutil.copytree(road.snapshot, to))


def resharded(road: Road, to: Path) -> Path:
    shutil.copytree(road.snapshot, to)
    (to / "model.safetensors").unlink()
    with loading.quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(road.snapshot)
        model.save_pretrained(to, max_shard_size="20KB")
    assert len(list(to.glob("*.safetensors"))) > 2
    return to


def renamed_versions(road: Road, to: Path) -> Path:
    shutil.copytree(road.snapshot, to)
    values = json.loads((to / "config.json").read_text())
    values |= {"transformers_version": "4.40.1", "torch_dtype": "float32", "_name_or_path": "/somewhere"}
    values.pop("dtype", None)
    (to / "config.json").write_text(json.dumps(values))
    save_file({"unrelated": torch.ones(2)}, to / "consolidated.safetensors")
    return to


def other_special_ids(road: Road, to: Path) -> Path:
    """A commit that names another token to stop at, a tool that names a pad token."""
    shutil.copytree(road.snapshot, to)
    values = json.loads((to / "config.json").read_text())
    values |= {"eos_token_id": [2, 7], "bos_token_id": None, "pad_token_id": 5}
    (to / "config.json").write_text(json.dumps(values))
    return to


@pytest.mark.parametrize("make", [plain_copy, resharded, renamed_versions, other_special_ids])
def test_a_fold_trained_by_hub_id_predicts_the_same_from_a_folder(
    road: Road, tmp_path: Path, make: Callable[[Road, Path], Path]
) -> None:
    base = make(road, tmp_path / "base")
    kept = identity(road.snapshot)
    assert identity(base).difference(kept) == kept.difference(identity(base)) == ""
    assert cli.run(road.predict(base, "again.csv")) == 0
    again = (road.folder / "again.csv").read_bytes()
    assert again == (road.workspace / "submission.csv").read_bytes(), "equal to the bit"


def test_an_export_elsewhere_names_the_hub_id_and_takes_the_folder(road: Road, tmp_path: Path) -> None:
    """PEFT finds the base on other machines by its hub id; here it may lie in any folder."""
    base, out = plain_copy(road, tmp_path / "base"), tmp_path / "out"
    where = ["--workspace", str(road.workspace), "--base", f"{HUB_ID}={base}"]
    assert cli.run(["export", "mine", "--peft", str(out), *where]) == 0
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == HUB_ID


def test_the_base_of_a_hub_id_is_found_by_that_name_too(road: Road, tmp_path: Path) -> None:
    base = plain_copy(road, tmp_path / "base")
    command = road.predict(base, "again.csv")
    command[command.index(f"mine={base}")] = f"{HUB_ID}={base}"
    assert cli.run(command) == 0
    assert (road.folder / "again.csv").read_bytes() == (road.workspace / "submission.csv").read_bytes()


def changed_tensor(base: Path) -> str:
    tensors = load_file(base / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][7, 3] += 1
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    return f"its tensor {name} has other values"


def rounded(base: Path) -> str:
    tensors = {name: t.bfloat16() for name, t in load_file(base / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    return "BF16"


def another_field(base: Path) -> str:
    values = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**values, "rms_norm_eps": 0.01}))
    return "its configuration differs: rms_norm_eps = 0.01, was 1e-06"


def fewer_layers(base: Path) -> str:
    values = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**values, "num_hidden_layers": 1}))
    tensors = load_file(base / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "layers.1." not in name}
    save_file(kept, base / "model.safetensors", metadata={"format": "pt"})
    return "it lacks the tensor model.layers.1."


@pytest.mark.parametrize("change", [changed_tensor, rounded, another_field, fewer_layers])
def test_another_base_is_refused_with_the_first_difference(
    road: Road, tmp_path: Path, change: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    base = plain_copy(road, tmp_path / "base")
    difference = change(base)
    line = refusal(road.predict(base, "again.csv"), capsys, codes=(1, 4))
    assert "was trained on another base model than" in line
    assert difference in line
    assert "--base mine=DIR" in line
    assert "--retrain mine" in line


def test_training_goes_on_from_a_folder_and_not_on_another_base(
    road: Road, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = plain_copy(road, tmp_path / "base")
    shutil.rmtree(road.workspace / "oof" / "mine", ignore_errors=True)
    shutil.copytree(road.workspace, tmp_path / "w")
    more = ["--base", f"{HUB_ID}={base}", "--workspace", str(tmp_path / "w")]
    fitted = (tmp_path / "w" / "models" / "mine" / "fold-0" / "card.json").read_bytes()
    shutil.rmtree(tmp_path / "w" / "models" / "mine" / "fold-2")
    assert cli.run(road.train(*more)) in (0, 4)
    assert (tmp_path / "w" / "models" / "mine" / "fold-0" / "card.json").read_bytes() == fitted
    changed_tensor(base)
    line = refusal(road.train(*more), capsys)
    assert "was trained on another base model" in line


def test_a_fold_without_a_record_of_its_base_is_refused_with_the_remedy(road: Road, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"older version kept no record .*; train it anew"):
        BaseIdentity.read(tmp_path / "base.json", remedy="train it anew")
    (tmp_path / "base.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"cannot be read .*; train it anew"):
        BaseIdentity.read(tmp_path / "base.json", remedy="train it anew")


def test_an_open_revision_stays_at_one_commit(
    tmp_path: Path, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = shutil.copytree(road.folder / "hub", tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    repository = cache / "models--some-org--tiny-llama"
    first = hub.snapshot("mine", HUB_ID, None)
    assert first.name == COMMIT
    shutil.copytree(first, first.with_name("f" * 40))
    (repository / "refs" / "main").write_text("f" * 40)
    assert hub.snapshot("mine", HUB_ID, None) == first
    assert hub.snapshot("mine", HUB_ID, "f" * 40).name == "f" * 40


def test_a_snapshot_that_is_not_whole_is_named(
    tmp_path: Path, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = shutil.copytree(road.folder / "hub", tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    next(cache.rglob("model.safetensors")).unlink()
    with pytest.raises(RecipeError, match=f"hf download {HUB_ID}"):
        hub.snapshot("mine", HUB_ID, None)


def test_a_pad_id_counts_where_positions_are_counted_from_it(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "roberta")
    before = identity(base)
    values = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(values | {"eos_token_id": 7}))
    assert before.difference(identity(base)) == ""
    (base / "config.json").write_text(json.dumps(values | {"pad_token_id": 5}))
    assert before.difference(identity(base)) == "its configuration differs: pad_token_id = 5, was 0"


def test_a_broken_weight_file_is_named(road: Road, tmp_path: Path) -> None:
    base = plain_copy(road, tmp_path / "base")
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(ArtifactError, match="shorter than its header says; copy the base anew"):
        identity(base)
    (base / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        identity(base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"holds no safetensors.* save it as safetensors"):
        identity(base)


def test_output_weights_that_are_the_embeddings_do_not_count(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base", "llama")
    before = identity(base)
    tensors = load_file(base / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    twice = identity(base)
    del tensors["lm_head.weight"]
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    assert twice.difference(identity(base)) == ""
    assert before.difference(twice)


def member(name: str, base: str) -> Recipe:
    return recipe_from({"backbone": "classify", "base": base}, name=name)


def test_where_a_base_lies_is_no_identity_and_which_tiny_one_is(tmp_path: Path) -> None:
    one = member("a", "org/x")
    assert one.fit_digest() == with_bases({"a": one}, {"org/x": tmp_path})["a"].fit_digest()
    assert member("a", "tiny:encoder").fit_digest() != member("a", "tiny:decoder").fit_digest()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"b": "."}, "'b' is neither a member nor a base of this run; use one of: a, tiny, org/x"),
        ({"tiny": "."}, "'tiny' has no base that lies anywhere"),
        ({"a": "/nowhere"}, "no folder there"),
    ],
)
def test_a_base_that_nobody_has_is_refused(given: dict[str, str], says: str) -> None:
    recipes = {"a": member("a", "org/x"), "tiny": member("tiny", "tiny:encoder")}
    with pytest.raises(RecipeError, match=says):
        with_bases(recipes, given)


def test_a_mistyped_base_is_named_also_where_the_true_one_is_out_of_reach(tmp_path: Path) -> None:
    """Offline a slip in the name leaves the member without its base: the slip is the error, not the hub."""
    place = Workspace(tmp_path)
    for name, base in (("a", "org/x"), ("b", "./none")):
        (tmp_path / "models" / name).mkdir(parents=True)
        recipe = f'backbone = "classify"\nbase = "{base}"\n'
        (tmp_path / "models" / name / "recipe.toml").write_text(recipe)
    with pytest.raises(RecipeError, match=r"'org/y' is neither a member nor a base of this run.*org/x"):
        recipes_and_refusals(place, ["a", "b"], offline=True, bases={"org/y": str(tmp_path)})
    found, lost = recipes_and_refusals(place, ["a", "b"], offline=True, bases={"org/x": "/nowhere"})
    assert (list(found), list(lost)) == ([], ["a", "b"])
    assert "no folder there" in str(lost["a"])


@pytest.mark.parametrize("given", [["x"], ["=y"], ["x="], ["a=b", "a=c"]])
def test_the_option_is_checked(road: Road, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    more = [part for one in given for part in ("--base", one)]
    assert "--base" in refusal(road.command("predict", *more), capsys)
