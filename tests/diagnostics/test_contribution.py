from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from noisy_members import strong_weak_and_noise

from arena_ensemble.diagnostics.contribution import member_contributions
from arena_ensemble.predictions import Predictions


def test_contributions_tell_who_is_needed() -> None:
    members, y = strong_weak_and_noise()
    table = member_contributions(members, y, hours={"strong": 2.0, "noise": 8.0})
    rows = {one.name: one for one in table.members}
    assert rows["strong"].leave_one_out_gain > 5 * rows["strong"].leave_one_out_gain_se
    assert rows["strong"].gain_per_hour == pytest.approx(rows["strong"].leave_one_out_gain / 2)
    assert rows["strong"].advice.startswith("keep")
    assert rows["noise"].advice.startswith("no gain seen:")
    assert table.greedy[0][0] == "strong"
    assert table.pool_log_loss < rows["strong"].log_loss + 0.005
    assert np.allclose(np.diag(table.error_correlation), 1)
    assert np.allclose(np.diag(table.disagreement), 0)
    json.dumps(table.as_dict())


def test_position_bias_is_reported_where_both_orders_were_predicted() -> None:
    members, y = strong_weak_and_noise(400)
    probs = members["strong"]
    leaning = np.log(probs).copy()
    leaning[:, 0] += 0.3
    leaning -= np.log(np.exp(leaning).sum(axis=1, keepdims=True))
    ids = pl.Series("id", np.arange(400))
    both = Predictions(ids, leaning, np.zeros(400), swap_log_probs=np.log(probs))
    row = member_contributions({"both": both, "weak": members["weak"]}, y).members[0]
    assert row.position_bias == pytest.approx(0.15)
    assert member_contributions({"weak": members["weak"]}, y).members[0].position_bias is None
    part = np.log(probs)
    part[::2] = leaning[::2]  # only every other row was predicted in both orders
    some = Predictions(ids, leaning, np.zeros(400), swap_log_probs=part)
    row = member_contributions({"some": some, "weak": members["weak"]}, y).members[0]
    assert row.position_bias == pytest.approx(0.15)


def test_one_member_alone_is_given_no_verdict() -> None:
    y = np.arange(60) % 3
    probs = np.full((60, 3), 1 / 3)
    (row,) = member_contributions({"one": probs}, y).members
    assert row.advice.startswith("only member:")
