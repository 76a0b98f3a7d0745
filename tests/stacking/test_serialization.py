"""A stacker as files: what comes back predicts the same, and edited files are refused."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from noisy_members import fitted, noisy_members

from arena_ensemble.errors import ArtifactError
from arena_ensemble.stacking import Stacker, make_design
from arena_ensemble.stacking.boosting import BoostingCandidate, BoostingParams
from arena_ensemble.stacking.candidates import RESTORE, candidates_for
from arena_ensemble.stacking.selection import (
    Decision,
)
from arena_ensemble.stacking.serialization import FittedStacker, to_files


@pytest.mark.parametrize("features", [False, True])
def test_a_stacker_survives_its_files(features: bool) -> None:
    stacker = fitted(features=features)
    members, _, extra = noisy_members(300, seed=2, features=features)
    back = Stacker.restore(stacker.dump())
    assert np.array_equal(back.predict_log_proba(members, extra), stacker.predict_log_proba(members, extra))
    assert back.dump() == stacker.dump()
    assert back.weights_ == stacker.weights_


def test_edited_files_are_refused() -> None:
    members, y, _ = noisy_members(200)
    trees = BoostingCandidate("trees", features=False, params=BoostingParams(rounds=(0, 5)))
    design = make_design(members, None)
    made = Decision({"trees": (1, 1)}, {"trees": 1.0}, {}, {"trees": 1.0}, {})
    model = trees.fit(design, y, 0)
    files = to_files(FittedStacker({"trees": model}, {"trees": True}, made, design.members, (), ()))
    assert Stacker.restore(files).predict_proba(members).shape == (200, 3)
    text = next(name for name in files if name.endswith(".txt"))
    for broken, told in (
        ({**files, text: files[text][:-40]}, "SHA-256"),
        ({name: content for name, content in files.items() if name != text}, "lacks"),
        ({**files, "stacker.json": files["stacker.json"][:50]}, "no whole JSON"),
        ({**files, "stacker.json": b"{}"}, "another format"),
        ({**files, "stacker.json": b'{"format": 2}'}, "another format"),
        ({}, "lacks stacker.json"),
    ):
        with pytest.raises(ArtifactError, match=rf"{told}.*run `arena-ensemble stack` again"):
            Stacker.restore(broken)
    content = json.loads(files["stacker.json"])
    told_trees = content["models"]["trees"]
    for edit in (
        {"models": {}},
        {"names": {}},
        {"models": {"trees": {**told_trees, "path_index": [-1, -1]}}},
        {"models": {"trees": {**told_trees, "beta": 0.0}}},
        {"models": {"trees": {**told_trees, "predicts_tie_logit": "false"}}},
        {"blend_weights": {"trees": {}}},
        {"selection_frequency": {"trees": 0.5}},
        {"selection_frequency": {"mix": 1.0}},
        {"blend_weights": {"trees": 1}},
    ):
        with pytest.raises(ArtifactError, match=r"not as written.*run `arena-ensemble stack` again"):
            Stacker.restore({**files, "stacker.json": json.dumps({**content, **edit}).encode()})
    for one in told_trees["texts"]:
        one["sha256"] = hashlib.sha256(b"abc").hexdigest()
    no_trees = {**dict.fromkeys(files, b"abc"), "stacker.json": json.dumps(content).encode()}
    with pytest.raises(ArtifactError, match=r"not as written.*run `arena-ensemble stack` again"):
        Stacker.restore(no_trees)


def test_every_candidate_is_made_again_from_its_state() -> None:
    members, y, extra = noisy_members(320, features=True)
    design = make_design(members, extra)
    for candidate in candidates_for(design).candidates:
        model = candidate.fit(design, y, 0)
        values = json.loads(json.dumps(model.state().model_dump()))
        again = RESTORE[model.kind](values, model.texts())
        assert np.array_equal(again.predict_path(design), model.predict_path(design)), candidate.name
        assert again.state() == model.state()
