"""panel, predict --panel and report of a panel: from files to files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble import Panel, cli, sample
from arena_ensemble.errors import ArtifactError, InputError
from arena_ensemble.io import read_judgements
from arena_ensemble.sample import JUDGES

FEW = {name: JUDGES[name] for name in ("careful", "reward")}
FILES = ("verdicts.csv", "scores.csv")


def _write(folder: Path, rows: int, seed: int) -> Path:
    folder.mkdir()
    for name, text in sample.panel(rows, seed=seed, judges=FEW).files().items():
        (folder / name).write_text(text)
    return folder


def _judgements(folder: Path, *names: str) -> list[str]:
    return [part for name in names or FILES for part in ("--judgements", str(folder / name))]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("panel")
    old, _ = _write(root / "old", 90, 0), _write(root / "new", 30, 1)
    votes = ["--votes", str(old / "votes.csv"), "--out", str(root / "out")]
    capture = pytest.MonkeyPatch()
    printed: list[str] = []
    capture.setattr("builtins.print", lambda text="", **_: printed.append(str(text)))
    code = cli.run(["panel", *_judgements(old), *votes, "--json"])
    capture.undo()
    assert code == 0
    return root, json.loads(printed[-1])


def test_a_panel_is_kept_whole_and_predicts_the_same_from_its_folder(
    made: tuple[Path, dict[str, Any]],
) -> None:
    root, facts = made
    assert facts["pairs"] == 90
    assert [one["name"] for one in facts["judges"]] == ["careful", "reward"]
    assert facts["judges"][0]["both_orders"] > 80
    oof = pl.read_parquet(root / "out" / "oof.parquet")
    assert {"id", "logp_a", "logp_b", "logp_tie"} <= set(oof.columns)
    np.testing.assert_allclose(np.exp(oof.select("logp_a", "logp_b", "logp_tie").to_numpy()).sum(axis=1), 1)
    back = Panel.load(root / "out")
    assert back.table_[-1].log_loss == pytest.approx(facts["log_loss"])
    assert [one.name for one in back.judges_] == ["careful", "reward"]
    new = read_judgements(*(root / "new" / name for name in FILES))
    assert cli.run(["predict", "--panel", str(root / "out"), *_judgements(root / "new"),
                    "--out", str(root / "new.csv")]) == 0  # fmt: skip
    written = pl.read_csv(root / "new.csv")
    assert written["id"].to_list() == new.ids.to_list()
    np.testing.assert_allclose(written.to_numpy()[:, 1:].astype(float), back.predict_proba(new), atol=1e-12)
    with pytest.raises(InputError, match="was loaded from a folder"):
        back.save(root / "again")


def test_a_judge_that_was_not_asked_is_missing_and_an_unknown_one_is_refused(
    made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = made
    out = root / "fewer.parquet"
    words = ["predict", "--panel", str(root / "out"), "--out", str(out)]
    assert cli.run([*words, *_judgements(root / "new", "scores.csv")]) == 0
    shown = capsys.readouterr()
    assert "without careful" in shown.out
    assert "no judgements of careful: taken as missing for all 30 pairs" in shown.err
    assert pl.read_parquet(out).columns == ["id", "logp_a", "logp_b", "logp_tie"]
    (root / "odd.csv").write_text("id,judge,verdict\n1,stranger,model_a\n")
    assert cli.run([*words, "--judgements", str(root / "odd.csv")]) == 1
    assert "does not know the judge 'stranger' (it has careful, reward); leave" in capsys.readouterr().err


def test_the_page_shows_the_judges(made: tuple[Path, dict[str, Any]]) -> None:
    root, _ = made
    assert cli.run(["report", "--external", str(root / "out")]) == 0
    page = (root / "out" / "report.html").read_text()
    assert "A panel of judges" in page
    assert "Each judge alone" in page
    assert "position bias" not in page


def test_a_damaged_panel_is_refused(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, _ = made
    for path in (root / "out").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "panel.json").write_bytes((tmp_path / "panel.json").read_bytes().replace(b"true", b"null"))
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        Panel.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--votes", "{old}/none.csv"], "no vote is about a pair that was judged"),
        (["--judgements", "{old}/scores.csv"], "two tables hold the judge 'reward'"),
        (["--out", "{old}"], "holds other files"),
        (["--groups", "club"], "lacks the columns club"),
        (["--first", "left"], "--first left: expected a, b or none"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    old = made[0] / "old"
    (old / "none.csv").write_text("id,winner\nx,model_a\ny,model_b\n")
    words = ["panel", *_judgements(old), "--votes", str(old / "votes.csv"), "--out", str(made[0] / "no")]
    assert cli.run([*words, *(part.format(old=old) for part in change)]) == 1
    assert message in capsys.readouterr().err


def test_a_folder_without_a_panel_and_missing_options_are_named(
    made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = made
    out = ["--out", str(root / "x.csv")]
    assert cli.run(["predict", "--panel", str(root), *_judgements(root / "new"), *out]) == 1
    assert "no panel in" in capsys.readouterr().err
    assert cli.run(["predict", "--panel", str(root / "out")]) == 1
    assert "--panel needs --judgements FILE and --out FILE" in capsys.readouterr().err
    assert cli.run(["predict", "--test", "x.csv", "--numbers", "012"]) == 1
    assert "--numbers: of no use without --panel" in capsys.readouterr().err
    panel = ["predict", "--panel", str(root / "out"), *_judgements(root / "new"), *out]
    assert cli.run([*panel, "--hours", "1", "--chunk-rows", "9", "--use-folds", "0", "--strict"]) == 1
    assert "--strict, --use-folds, --hours, --chunk-rows: of no use with --panel" in capsys.readouterr().err
    assert cli.run([*panel, "--text-format", "lmsys"]) == 1
    assert "--text-format is that of --text FILE" in capsys.readouterr().err
    assert cli.run(["predict"]) == 2


def test_pairs_without_vote_are_counted_and_answers_are_grouped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from arena_ensemble.pipeline.panel import read_panel_data

    scores = "item,answer,fair\n" + "".join(f"{i},{a},{i % 3 + a}\n" for i in range(4) for a in range(3))
    votes = "item,answer,topic,expert_1,expert_2\n"
    votes += "".join(f"{i},{a},t{i // 2},{a},{a + i % 2}\n" for i in range(3) for a in range(3))
    (tmp_path / "scores.csv").write_text(scores)
    (tmp_path / "votes.csv").write_text(votes)
    data = read_panel_data([tmp_path / "scores.csv"], tmp_path / "votes.csv")
    assert data.groups is not None
    assert np.bincount(data.groups).tolist() == [3, 3, 3]
    by_topic = read_panel_data([tmp_path / "scores.csv"], tmp_path / "votes.csv", groups="topic")
    assert by_topic.groups is not None
    assert np.bincount(by_topic.groups).tolist() == [6, 3]
