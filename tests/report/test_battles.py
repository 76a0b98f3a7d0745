"""What the page shows of single battles: cuts, the most surprising ones, and nothing that escapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import report_pages
from markupsafe import escape
from workspaces import tree

from arena_ensemble import cli
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.metrics import row_losses
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.report.battle_view import BattleView, view
from arena_ensemble.report.cuts import cuts_of
from arena_ensemble.report.sections.surprises import surprises
from arena_ensemble.report.sections.training import curves, step_losses, truncation

FIELDS = ("prompt", "response_a", "response_b")


def battles(rows: int = 12, **columns: list[str]) -> Battles:
    return Battles.from_rows(
        [
            {
                "id": k,
                "prompt": ["один два три" if k % 3 == 0 else "one two"] * (1 + k % 2),
                "response_a": ["x" * (1 + 40 * (k % 4))],
                "response_b": ["y" * 50],
                "outcome": k % 3,
                **{name: values[k] for name, values in columns.items()},
            }
            for k in range(rows)
        ]
    )


def some_view(rows: Battles) -> BattleView:
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(3), len(rows)))
    prior = np.log(np.full((len(rows), 3), 1 / 3))
    return BattleView(rows, np.arange(len(rows)), log_probs, prior, {"one": log_probs})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    (place / "train.csv").write_text(report_pages.hostile_rows())
    report_pages.stacked(place)
    return place


def test_every_cut_holds_every_row_once() -> None:
    rows = battles(language=["english", "german", "x" * 99] * 4)
    found = {cut.title: cut for cut in cuts_of(rows)}
    assert set(found) == {
        "Outcome",
        "Characters of both answers",
        "Longer answer against the shorter",
        "Which answer won",
        "Turns of the prompt",
        "Language",
    }
    for cut in found.values():
        assert len(cut.codes) == len(rows)
        assert cut.codes.min() >= 0
        assert cut.codes.max() < len(cut.names)
    language = found["Language"]
    assert [language.names[code] for code in language.codes[:2]] == ["english", "german"]
    assert max(map(len, language.names)) <= 24


def test_without_a_language_the_script_of_the_prompt_tells() -> None:
    script = next(cut for cut in cuts_of(battles()) if cut.title == "Script of the prompt")
    assert [script.names[code] for code in script.codes[:4]] == ["Cyrillic", "Latin", "Latin", "Cyrillic"]


def test_the_winner_is_told_by_length() -> None:
    won = next(cut for cut in cuts_of(battles()) if cut.title == "Which answer won")
    # A has 1, 41, 81, 121 characters in turn, B has 50; outcomes A, B, tie in turn
    assert [won.names[code] for code in won.codes[:6]] == [
        "the shorter", "the longer", "tie", "the longer", "the longer", "tie",
    ]  # fmt: skip


def test_the_most_surprising_come_first_and_are_as_many_as_asked() -> None:
    rows = battles()
    seen = some_view(rows)
    found = surprises(seen, member="member", shown=5).values["battles"]
    losses = row_losses(seen.ensemble, rows.outcomes())
    assert [one.id for one in found] == [str(rows.ids[int(k)]) for k in np.argsort(-losses)[:5]]
    assert found[0].loss == f"{losses.max():.2f}"
    assert len(surprises(seen, member="member").values["battles"]) == len(rows)


def test_a_battle_of_any_size_is_shown_within_a_size() -> None:
    long = Battles.from_rows(
        [
            {
                "id": "a" * 999,
                "prompt": [report_pages.WORD, "q"],
                "response_a": ["<&'" * 400_000, "more"],
                "response_b": ["字" * 900_000],
                "outcome": outcome,
                "model_a": "m" * 9999,
            }
            for outcome in (0,)
        ]
    )
    (one,) = surprises(some_view(long), member="member").values["battles"]
    texts = [text for turn in one.rounds for text in (turn.prompt, turn.a, turn.b)]
    assert sum(len(text.shown.encode()) for text in texts) < 35_000
    assert one.rounds[0].a.left_out > 1_000_000
    turns = {name: [sign * 9000] * 40 for name, sign in zip(FIELDS, "&'<", strict=True)}
    many = Battles.from_rows([{"id": 1, "outcome": 0, **turns}])
    (other,) = surprises(some_view(many), member="member").values["battles"]
    texts = [text for turn in other.rounds for text in (turn.prompt, turn.a, turn.b)]
    assert sum(len(str(escape(text.shown))) for text in texts) < 35_000
    assert len(one.id) <= 60
    assert len(one.models[0]) <= 60


def test_the_view_joins_by_id_and_refuses_other_battles(folder: Path, tmp_path: Path) -> None:
    workspace = Workspace(folder / "workspace")
    ensemble = Ensemble.load(workspace)
    place = workspace.oof / "ensemble"
    seen = view(ensemble, place, folder / "train.csv", workspace=workspace)
    assert seen.losses.mean() == pytest.approx(ensemble.card.log_loss)
    rows = {row.name: row.log_loss for row in ensemble.table}
    assert seen.prior_losses.mean() == pytest.approx(rows["prior"])
    for name in ensemble.members:
        assert row_losses(seen.members[name], seen.outcomes).mean() == pytest.approx(rows[name])
    other = tmp_path / "other.csv"
    frame = pl.read_csv(folder / "train.csv")
    frame.with_columns(pl.col("response_b").reverse()).write_csv(other)
    assert cli.run(["report", "--workspace", str(workspace.root), "--data", str(other)]) == 1


def test_the_page_of_hostile_battles_holds_no_tag_of_theirs_and_is_small(folder: Path) -> None:
    page = report_pages.report(folder)
    html = page.read_text()
    assert len(html.encode()) < 2_000_000
    assert html.count("<script>") == 1
    assert "<img" not in html
    assert "<svg onload" not in html
    assert "&lt;script&gt;window.taken" in html
    assert "49" not in html.split("مرحبا")[1][:60]
    assert "\x00" not in html
    for title in ("Where it loses", "The most surprising battles", "Calibration", "Made from"):
        assert title in html
    before = tree(folder / "workspace")
    assert report_pages.report(folder).read_text() == html
    assert tree(folder / "workspace") == before


def test_cards_of_other_versions_only_lose_their_charts(folder: Path) -> None:
    from arena_ensemble.artifacts.members import MemberArtifacts

    card = MemberArtifacts(Workspace(folder / "workspace"), "mine").card()
    assert card is not None
    odd = [{"truncation": 3, "epoch_losses": [1.0, None]}, {"inner_log_loss": []}, {}]
    strange = card.model_copy(update={"fold_facts": odd})
    assert truncation({"m": strange}) is None
    assert curves({"m": strange}) is None
    facts = {
        "truncation": {
            "rows": 10,
            "tokens": 90,
            "truncated_rows": {"prompt": 0, "response_a": 5},
            "truncated_tokens": {"response_a": 10},
        },
        "epoch_losses": [1.0, 0.5],
    }
    known = card.model_copy(update={"fold_facts": [facts, json.loads(json.dumps(facts))]})
    section = truncation({"m": known})
    assert section is not None
    assert [row.cells for row in section.values["table"].rows] == [
        ("0.0%", "0.0%"), ("50.0%", "10.0%"), ("0.0%", "0.0%"),
    ]  # fmt: skip
    drawn = curves({"m": known})
    assert drawn is not None
    assert "fold 1: 1.000, 0.500" in drawn.values["charts"][0]["drawing"]
    by_c = known.model_copy(update={"fold_facts": [{"inner_log_loss": {"4": 0.9, "0.25": 1.0}}]})
    strengths = curves({"m": by_c})
    assert strengths is not None
    assert "C = 0.25" in strengths.values["charts"][0]["drawing"]
    assert "fold 0: 1.000, 0.900" in strengths.values["charts"][0]["drawing"]


def test_losses_by_step_are_of_the_last_training_of_each_fold() -> None:
    def at(step: object, loss: object, fold: int = 0, **more: object) -> dict[str, object]:
        return {"kind": "progress", "member": "m", "fold": fold, "step": step, "loss": loss, **more}

    begun_anew = [at(10, 1.5), at(20, 1.4), at(5, 1.2), at(10, 1.1), at(15, 1.0)]
    odd = [at(1, float("nan"), 1), at("2", 1.0, 1), {"kind": "task", "member": "m"}, at(3, 1.0, 1)]
    assert step_losses([*begun_anew, *odd]) == {"m": [("fold 0", [(5, 1.2), (10, 1.1), (15, 1.0)])]}
    assert step_losses(begun_anew[:2]) == {}
    section = curves({"m": report_pages.member()}, step_losses(begun_anew))
    assert section is not None
    assert [one["what"] for one in section.values["charts"]] == [
        "training loss by step",
        "training loss by epoch",
    ]
