"""The training loop: resume after a kill, soft targets, averages, early stopping, alarms, broken losses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from architectures import battles, recipe, save_base

from arena_ensemble import backbones
from arena_ensemble.backbones.language import objective, training
from arena_ensemble.backbones.progress_texts import CALIBRATING
from arena_ensemble.battles import Battles
from arena_ensemble.errors import DependencyError, InputError, MemberError, RecipeError, StaleError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_base(tmp_path_factory.mktemp("base") / "llama", "llama")


def fit(
    base: Path, folder: Path, head: str = "classify", *, data: Battles | None = None, **sections: Any
) -> Any:
    chosen = recipe(base, head, **{k: v for k, v in sections.items() if k not in ("soft_targets", "weights")})
    folder.mkdir(exist_ok=True)
    given = {k: sections[k] for k in ("soft_targets", "weights") if k in sections}
    module = backbones.get(head)
    rows = battles() if data is None else data
    fitted = module.fit(rows, recipe=chosen, folder=folder, cache=folder.parent / "cache", **given)
    return fitted, module.predict(fitted, battles().without_outcomes())


JOB = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
torch.set_num_threads(1)
from architectures import battles, recipe
from arena_ensemble import backbones
base, folder = Path(sys.argv[2]), Path(sys.argv[3])
chosen = recipe(base, train={"epochs": 10, "checkpoint_every": 2, "ema": 0.9}, adapter={"dropout": 0.2})
module = backbones.get("classify")
fitted = module.fit(battles(), recipe=chosen, folder=folder, cache=folder.parent / "cache", resume=True)
np.save(folder.parent / "said.npy", module.predict(fitted, battles().without_outcomes()))
"""


@pytest.mark.slow
def test_killed_inside_a_fold_and_resumed_says_the_same_bits(base: Path, tmp_path: Path) -> None:
    def start(folder: Path) -> subprocess.Popen[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", JOB, str(Path(__file__).parents[2] / "helpers"), str(base), str(folder)]
        )

    whole = start(tmp_path / "whole" / "fold")
    assert whole.wait() == 0
    killed = tmp_path / "killed" / "fold"
    steps: list[int] = []
    for least in (2, 16):
        process = start(killed)
        while process.poll() is None:
            found = [int(p.name.split("-")[1]) for p in killed.glob("checkpoint-*") if ".tmp-" not in p.name]
            if max(found, default=0) >= least:
                os.kill(process.pid, signal.SIGKILL)
                steps += found
                break
            time.sleep(0.002)
        process.wait()
    assert steps, "no checkpoint was ever seen: the kills came too late to test anything"
    (killed / "checkpoint-99").mkdir()  # an empty checkpoint of a higher number must not win
    (killed / "checkpoint-98.tmp-1").mkdir()
    assert start(killed).wait() == 0
    predicted = [np.load(tmp_path / name / "said.npy").tobytes() for name in ("whole", "killed")]
    assert predicted[0] == predicted[1]
    assert not list(killed.glob("checkpoint-*"))
    weights = [(tmp_path / n / "fold" / "weights.safetensors").read_bytes() for n in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_same_seed_same_bits_and_input_order_is_kept(base: Path, tmp_path: Path) -> None:
    _, first = fit(base, tmp_path / "a")
    _, again = fit(base, tmp_path / "b")
    _, other = fit(base, tmp_path / "c", seed=1)
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 1e-6
    np.testing.assert_allclose(np.exp(first).sum(axis=1), 1, atol=1e-12)


def test_outcomes_are_never_read_at_prediction(base: Path, tmp_path: Path) -> None:
    fitted, predicted = fit(base, tmp_path / "a")
    assert backbones.get("classify").predict(fitted, battles()).tobytes() == predicted.tobytes()


def test_soft_targets_pull_towards_the_teacher(base: Path, tmp_path: Path) -> None:
    n = len(battles())
    teacher = np.log(np.tile([0.05, 0.05, 0.9], (n, 1)))
    train = {"epochs": 8}
    _, hard = fit(base, tmp_path / "hard", train=train)
    _, soft = fit(base, tmp_path / "soft", train=train, soft_targets=teacher, soft={"weight": 1.0})
    assert np.exp(soft[:, 2]).mean() > np.exp(hard[:, 2]).mean() + 0.2
    untaught = np.full((n, 3), np.nan)
    _, none = fit(base, tmp_path / "none", train=train, soft_targets=untaught, soft={"weight": 1.0})
    assert none.tobytes() == hard.tobytes(), "a row without a teacher learns from its vote alone"


def test_soft_loss_is_the_divergence_it_says() -> None:
    logits = torch.tensor([[1.0, 0.2, -0.5], [0.0, 0.3, 0.1]], dtype=torch.float64)
    teacher = torch.log(torch.tensor([[0.2, 0.5, 0.3], [float("nan")] * 3], dtype=torch.float64))
    labels = torch.tensor([1, 2])
    loss = objective.example_loss(logits, labels, teacher, temperature=2.0, share=0.25)
    p = np.exp(teacher[0].numpy() / 2)
    p /= p.sum()
    q = np.exp(logits[0].numpy() / 2)
    q /= q.sum()
    hard = -torch.log_softmax(logits, 1)[[0, 1], labels].numpy()
    expected = [0.75 * hard[0] + 0.25 * 4 * (p * np.log(p / q)).sum(), hard[1]]
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)
    whole = objective.example_loss(
        logits, labels, teacher, temperature=2.0, share=torch.tensor([1.0, 1.0], dtype=torch.float64)
    )
    np.testing.assert_allclose(whole[0], 4 * (p * np.log(p / q)).sum(), rtol=1e-12)


@pytest.mark.parametrize("swap", ["none", "paired"])
def test_where_nobody_voted_the_teacher_alone_is_learned_from(base: Path, tmp_path: Path, swap: str) -> None:
    rows = battles()
    teacher = np.log(np.tile([0.1, 0.2, 0.7], (len(rows), 1)))
    settings = {"swap": swap, "train": {"epochs": 1, "batch_rows": 4}, "soft_targets": teacher}
    unvoted = rows.without_outcomes()
    _, alone = fit(base, tmp_path / "alone", data=unvoted, soft={"weight": 0.25}, **settings)
    _, all_soft = fit(base, tmp_path / "soft", data=rows, soft={"weight": 1.0}, **settings)
    assert alone.tobytes() == all_soft.tobytes(), "votes and the recipe's share matter for votes only"
    with pytest.raises(InputError, match="has no outcome and no teacher"):
        fit(base, tmp_path / "none", data=unvoted)


def test_a_row_of_weight_zero_teaches_nothing(base: Path, tmp_path: Path) -> None:
    rows = battles()
    flipped = rows.frame["outcome"].to_numpy().copy()
    flipped[:4] = (flipped[:4] + 1) % 3
    other = Battles(rows.frame.with_columns(outcome=flipped))
    weights = np.asarray([0.0] * 4 + [1.0] * 8)
    _, one = fit(base, tmp_path / "one", weights=weights)
    _, two = fit(base, tmp_path / "two", data=other, weights=weights)
    assert one.tobytes() == two.tobytes()


def test_a_broken_loss_names_its_rows(base: Path, tmp_path: Path) -> None:
    weights = np.ones(len(battles()))
    weights[7] = np.nan
    with pytest.raises(MemberError, match=r"NaN or infinite in a batch of rows .*\b7\b"):
        fit(base, tmp_path / "a", weights=weights)


def test_early_stopping_holds_out_prompts_and_keeps_the_best(base: Path, tmp_path: Path) -> None:
    train = {"epochs": 12, "early_stopping": 1, "learning_rate": 0.05}
    fitted, predicted = fit(base, tmp_path / "a", data=battles(40), train=train)
    assert fitted.facts["stopped_early"]
    assert fitted.facts["optimizer_steps"] < fitted.facts["planned_steps"]
    assert 0 < fitted.facts["inner_validation_rows"] < 20
    assert np.isfinite(predicted).all()
    same = Battles.from_rows([{**row, "prompt": ["same"]} for row in battles().frame.to_dicts()])
    with pytest.raises(RecipeError, match="too few different prompts"):
        fit(base, tmp_path / "b", data=same, train=train)


def test_where_no_tie_can_be_voted_early_stopping_scores_two_outcomes(base: Path, tmp_path: Path) -> None:
    """What is left of a tie's probability is no difference between two epochs: predictions lose it."""
    rows = battles(40)
    train = {"epochs": 3, "early_stopping": 3, "learning_rate": 0.05}
    two = Battles(rows.frame.with_columns(outcome=rows.frame["outcome"] % 2))
    fitted, _ = fit(base, tmp_path / "a", data=two, train=train)
    prior = fitted.facts["last_epoch"]["prior_log_loss"]
    assert fitted.facts["refined_validation_loss"] < prior + 0.1
    shift = np.array([0.0, 0.0, 5.0])

    class Member:
        encoder = fitted.encoder

        def log_probs(self, _: object) -> np.ndarray[Any, Any]:
            logits = np.column_stack([np.linspace(-1, 1, 40), np.zeros(40), np.linspace(0, 3, 40)]) + shift
            return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

    given: Any = Member()
    found = training._refined_loss(given, two, ties=False)()
    delta, a_wins = np.linspace(-1, 1, 40), two.outcomes() == 0
    least = min(
        float(np.logaddexp(0, np.where(a_wins, -b, b) * delta).mean()) for b in np.linspace(0, 9, 9001)
    )
    assert found == pytest.approx(least, abs=1e-5)
    assert training._refined_loss(given, two, ties=True)() > found + 0.3


def test_average_of_weights_differs_and_is_what_is_kept(base: Path, tmp_path: Path) -> None:
    _, plain = fit(base, tmp_path / "plain", train={"epochs": 4})
    fitted, averaged = fit(base, tmp_path / "ema", train={"epochs": 4, "ema": 0.99})
    assert np.abs(plain - averaged).max() > 1e-5
    loaded = backbones.get("classify").load(
        tmp_path / "ema", recipe=fitted.encoder.recipe, cache=tmp_path / "cache"
    )
    again = backbones.get("classify").predict(loaded, battles().without_outcomes())
    assert again.tobytes() == averaged.tobytes()


@pytest.mark.parametrize("swap", ["augment", "paired"])
def test_swap_training_reads_both_orders(base: Path, tmp_path: Path, swap: str) -> None:
    fitted, _ = fit(base, tmp_path / "a", swap=swap, train={"batch_rows": 12})
    single, _ = fit(base, tmp_path / "b", train={"batch_rows": 12})
    assert fitted.facts["last_epoch"]["rows"] == 2 * single.facts["last_epoch"]["rows"]
    steps = {"augment": 2, "paired": 1}[swap]
    assert fitted.facts["optimizer_steps"] == steps
    low, high = (fitted.facts["last_epoch"]["prior_log_loss"], single.facts["last_epoch"]["prior_log_loss"])
    assert low == pytest.approx(high, abs=0.05)


def test_reward_head_is_equivariant(base: Path, tmp_path: Path) -> None:
    fitted, predicted = fit(base, tmp_path / "a", "reward")
    swapped = backbones.get("reward").predict(fitted, battles().swapped().without_outcomes())
    np.testing.assert_allclose(swapped[:, [1, 0, 2]], predicted, atol=1e-6)


@pytest.mark.parametrize("head", ["classify", "generate"])
@pytest.mark.parametrize("kind", ["frozen", "full"])
def test_other_kinds_of_training(base: Path, tmp_path: Path, head: str, kind: str) -> None:
    fitted, predicted = fit(base, tmp_path / "a", head, adapter={"kind": kind}, train={"epochs": 3})
    module = backbones.get(head)
    loaded = module.load(tmp_path / "a", recipe=fitted.encoder.recipe, cache=tmp_path / "cache")
    assert module.predict(loaded, battles().without_outcomes()).tobytes() == predicted.tobytes()
    size = fitted.facts["trained_parameters"] / fitted.facts["parameters"]
    assert size < 0.02 if kind == "frozen" else size >= 1
    if kind == "frozen":
        tables = list((tmp_path / "cache" / "hidden").glob("*/*/keys.npy"))
        assert len(tables) == 1, "every row was computed once"
        assert len(np.load(tables[0])) == len(battles())


def test_hidden_states_change_nothing_but_the_time(base: Path, tmp_path: Path) -> None:
    fitted, predicted = fit(base, tmp_path / "a", adapter={"kind": "frozen"})
    fitted.hidden = None
    again = backbones.get("classify").predict(fitted, battles())
    np.testing.assert_allclose(again, predicted, atol=1e-5)


def test_packed_rows_do_not_see_each_other(base: Path, tmp_path: Path) -> None:
    _, padded = fit(base, tmp_path / "a", train={"epochs": 2})
    _, packed = fit(base, tmp_path / "b", train={"epochs": 2, "packing": True})
    np.testing.assert_allclose(packed, padded, atol=2e-4)


def test_layers_below_the_adapters_are_left_alone(base: Path, tmp_path: Path) -> None:
    fitted, _ = fit(base, tmp_path / "a", adapter={"first_layer": 1})
    names = [name for name, p in fitted.head_model.named_parameters() if p.requires_grad]
    assert all("layers.1." in name or "score" in name for name in names)
    below = fitted.head_model.model.model.layers[0]
    seen: list[bool] = []
    hook = below.register_forward_hook(
        lambda _, __, out: seen.append(bool(torch.is_tensor(out) and out.requires_grad))
    )
    fitted.head_model({"input_ids": torch.tensor([[5, 6, 7]]), "last": torch.tensor([2])})
    hook.remove()
    assert seen == [False], "a frozen lower layer keeps a graph"
    with pytest.raises(RecipeError, match="leaves no linear layer"):
        fit(base, tmp_path / "b", adapter={"first_layer": 9})


@pytest.mark.parametrize("calibration", ["none", "contextual", "batch"])
def test_zero_shot_reads_without_training(base: Path, tmp_path: Path, calibration: str) -> None:
    fitted, predicted = fit(
        base, tmp_path / "a", "generate", train={"epochs": 0}, generate={"calibration": calibration}
    )
    assert not (tmp_path / "a" / "weights.safetensors").exists()
    loaded = backbones.get("generate").load(
        tmp_path / "a", recipe=fitted.encoder.recipe, cache=tmp_path / "cache"
    )
    again = backbones.get("generate").predict(loaded, battles())
    assert again.tobytes() == predicted.tobytes()
    if calibration == "batch":
        shares = np.exp(predicted).mean(axis=0)
        assert shares.max() < 0.75, "the verdict words' own bias is gone"


def test_a_calibration_of_many_rows_reports_how_far_it_is(base: Path, tmp_path: Path) -> None:
    chosen = recipe(base, "generate", train={"epochs": 0}, generate={"calibration": "batch"})
    seen: list[tuple[float, float, str]] = []
    backbones.get("generate").fit(
        battles(),
        recipe=chosen,
        folder=tmp_path,
        cache=tmp_path / "cache",
        on_progress=lambda *event: seen.append(event),
    )
    assert {text for _, _, text in seen} == {CALIBRATING}
    assert seen[-1][:2] == (len(battles()), len(battles()))


def test_verdict_mass_is_reported_before_training(base: Path, tmp_path: Path) -> None:
    fitted, _ = fit(base, tmp_path / "a", "generate")
    assert 0.5 < fitted.facts["mass_outside_verdicts"] < 1


def test_adapter_variants_learn(base: Path, tmp_path: Path) -> None:
    for k, adapter in enumerate(
        ({"rslora": True}, {"dora": True}, {"target": "attention"}, {"also": ["embeddings", "norms"]})
    ):
        fitted, _ = fit(base, tmp_path / str(k), adapter=adapter, train={"epochs": 6})
        losses = fitted.facts["epoch_losses"]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("sections", "error", "says"),
    [
        ({"loader": "unsloth"}, DependencyError, "unsloth"),
        ({"train": {"precision": "fp16"}}, RecipeError, "needs a GPU"),
        ({"train": {"report_to": ["nowhere"]}}, RecipeError, "nowhere"),
        ({"prompt": {"max_tokens": 512}}, RecipeError, "at most 256 tokens"),
        ({"prompt": {"template": "chat-1"}}, RecipeError, "no chat template"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    base: Path, tmp_path: Path, sections: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        fit(base, tmp_path / "a", **sections)
    assert "\n" not in str(caught.value)


def test_a_fold_of_another_base_is_refused(base: Path, tmp_path: Path) -> None:
    fit(base, tmp_path / "a")
    other = save_base(tmp_path / "other", "mistral")
    with pytest.raises(StaleError, match=r"another base model than .* model_type = 'mistral', was 'llama'"):
        backbones.get("classify").load(tmp_path / "a", recipe=recipe(other), cache=tmp_path / "cache")
