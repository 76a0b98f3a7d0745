"""What panel is asked beyond the fit: thresholds, cascades, rankings, curves; judges.json and uses.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from arena_ensemble import Panel, cli, sample
from arena_ensemble.errors import InputError
from arena_ensemble.io import PanelVotes
from arena_ensemble.pipeline import panel_uses
from arena_ensemble.pipeline.panel import PanelData
from arena_ensemble.pipeline.panel_prediction import predict_panel
from arena_ensemble.sample import JUDGES
from tests.helpers.length_votes import length_votes

FEW = {name: JUDGES[name] for name in ("careful", "labels")}
SYSTEMS = "xyz"


def _write(folder: Path, rows: int, seed: int) -> Path:
    """Judged pairs ``q|a|b`` of three systems, votes on two thirds of them by three people, and costs."""
    folder.mkdir()
    drawn = sample.panel(rows, seed=seed, judges=FEW)
    rng = np.random.default_rng(seed)
    names = [f"q{k // 3}|{SYSTEMS[k % 3]}|{SYSTEMS[(k + 1) % 3]}" for k in range(rows)]
    ids = dict(zip(drawn.judgements.ids.to_list(), names, strict=True))
    for name, text in drawn.files().items():
        table = pl.read_csv(text.encode()).with_columns(pl.col("id").replace_strict(ids))
        if name != "votes.csv":
            table.write_csv(folder / name)
    words = np.array(["model_a", "model_b", "tie"])
    people = {
        f"annotator_{k}": words[np.where(rng.random(rows) < 0.1, rng.integers(0, 3, rows), drawn.outcomes)]
        for k in range(3)
    }
    pl.DataFrame({"id": names, **people}).head(3 * rows // 4).write_csv(folder / "people.csv")
    (folder / "costs.csv").write_text("judge,cost\nlabels,0.5\ncareful,8\nsomebody,1\n")
    return folder


def _words(old: Path, out: Path) -> list[str]:
    judged = [
        part for name in ("verdicts.csv", "probabilities.csv") for part in ("--judgements", str(old / name))
    ]
    votes = ["--votes", str(old / "people.csv"), "--costs", str(old / "costs.csv")]
    return ["panel", *judged, *votes, "--out", str(out)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("uses")
    old = _write(root / "old", 160, 0)
    words = [*_words(old, root / "out"), "--selective", ".6", "--confidence", ".9", "--cascade", "auto"]
    capture = pytest.MonkeyPatch()
    printed: list[str] = []
    capture.setattr("builtins.print", lambda text="", **_: printed.append(str(text)))
    code = cli.run([*words, "--systems", "ids", "--json"])
    capture.undo()
    assert code == 0
    return root, json.loads(printed[-1])


def test_what_was_asked_lies_in_uses_json(made: tuple[Path, dict[str, Any]]) -> None:
    root, facts = made
    uses = json.loads((root / "out" / "uses.json").read_text())
    assert uses == facts["uses"]
    assert uses["format"] == 1
    assert [row["coverage"] for row in uses["risk_coverage"]][-1] == 1.0
    assert uses["selective"]["alpha"] == 0.6
    assert uses["selective"]["delta"] == pytest.approx(0.1)
    cascade = uses["cascade"]
    assert cascade["order"] == ["labels", "careful"]
    assert cascade["prices"] == [0.5, 8.0]
    assert cascade["rows"][0]["asked"] == [1.0, 0.0]
    assert cascade["rows"][0]["rate"] is None  # infinite
    assert cascade["rows"][-1]["price"] == 8.5
    ranking = uses["ranking"]
    assert {row["system"] for row in ranking["systems"]} == set(SYSTEMS)
    assert ranking["votes"] == 120
    assert ranking["predicted"] == 160
    assert ranking["equal_style"] is None
    assert uses["vote_curve"] is None


def test_each_judge_is_described_in_judges_json(made: tuple[Path, dict[str, Any]]) -> None:
    root, facts = made
    judges = json.loads((root / "out" / "judges.json").read_text())
    assert judges["judges"] == facts["judges"]
    assert judges["pairs"] == 120
    assert judges["annotators"] == ["annotator_0", "annotator_1", "annotator_2"]
    assert np.array(judges["agreement"]["same_verdict"]).shape == (2, 2)
    by_name = {one["name"]: one for one in judges["judges"]}
    careful, labels = by_name["careful"], by_name["labels"]
    for one in (careful, labels):
        assert one["agreement_low"] < one["agreement"] < one["agreement_high"]
        assert one["base_rate"] < 1
        assert one["gain_per_cost"] == pytest.approx(one["adds"] / one["cost"])
        assert set(one["replacement"]["p_values"]) == set(judges["annotators"])
    assert careful["stated_log_loss"] is None
    assert labels["stated_log_loss"] > labels["log_loss"]  # twice as sure as it should be
    assert 0 < labels["calibration_error"] < 1
    assert careful["flip_rate"] is not None
    assert labels["position_excess"] > 0
    assert Panel.load(root / "out").judges_[0].name == judges["judges"][0]["name"]


def test_new_verdicts_are_counted_above_the_threshold(
    made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, facts = made
    new = _write(root / "new", 30, 1)
    words = ["predict", "--panel", str(root / "out"), "--judgements", str(new / "verdicts.csv"), "--json"]
    assert (
        cli.run([*words, "--judgements", str(new / "probabilities.csv"), "--out", str(root / "new.csv")]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    threshold = facts["uses"]["selective"]["threshold"]
    assert found["threshold"] == threshold
    sure = pl.read_csv(root / "new.csv").select(pl.max_horizontal(pl.exclude("id"))).to_series()
    assert found["kept"] == int((sure >= threshold).sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--selective", "2"], "--selective 2: give a share between 0 and 1"),
        (["--cascade", "labels,nobody"], "no judge 'nobody'; name some of careful, labels"),
        (["--cascade", "labels,careful,labels"], "names a judge twice; name each once"),
        (["--cascade", "careful"], "1 judges; name two to 6 with costs"),
        (["--equal-style"], "--equal-style needs texts and systems"),
        (["--costs", "{old}/people.csv"], "lacks the columns judge, cost"),
        (["--systems", "{old}/people.csv"], "lacks system_a and system_b"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    made: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    old = made[0] / "old"
    words = _words(old, made[0] / "no")
    assert cli.run([*words, *(part.format(old=old) for part in change)]) == 1
    assert message in capsys.readouterr().err
    assert not (made[0] / "no").exists()


def test_the_vote_curve_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = sample.panel(100, seed=2, judges=FEW)

    class Quick:
        """Frequencies of votes, in place of a panel: the curve's own laws have their test elsewhere."""

        def __init__(self, seed: int = 0, *, honest: bool = True) -> None:
            self.random_state = seed

        def fit(self, judgements: Any, y: Any) -> Quick:
            self.log_probs = np.log((np.bincount(y, minlength=3) + 1) / (len(y) + 3))
            return self

        def predict_log_proba(self, judgements: Any) -> Any:
            return np.tile(self.log_probs, (len(judgements), 1))

    monkeypatch.setattr(panel_uses, "Panel", Quick)
    panel: Any = Quick().fit(drawn.judgements, drawn.outcomes)
    panel.oof_log_proba_ = panel.predict_log_proba(drawn.judgements)
    votes = PanelVotes(drawn.judgements.ids, ("vote",), drawn.outcomes[:, None].astype(np.int8))
    data = PanelData(drawn.judgements, votes, None, None, drawn.judgements)
    curve = panel_uses.Uses(vote_curve=True).of(panel, data)["vote_curve"]
    assert [row["votes"] for row in curve] == [40, 60, 80, 200, 400]
    assert [row["measured"] for row in curve] == [True] * 3 + [False] * 2
    assert all(row["log_loss_se"] is not None for row in curve)


def test_the_verdict_at_equal_style_stands_beside(tmp_path: Path) -> None:
    """Votes for the longer answer alone: at equal length nothing is left of the verdict."""
    drawn = length_votes(tmp_path, [f"b{k}" for k in range(200)], longest=60)
    drawn.panel.save(tmp_path / "out")
    files = [tmp_path / "scores.csv"]
    found = predict_panel(tmp_path / "out", files, text=tmp_path / "battles.csv", equal_style=True)
    assert found.equal_style is not None
    y = drawn.data.votes.majority
    assert (found.log_probs.argmax(axis=1) == y).mean() > 0.9
    assert abs((found.equal_style.argmax(axis=1) == y).mean() - 0.5) < 0.15
    assert found.turned is not None
    assert found.turned > 50
    found.write(tmp_path / "new.csv")
    found.write(tmp_path / "new.parquet")
    assert pl.read_csv(tmp_path / "new.csv").columns[-3:] == ["equal_a", "equal_b", "equal_tie"]
    shown = pl.read_parquet(tmp_path / "new.parquet")
    np.testing.assert_allclose(shown["equal_logp_a"].to_numpy(), found.equal_style[:, 0])
    with pytest.raises(InputError, match="the panel was fitted with texts"):
        predict_panel(tmp_path / "out", files)
