"""Cases 6, 10, 11, 12 and 22: predictions as people keep them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_files import random_log_probs

from arena_ensemble.errors import InputError
from arena_ensemble.io import load_predictions, read_columns, read_labels, read_predictions
from arena_ensemble.predictions import delta_tau

PROBS = np.exp(random_log_probs(8))


def written(folder: Path, columns: dict[str, Any], kind: str = "csv") -> Path:
    path = folder / f"theirs.{kind}"
    frame = pl.DataFrame(columns)
    if kind == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path


def trio(names: tuple[str, str, str], probs: Any = PROBS) -> dict[str, Any]:
    return {name: probs[:, k] for k, name in enumerate(names)}


def table(names: tuple[str, str, str], probs: Any = PROBS, **beside: Any) -> dict[str, Any]:
    return {**beside, "id": list(range(len(probs))), **trio(names, probs)}


# ---- case 10: any unique trio of columns

TRIOS = [
    ("A", "B", "tie"), ("A", "B", "C"), ("a", "b", "draw"), ("P_A", "P_B", "P_TIE"), ("pA", "pB", "pTie"),
    ("prob_model_a", "prob_model_b", "prob_tie"), ("model_a", "model_b", "tie"), ("p(A)", "p(B)", "p(tie)"),
    ("winner_model_a_prob", "winner_model_b_prob", "winner_tie_prob"), ("oof_A", "oof_B", "oof_C"),
    ("Winner_Model_A", "Winner_Model_B", "Winner_Tie"), ("pred_winner_model_a", "pred_winner_model_b",
     "pred_winner_tie"), ("a_wins", "b_wins", "tie"), ("winner a", "winner b", "tie"), ("pa", "pb", "pt"),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("names", TRIOS)
def test_any_trio_of_columns(names: tuple[str, str, str], kind: str, tmp_path: Path) -> None:
    loaded = load_predictions(written(tmp_path, table(names), kind))
    ((name, (member,)),) = loaded.members.items()
    assert name in ("theirs", "pred_winner_model")
    np.testing.assert_allclose(member.probs, PROBS, atol=1e-12)
    assert not loaded.notes


def test_what_stands_beside_is_left_alone_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    beside = {"": list(range(8)), "label": [0, 1] * 4, "log_loss": [0.5] * 8, "text_a": ["x"] * 8}
    path = written(tmp_path, table(("A", "B", "tie"), **beside))
    assert load_predictions(path).ignored == ("", "label", "log_loss", "text_a")
    caplog.set_level(logging.INFO)
    np.testing.assert_allclose(read_predictions(path)["theirs"].probs, PROBS, atol=1e-12)
    assert "not read: , label, log_loss, text_a" in caplog.text


@pytest.mark.parametrize("other", [("p_a", "p_b", "p_tie"), ("A", "B", "tie"), ("m_a", "m_b", "m_tie")])
def test_one_hot_labels_beside_are_no_predictions(other: tuple[str, str, str], tmp_path: Path) -> None:
    hot = np.eye(3, dtype=int)[np.arange(8) % 3]
    labels = trio(("winner_model_a", "winner_model_b", "winner_tie"), hot)
    loaded = load_predictions(written(tmp_path, {**labels, **table(other)}))
    ((member,),) = loaded.members.values()
    np.testing.assert_allclose(member.probs, PROBS, atol=1e-12)
    assert any("hold 0 and 1 alone: taken for labels" in note for note in loaded.notes)


def test_a_member_of_hard_verdicts_is_no_label(tmp_path: Path) -> None:
    hot = np.eye(3, dtype=int)[np.arange(8) % 3]
    columns = {**table(("judge_a", "judge_b", "judge_tie"), hot), **trio(("llm_a", "llm_b", "llm_tie"))}
    assert list(load_predictions(written(tmp_path, columns)).members) == ["judge", "llm"]
    labelled = {**columns, **trio(("label_a", "label_b", "label_tie"), hot)}
    assert list(load_predictions(written(tmp_path, labelled)).members) == ["judge", "llm"]
    columns = {**table(("p_a", "p_b", "p_tie"), hot), **trio(("A", "B", "C"))}
    with pytest.raises(InputError, match="holds 2 sets of predictions"):
        load_predictions(written(tmp_path, columns))


def test_hard_predictions_alone_are_predictions(tmp_path: Path) -> None:
    hot = np.eye(3, dtype=int)[np.arange(8) % 3]
    found = read_predictions(
        written(tmp_path, table(("winner_model_a", "winner_model_b", "winner_tie"), hot))
    )
    np.testing.assert_array_equal(found["theirs"].probs.round(12), hot)


@pytest.mark.parametrize(("first", "second"), [
    (("A", "B", "tie"), ("oof_A", "oof_B", "oof_C")),
    (("p_a", "p_b", "p_tie"), ("A", "B", "C")),
    (("p_a", "p_b", "p_tie"), ("m_a", "m_b", "m_tie")),
])  # fmt: skip
def test_several_trios_are_named_and_asked_for(
    first: tuple[str, str, str], second: tuple[str, str, str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load_predictions(written(tmp_path, {**table(first), **trio(second, PROBS[::-1])}))
    assert "holds 2 sets of predictions" in str(caught.value)
    assert ", ".join(second) in str(caught.value)
    assert "name them NAME_a, NAME_b, NAME_tie" in str(caught.value)


def test_members_by_name_stay_members(tmp_path: Path) -> None:
    columns = {
        **table(("deberta_a", "deberta_b", "deberta_tie")),
        **trio(("Llama_A", "Llama_B", "Llama_TIE")),
    }
    assert list(load_predictions(written(tmp_path, columns)).members) == ["deberta", "Llama"]


@pytest.mark.parametrize("names", [("x", "y", "z"), ("a", "b", "other"), ("pred_0", "pred_1", "pred_2")])
def test_no_trio_is_refused(names: tuple[str, str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no predictions: its columns are id, .*; name three of them"):
        load_predictions(written(tmp_path, table(names)))


# ---- case 11: ids as whole floats


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_whole_floats_are_integers(kind: str, tmp_path: Path) -> None:
    columns = {**table(("p_a", "p_b", "p_tie")), "id": [float(k) for k in range(8)]}
    path = written(tmp_path, columns, kind)
    loaded = load_predictions(path)
    assert loaded.members["theirs"][0].ids.to_list() == list(range(8))
    assert any("whole floats" in note for note in loaded.notes)
    labels = written(tmp_path, {"id": columns["id"], "label": [0, 1, 2, 0, 1, 2, 0, 1]}, kind)
    assert read_labels(labels)["id"].to_list() == list(range(8))
    groups = written(tmp_path, {"id": columns["id"], "group": ["g"] * 8}, kind)
    assert read_columns(groups, ["id", "group"])["id"].to_list() == [str(k) for k in range(8)]


@pytest.mark.parametrize(
    ("ids", "dtype", "message"),
    [
        ([2.0**53, 1.0], pl.Float64, r"row 1 \(id 9007199254740992\): the id is a float beyond"),
        ([1.0, 2.0**24], pl.Float32, r"row 2 \(id 16777216\): the id is a float beyond 16,777,216"),
        ([1.5, 2.0], pl.Float64, r"row 1 \(id 1\.5\): the id is a float, expected an integer"),
        ([1.0, float("nan")], pl.Float64, "the id is empty"),
    ],
)
def test_floats_that_may_have_lost_their_id_are_refused(
    ids: list[float], dtype: Any, message: str, tmp_path: Path
) -> None:
    columns = {"id": pl.Series(ids, dtype=dtype), "p_a": [1.0, 0], "p_b": [0.0, 1], "p_tie": [0.0, 0]}
    with pytest.raises(InputError, match=message):
        load_predictions(written(tmp_path, columns, "parquet"))


def test_large_ids_below_the_limits_are_kept(tmp_path: Path) -> None:
    for ids, dtype in (([2.0**53 - 1, 3.0], pl.Float64), ([2.0**24 - 1, 3.0], pl.Float32)):
        columns = {"id": pl.Series(ids, dtype=dtype), "p_a": [1.0, 0], "p_b": [0.0, 1], "p_tie": [0.0, 0]}
        found = read_predictions(written(tmp_path, columns, "parquet"))
        assert found["theirs"].ids.to_list() == [int(k) for k in ids]


# ---- case 12: sums, logits


@pytest.mark.parametrize("scale", [0.9973, 1.0029, 0.99, 1.01, 0.98, 1.02])
def test_rows_that_nearly_sum_to_one_are_normalised_with_a_note(scale: float, tmp_path: Path) -> None:
    probs = PROBS.copy()
    probs[[2, 5]] *= scale
    loaded = load_predictions(written(tmp_path, table(("p_a", "p_b", "p_tie"), probs)))
    np.testing.assert_allclose(loaded.members["theirs"][0].probs, PROBS, atol=1e-12)
    assert len(loaded.notes) == 1
    assert loaded.notes[0].startswith("2 of 8 rows did not sum to 1 and were normalised")


def test_two_decimals_and_sixteen_bits(tmp_path: Path) -> None:
    for probs in (PROBS.round(2), PROBS.astype(np.float16).astype(float)):
        found = read_predictions(written(tmp_path, table(("A", "B", "tie"), probs)))
        np.testing.assert_allclose(found["theirs"].probs, PROBS, atol=0.015)


@pytest.mark.parametrize("scale", [0.9, 1.03, 100, 3])
def test_other_sums_are_refused_with_both_remedies(scale: float, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"8 of 8 rows .*divide each row by its sum, or.* softmax \(--logits"
    ):
        load_predictions(written(tmp_path, table(("p_a", "p_b", "p_tie"), PROBS * scale)))


@pytest.mark.parametrize("shift", [0.0, 5.0, -300.0])
def test_logits_are_read_where_the_caller_says_so(shift: float, tmp_path: Path) -> None:
    path = written(tmp_path, table(("p_a", "p_b", "p_tie"), np.log(PROBS) + shift))
    with pytest.raises(InputError, match=r"--logits"):
        load_predictions(path)
    np.testing.assert_allclose(read_predictions(path, logits=True)["theirs"].probs, PROBS, atol=1e-9)


def test_logits_must_be_finite_and_no_logarithms(tmp_path: Path) -> None:
    logits = np.log(PROBS)
    logits[3, 1] = np.inf
    with pytest.raises(InputError, match=r"row 4 \(id 3\): the logits .* are not finite"):
        load_predictions(written(tmp_path, table(("A", "B", "tie"), logits)), logits=True)
    path = written(tmp_path, table(("logp_a", "logp_b", "logp_tie"), np.log(PROBS)))
    with pytest.raises(InputError, match="leave out --logits"):
        load_predictions(path, logits=True)


# ---- cases 6 and 22: several rows an id


def stacked(times: int, **more: Any) -> dict[str, Any]:
    columns = {"id": list(range(8)) * times, **trio(("p_a", "p_b", "p_tie"), np.tile(PROBS, (times, 1)))}
    return {**columns, **more}


def test_every_fold_on_every_row_is_no_oof_file(tmp_path: Path) -> None:
    path = written(tmp_path, stacked(3, fold=[k for k in range(3) for _ in range(8)]))
    message = r"24 rows for 8 ids, a row for every id and fold: .* keep for each id the row of the one fold"
    for average in (False, True):
        with pytest.raises(InputError, match=message):
            load_predictions(path, oof=True, average=average)
    assert len(load_predictions(path).members["theirs"]) == 3  # a test file has just this shape


@pytest.mark.parametrize("times", [2, 5])
def test_seeds_and_test_time_passes_name_their_remedy(times: int, tmp_path: Path) -> None:
    path = written(tmp_path, stacked(times))
    for oof in (False, True):
        with pytest.raises(
            InputError, match=rf"up to {times} rows an id .*average .*--average, or average=True"
        ):
            load_predictions(path, oof=oof)
    found = read_predictions(path, oof=True, average=True)["theirs"]
    np.testing.assert_allclose(found.probs, PROBS, atol=1e-12)


def test_repeated_cross_validation_names_its_remedy(tmp_path: Path) -> None:
    path = written(tmp_path, stacked(2, fold=[0, 1, 2, 3] * 2 + [1, 2, 3, 0] * 2))
    with pytest.raises(InputError, match=r"repeated cross-validation; average them \(--average"):
        load_predictions(path, oof=True)
    assert load_predictions(path, oof=True, average=True).members["theirs"][0].fold.tolist() == [-1] * 8


def test_two_passes_of_one_fold_are_averaged_and_keep_it(tmp_path: Path) -> None:
    path = written(tmp_path, stacked(2, fold=[0, 1, 2, 3] * 4))
    with pytest.raises(InputError, match=r"repeat the id .*average seeds"):
        load_predictions(path)
    assert read_predictions(path, average=True)["theirs"].fold.tolist() == [0, 1, 2, 3] * 2


def test_one_row_doubled_by_mistake_is_named_as_such(tmp_path: Path) -> None:
    columns = table(("p_a", "p_b", "p_tie"))
    columns["id"] = [0, 1, 2, 3, 4, 5, 6, 2]
    with pytest.raises(InputError, match=r"row 8 \(id 2\): the id repeats row 3; .*remove the doubled rows"):
        load_predictions(written(tmp_path, columns), oof=True)


def test_the_mean_over_seeds_is_geometric(tmp_path: Path) -> None:
    other = np.exp(random_log_probs(8, seed=5))
    order = np.random.default_rng(0).permutation(16)
    both, ids = np.concatenate([PROBS, other])[order], (list(range(8)) * 2)
    rows = {"id": [ids[k] for k in order], **trio(("A", "B", "tie"), both)}
    columns = {**table(("s1_a", "s1_b", "s1_tie")), **trio(("s2_a", "s2_b", "s2_tie"), other)}
    wanted = [(a + b) / 2 for a, b in zip(delta_tau(np.log(PROBS)), delta_tau(np.log(other)), strict=True)]
    for held in (rows, columns):
        ((member,),) = load_predictions(written(tmp_path, held), average=True).members.values()
        assert sorted(member.ids.to_list()) == list(range(8))
        at = np.argsort(member.ids.to_numpy())
        np.testing.assert_allclose(delta_tau(member.log_probs[at]), wanted, atol=1e-12)


def test_two_outcomes_stay_two_when_averaged(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": [1, 1, 2, 2], "p_a": [0.5, 0.5, 0.2, 0.8], "p_b": [0.5, 0.5, 0.8, 0.2]})
    found = read_predictions(path, average=True)["theirs"]
    np.testing.assert_allclose(found.probs, [[0.5, 0.5, 0], [0.5, 0.5, 0]], atol=1e-12)


def test_an_oof_file_of_one_fold_is_read(tmp_path: Path) -> None:
    found = read_predictions(written(tmp_path, table(("p_a", "p_b", "p_tie"), fold=[2] * 8)), oof=True)
    assert found["theirs"].fold.tolist() == [2] * 8


@pytest.mark.parametrize("probs", [PROBS, np.round(PROBS, 2), np.eye(3)[[0, 1, 2]]])
def test_probabilities_are_no_logits(tmp_path: Path, probs: Any) -> None:
    path = written(tmp_path, table(("p_a", "p_b", "p_tie"), probs))
    with pytest.raises(InputError, match="are probabilities that sum to 1 and no logits; leave out --logits"):
        load_predictions(path, logits=True)
