"""Texts of pairs: joined by id, exchanged where the file names the pair the other way round."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from arena_ensemble.battles import Battles
from arena_ensemble.errors import InputError
from arena_ensemble.features import extract
from arena_ensemble.pipeline.pair_texts import texts_of
from arena_ensemble.pipeline.panel import read_panel_data


def _battles(*names: str) -> Battles:
    return Battles.from_rows(
        [{"id": name, "prompt": "p", "response_a": f"{name} a", "response_b": f"{name} b"} for name in names]
    )


def test_a_pair_named_the_other_way_round_has_its_answers_exchanged() -> None:
    found = texts_of(_battles("1|x|y", "2|x|y"), pl.Series(["2|y|x", "1|x|y", "1|y|x"]), name="t")
    assert found.ids.to_list() == ["2|y|x", "1|x|y", "1|y|x"]
    assert found.frame["response_a"].to_list() == [["2|x|y b"], ["1|x|y a"], ["1|x|y b"]]
    assert found.frame["response_b"].to_list() == [["2|x|y a"], ["1|x|y b"], ["1|x|y a"]]
    with pytest.raises(InputError, match=r"t: 1 ids are without text, the first is '3\|x\|y'; add them"):
        texts_of(_battles("1|x|y"), pl.Series(["1|x|y", "3|x|y"]), name="t")


def test_votes_whose_sides_were_drawn_find_their_texts(tmp_path: Path) -> None:
    rows = range(40)
    scores = "".join(f"{i},good,{i % 3 + 1}\n{i},bad,{i % 2}\n" for i in rows)
    (tmp_path / "scores.csv").write_text("item,answer,judge\n" + scores)
    best = "".join(f"{i},good,1\n{i},bad,0\n" for i in rows)
    (tmp_path / "best.csv").write_text("item,answer,best\n" + best)
    texts = "".join(f"{i}|good|bad,q{i},a long good answer,bad\n" for i in rows)
    (tmp_path / "text.csv").write_text("id,prompt,response_a,response_b\n" + texts)
    data = read_panel_data([tmp_path / "scores.csv"], tmp_path / "best.csv", text=tmp_path / "text.csv")
    assert 0 < data.votes.majority.sum() < len(rows)  # some sides were drawn the other way
    assert data.features is not None
    length = data.features.odd[:, data.features.odd_names.index("chars.log")]
    assert ((length > 0) == (data.votes.majority == 0)).all()
    assert extract(_battles("1|x|y")).odd_names == data.features.odd_names
