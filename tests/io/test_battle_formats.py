"""Battle formats: each shape becomes the right battles, in every container."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_files import ARENA, ARENA_TURNS, KAGGLE, WRITERS, WSDM, Rows, csv_text, parts, say, triples

from arena_ensemble.errors import InputError
from arena_ensemble.io import FORMAT_NAMES, FORMATS, load_battles, read_battles
from arena_ensemble.io.battle_formats import Format, Layout
from arena_ensemble.io.cells import BattleRow, Cells


@pytest.mark.parametrize("kind", [k for k in WRITERS if k != "csv-gzip-parts"])
def test_wsdm_has_two_outcomes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind](WSDM))
    loaded = load_battles(path)
    assert triples(loaded.battles) == [
        ("327228", ["[1, 2] is what?"], ["A list.\nYes"], ["Liste"], 0),
        ("0f3a", ["Warum?"], [None], ["Darum"], 1),
    ]
    assert (loaded.report.format, loaded.n_classes) == ("wsdm", 2)
    assert loaded.report.languages == {"English": 1, "German": 1}


def test_a_wsdm_test_file_is_told_from_a_kaggle_one_by_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    plain = [{k: row[k] for k in ("id", "prompt", "response_a", "response_b")} for row in WSDM]
    path.write_text(csv_text([{**plain[1], "id": 3}, plain[1]]))
    assert load_battles(path).report.format == "wsdm"
    path.write_text(csv_text([{**row, "scored": True} for row in plain]))
    assert load_battles(path).report.format == "wsdm"
    path.write_text(csv_text(plain))
    assert load_battles(path, format="wsdm").battles.frame["prompt"].to_list()[0] == ["[1, 2] is what?"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "jsonl-gzip", "parquet"])
def test_hugging_face_arena_33k_and_100k(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind](ARENA))
    loaded = load_battles(path)
    assert triples(loaded.battles) == ARENA_TURNS
    assert (loaded.report.format, loaded.n_classes) == ("arena", 3)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_hugging_face_arena_140k_has_content_in_parts(kind: str, tmp_path: Path) -> None:
    text = {"type": "text", "text": "see", "image": None, "mimeType": None}
    image = {"type": "image", "text": None, "image": "aGk=", "mimeType": "image/png"}
    asked = ("user", [text, image])
    row = {
        "id": "u-1", "model_a": "x", "model_b": "y", "winner": "both_bad", "evaluation_order": 1,
        "conversation_a": parts(asked, ("assistant", [{**text, "text": "a"}])),
        "conversation_b": parts(asked, ("assistant", [{**text, "text": "b"}])),
        "language": "en", "is_code": False,
    }  # fmt: skip
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind]([row, {**row, "id": "u-2", "winner": "tie"}]))
    assert triples(read_battles(path)) == [
        ("u-1", ["see\n\n[image]"], ["a"], ["b"], 2),
        ("u-2", ["see\n\n[image]"], ["a"], ["b"], 2),
    ]


PAIR_SHAPES: dict[str, Rows] = {
    "plain": [{"prompt": f"q{k}", "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(40)],
    "messages": [
        {"chosen": say(f"q{k}", f"good {k}"), "rejected": say(f"q{k}", f"bad {k}")} for k in range(40)
    ],
    "messages beside a prompt": [
        {"prompt": f"q{k}", "chosen": say(f"q{k}", f"good {k}"), "rejected": say(f"q{k}", f"bad {k}")}
        for k in range(40)
    ],
    "answers as messages": [
        {"prompt": say(f"q{k}"), "chosen": say("", f"good {k}")[1:], "rejected": say("", f"bad {k}")[1:]}
        for k in range(40)
    ],
    "answers as messages, plain prompt": [
        {"prompt": f"q{k}", "chosen": say("", f"good {k}")[1:], "rejected": say("", f"bad {k}")[1:]}
        for k in range(40)
    ],
    "prompt as messages": [
        {"prompt": say(f"q{k}"), "chosen": f"good {k}", "rejected": f"bad {k}"} for k in range(40)
    ],
    "transcripts": [
        {"chosen": f"\n\nHuman: q{k}\n\nAssistant: good {k}",
         "rejected": f"\n\nHuman: q{k}\n\nAssistant: bad {k}"}
        for k in range(40)
    ],
    "rewardbench": [
        {"prompt": f"q{k}", "chosen": f"good {k}", "chosen_model": "w", "rejected": f"bad {k}",
         "rejected_model": "l", "subset": "s", "id": k} for k in range(40)
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("shape", PAIR_SHAPES)
def test_chosen_and_rejected_are_shown_in_a_drawn_order(shape: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(WRITERS[kind](PAIR_SHAPES[shape]))
    loaded = load_battles(path)
    orders = []
    for number, (name, prompt, first, second, outcome) in enumerate(triples(loaded.battles)):
        good, bad = [f"good {number}"], [f"bad {number}"]
        assert prompt == [f"q{number}"]
        assert (first, second) == ((good, bad) if outcome == 0 else (bad, good))
        assert name == (number if shape == "rewardbench" else number + 1)
        orders.append(outcome)
    assert 8 <= sum(orders) <= 32  # a fair draw of 40, and the same for every shape and container
    if shape != "plain":
        (tmp_path / "plain").write_bytes(WRITERS["csv"](PAIR_SHAPES["plain"]))
        assert read_battles(tmp_path / "plain").frame["outcome"].to_list() == orders
    assert loaded.n_classes == 2
    assert loaded.report.format == ("rewardbench" if shape == "rewardbench" else "pairs")
    assert any("drawn by a hash" in note for note in loaded.report.notes)
    if shape == "rewardbench":
        winners = ["w" if outcome == 0 else "l" for outcome in orders]
        assert loaded.battles.frame["model_a"].to_list() == winners


def test_the_format_can_be_given(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(csv_text([{**KAGGLE[0], "winner": "model_a"}]))
    assert load_battles(path).report.format == "kaggle"
    with pytest.raises(InputError, match="unknown format 'kagle'; known formats: kaggle, wsdm"):
        load_battles(path, format="kagle")
    with pytest.raises(InputError, match="lacks the column conversation_a, conversation_b"):
        load_battles(path, format="arena")


def test_the_names_for_the_help_text_are_those_of_the_formats() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES


def test_a_new_format_needs_its_function_and_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(cells: Cells, layout: Layout) -> BattleRow:
        return BattleRow([cells["asked"]], [cells["left"]], [cells["right"]])

    form = Format("sides", "Two sides", ("left", "right", "asked"), (), ("id",), 3, read, asks=False)
    monkeypatch.setitem(FORMATS, "sides", form)
    path = tmp_path / "x.csv"
    path.write_text("id,Asked,left,right,winner\n5,q,a,b,tie\n")
    assert triples(read_battles(path)) == [(5, ["q"], ["a"], ["b"], 2)]
    path.write_text("id,asked,left,right,conversation_a,conversation_b\n5,q,a,b,x,y\n")
    with pytest.raises(InputError, match="fits the formats arena, sides; say which to read with --format"):
        read_battles(path)
