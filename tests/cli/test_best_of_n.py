"""panel and predict --panel for the best of several answers: from files to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble import Panel, cli
from arena_ensemble.errors import ArtifactError, InputError
from arena_ensemble.io.judgements import load_all
from arena_ensemble.panels import choice_files
from arena_ensemble.pipeline.best_of_n import votes_for_best
from arena_ensemble.pipeline.panel import read_panel_data


def _answers(folder: Path, items: int, seed: int) -> Path:
    """Scores of four answers by two judges, one with three samples, and the name of the best answer."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(items, 4)) * 2
    names = "pqrs"
    good = [
        (f"i{seed}-{i}", names[k], "good", s, quality[i, k] + rng.normal() / 2)
        for i in range(items)
        for k in range(4)
        for s in range(3)
    ]
    weak = [
        (f"i{seed}-{i}", names[k], quality[i, k] + 3 * rng.normal()) for i in range(items) for k in range(4)
    ]
    pl.DataFrame(good, schema=["item", "answer", "judge", "sample", "score"], orient="row").write_csv(
        folder / "good.csv"
    )
    pl.DataFrame(weak, schema=["item", "answer", "weak"], orient="row").write_csv(folder / "weak.csv")
    best = [(f"i{seed}-{i}", names[k], f"topic {i // 3}") for i, k in enumerate(quality.argmax(axis=1))]
    pl.DataFrame(best, schema=["item", "best", "topic"], orient="row").write_csv(folder / "best.csv")
    return folder


def _judgements(folder: Path) -> list[str]:
    return ["--judgements", str(folder / "good.csv"), "--judgements", str(folder / "weak.csv")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("best")
    old, _ = _answers(root / "old", 60, 0), _answers(root / "new", 10, 1)
    words = ["panel", *_judgements(old), "--votes", str(old / "best.csv"), "--out", str(root / "out")]
    capture = pytest.MonkeyPatch()
    printed: list[str] = []
    capture.setattr("builtins.print", lambda text="", **_: printed.append(str(text)))
    code = cli.run([*words, "--groups", "topic", "--json"])
    capture.undo()
    assert code == 0
    return root, json.loads(printed[-1])


def test_the_best_of_several_is_learned_kept_and_predicted(made: tuple[Path, dict[str, Any]]) -> None:
    root, facts = made
    assert facts["kind"] == "best_of_n"
    assert facts["items"] == 60
    assert facts["table"][0]["log_loss"] == pytest.approx(np.log(4))
    assert facts["log_loss"] < facts["table"][0]["log_loss"]
    assert facts["without"]["good"][0] > 0
    judges = json.loads((root / "out" / "judges.json").read_text())
    assert [one["name"] for one in judges["judges"]] == ["good", "weak"]
    assert judges["judges"][0]["base_rate"] == pytest.approx(0.25)
    assert judges["judges"][0]["adds"] == facts["without"]["good"][0]
    same = judges["agreement"]["same_best"]
    assert same[0][0] == 1.0
    assert 0.25 < same[0][1] == same[1][0] < 1
    oof = pl.read_parquet(root / "out" / "oof.parquet")
    assert oof.columns == ["item", "answer", "fold", "logp_best"]
    sums = oof.group_by("item").agg(pl.col("logp_best").exp().sum())["logp_best"]
    np.testing.assert_allclose(sums.to_numpy(), 1)
    topics = pl.read_csv(root / "old" / "best.csv").select("item", "topic")
    assert oof.join(topics, on="item").group_by("topic").agg(pl.col("fold").n_unique())["fold"].max() == 1
    words = ["predict", "--panel", str(root / "out"), *_judgements(root / "new")]
    assert cli.run([*words, "--out", str(root / "new.csv")]) == 0
    assert cli.run([*words, "--out", str(root / "new.parquet")]) == 0
    chances, logs = pl.read_csv(root / "new.csv"), pl.read_parquet(root / "new.parquet")
    assert logs.columns == ["item", "answer", "logp_best"]
    np.testing.assert_allclose(chances["p_best"].to_numpy(), np.exp(logs["logp_best"].to_numpy()), atol=1e-12)
    truth = pl.read_csv(root / "new" / "best.csv")
    found = chances.sort("p_best", descending=True).group_by("item", maintain_order=True).first()
    right = found.join(truth, on="item").select((pl.col("answer") == pl.col("best")).mean()).item()
    assert right >= 0.7


def test_a_judge_that_was_not_asked_is_missing_and_files_of_pairs_are_refused(
    made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = made
    words = ["predict", "--panel", str(root / "out"), "--out", str(root / "fewer.csv"), "--judgements"]
    assert cli.run([*words, str(root / "new" / "weak.csv")]) == 0
    assert "without good" in capsys.readouterr().out
    (root / "odd.csv").write_text("item,answer,stranger\n1,a,2\n1,b,1\n")
    assert cli.run([*words, str(root / "odd.csv")]) == 1
    assert "does not know the judge 'stranger' (it has good, weak); leave" in capsys.readouterr().err
    (root / "pairs.csv").write_text("id,judge,verdict\n1,good,model_a\n")
    assert cli.run([*words, str(root / "pairs.csv")]) == 1
    assert "holds judgements of pairs, of which no best of several follows; give" in capsys.readouterr().err
    assert cli.run([*words, str(root / "new" / "weak.csv"), "--numbers", "012"]) == 1
    assert "--numbers: of no use with a best-of-N panel" in capsys.readouterr().err


def test_pairs_are_learned_where_they_are_asked_for(made: tuple[Path, dict[str, Any]]) -> None:
    root, _ = made
    files = [root / "old" / name for name in ("good.csv", "weak.csv")]
    loaded = load_all(files)
    assert votes_for_best(loaded, root / "old" / "best.csv", asked=False) is None
    data = read_panel_data(files, root / "old" / "best.csv")
    assert len(data.votes.ids) == 60 * 3
    assert set(data.votes.majority.tolist()) == {0, 1}
    assert data.groups is not None
    assert len(np.unique(data.groups)) == 60
    with pytest.raises(ArtifactError, match="is the card of something else"):
        Panel.load(root / "out")


def test_experts_scores_are_choices_where_it_is_said(
    made: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = made
    weak = pl.read_csv(root / "old" / "weak.csv")
    votes = weak.select(
        "item", "answer", pl.col("weak").round().alias("expert_1"), (-pl.col("weak")).alias("expert_2")
    )
    votes.write_csv(tmp_path / "experts.csv")
    words = [
        "panel",
        "--judgements",
        str(root / "old" / "good.csv"),
        "--out",
        str(tmp_path / "out"),
        "--best-of-n",
    ]
    assert cli.run([*words, "--votes", str(tmp_path / "experts.csv")]) == 0
    assert "the best answer of 60 items" in capsys.readouterr().out
    (tmp_path / "winners.csv").write_text("id,winner\n1,model_a\n")
    assert cli.run([*words, "--votes", str(tmp_path / "winners.csv")]) == 1
    assert "names no best answers; give item and best" in capsys.readouterr().err


def test_a_folder_is_replaced_by_the_other_kind_and_damage_is_seen(
    made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root, _ = made
    for path in (root / "out").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / choice_files.MAIN).write_text("{}")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        choice_files.load(tmp_path)
    with pytest.raises(InputError, match="no panel in"):
        choice_files.load(root)
    old = root / "old"
    words = ["panel", *_judgements(old), "--votes", str(old / "best.csv"), "--out", str(tmp_path)]
    assert cli.run(words) == 0
    assert choice_files.load(tmp_path).judges_ == ("good", "weak")
