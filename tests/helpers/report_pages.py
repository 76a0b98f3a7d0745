"""A report of a small workspace whose battles hold whatever a browser could stumble over."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic
from arena_ensemble.artifacts.cards import EnsembleCard, MemberCard
from arena_ensemble.battles import Battles
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.predictions import from_delta_tau
from arena_ensemble.report.battle_view import BattleView

RECIPE = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'
WORD = "supercalifragilistic" * 50_000
"""a megabyte of one word"""
HOSTILE = (
    "<script>window.taken = 1</script>",
    "<img src=x onerror='window.taken = 2'><svg onload='window.taken = 3'>",
    "</div></details></li></ol></main><style>body{display:none}</style>",
    "\u202ereversed\u202d \u2067isolated \u200f right to left, never ended \u202b",
    "مرحبا بالعالم، كيف حالك؟ {{ 7 * 7 }} {% raw %}",
    "\x00\x1b[31m\x07 control \ufffe",
)


def hostile_rows(rows: int = 60) -> str:
    """The sample arena's training file with hostile texts in its first battles, as CSV text."""
    given = list(csv.DictReader(io.StringIO(sample.files(rows, 2, seed=3)["train.csv"])))
    for row, text in zip(given, HOSTILE, strict=False):
        for column in ("response_a", "prompt"):
            row[column] = json.dumps(
                [*json.loads(row[column])[:-1], text + " " + json.loads(row[column])[-1]]
            )
        row["model_a"] = text[:200].replace("\x00", "")  # a file of CSV holds no NUL; JSON does
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(given[0]))
    writer.writeheader()
    writer.writerows(given)
    return out.getvalue()


def stacked(folder: Path) -> Path:
    """A workspace below ``folder`` with a small member on ``folder/train.csv``, stacked."""
    workspace = folder / "workspace"
    atomic.write_bytes(workspace / "models" / "mine" / "recipe.toml", RECIPE.encode())
    command = ["stack", "--data", str(folder / "train.csv"), "--workspace", str(workspace)]
    command += ["--models", "mine", "--folds", "3", "--jobs", "1"]
    assert cli.run(command) in (0, 4)
    return workspace


def report(folder: Path, *more: str) -> Path:
    """The page of ``folder/workspace`` with its battles."""
    page = folder / "report.html"
    command = ["report", "--workspace", str(folder / "workspace"), "--data", str(folder / "train.csv")]
    assert cli.run([*command, "--out", str(page), *more]) == 0
    return page


def external(
    folder: Path, *, rows: int = 240, seed: int = 0, noise: tuple[float, float] = (0.4, 1.2)
) -> Path:
    """An ensemble of two external members, ``one`` and ``two``, whose errors grow with ``noise``."""
    rng = np.random.default_rng(0)
    delta, tau = rng.normal(size=rows) * 1.5, rng.normal(size=rows) * 0.3
    truth = np.exp(from_delta_tau(delta, tau))
    y = (rng.random(rows)[:, None] > truth.cumsum(axis=1)[:, :2]).sum(axis=1)
    lines = ["id,label," + ",".join(f"{m}_{o}" for m in ("one", "two") for o in ("a", "b", "tie"))]
    draw = np.random.default_rng(seed + 1)
    noisy = [np.exp(from_delta_tau(delta + draw.normal(size=rows) * s, tau)) for s in noise]
    for i in range(rows):
        lines.append(f"{i},{y[i]}," + ",".join(f"{p:.6f}" for one in noisy for p in one[i]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "oof.csv").write_text("\n".join(lines) + "\n")
    made = folder / "made"
    command = ["stack", "--labels", str(folder / "oof.csv"), "--oof", str(folder / "oof.csv")]
    assert cli.run([*command, "--out", str(made)]) == 0
    return made


def battles_of(rows: int = 240) -> list[dict[str, object]]:
    """Battles with the ids of :func:`external`, the first ones hostile."""
    texts = [*HOSTILE, WORD]
    return [
        {
            "id": k,
            "prompt": [f"question {k} " + (texts[k] if k < len(texts) else "plain")] * (1 + k % 3),
            "response_a": ["a" * (1 + k % 50) + (texts[k] if k < len(texts) else " needle" * (k == 30))]
            + ["more"] * (k % 3),
            "response_b": ["b " * 30] * (1 + k % 3),
            "outcome": k % 3,
            "language": "english" if k % 2 else HOSTILE[0],
            "model_a": HOSTILE[1],
        }
        for k in range(rows)
    ]


def hostile_view(built: Ensemble) -> BattleView:
    """A view in which the hostile battles are the most surprising ones."""
    rows = Battles.from_rows(battles_of(built.card.rows))
    n = len(rows)
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.full(3, 5.0), n))
    worst = np.arange(n) < 40
    log_probs[worst] = np.log(0.495)
    log_probs[worst, rows.outcomes()[worst]] = np.log(0.01)
    return BattleView(rows, np.arange(n), log_probs, np.full((n, 3), -np.log(3)), {"one": log_probs})


def member(**values: object) -> MemberCard:
    """A member's card with training facts, as a language model's is."""
    facts = {
        "truncation": {
            "rows": 100,
            "tokens": 9000,
            "truncated_rows": {"prompt": 1, "response_a": 20, "response_b": 30},
            "truncated_tokens": {"prompt": 10, "response_a": 500, "response_b": 700},
        },
        "epoch_losses": [1.05, 0.98, 0.95],
    }
    usual: dict[str, object] = {
        "key": None, "member": "one", "backbone": "classify", "folds_verified": False, "rows": 240,
        "seconds": 12.5, "fold_facts": [facts, facts], "alarms": ["an alarm"],
    }  # fmt: skip
    return MemberCard.model_validate({**usual, **values})


def with_card(built: Ensemble, card: EnsembleCard) -> Ensemble:
    """The ensemble under another card."""
    return dataclasses.replace(built, card=card)
