"""Judged pairs predicted in chunks: as in memory to the bit, whatever the files, chunks and processes."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble import Panel, cli, sample
from arena_ensemble.artifacts.shard_folder import digest_file
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import InputError, OutOfTime, StaleError
from arena_ensemble.io.judgement_chunks import PairChunks, exchanged, open_judgements
from arena_ensemble.pipeline.panel import read_panel_data
from arena_ensemble.pipeline.panel_prediction import predict_panel
from arena_ensemble.pipeline.panel_shards import predict_panel_shards
from arena_ensemble.sample import JUDGES
from tests.helpers.length_votes import length_votes
from tests.helpers.workspaces import refusal

JUDGED = {name: JUDGES[name] for name in ("careful", "leaning", "hasty", "reward")}
PAIRS = 1300
"""more than one of the blocks that a panel predicts at a time"""


def sorted_rows(text: str) -> pl.DataFrame:
    """A sample's rows, those of a pair together, in the order in which pairs come first."""
    frame = pl.read_csv(text.encode())
    order = frame.select(pl.col("id").unique(maintain_order=True)).with_row_index("place")
    return frame.join(order, on="id", maintain_order="left").sort("place", maintain_order=True).drop("place")


def write(frame: pl.DataFrame, path: Path) -> None:
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=100)
    else:
        frame.write_ndjson(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A panel, and new judgements of its judges: long and wide, in three kinds of file."""
    folder = tmp_path_factory.mktemp("judged")
    learned = sample.panel(260, seed=0, judges=JUDGED)
    Panel(honest=False).fit(learned.judgements, learned.outcomes).save(folder / "panel")
    new = sample.panel(PAIRS, seed=1, judges=JUDGED)
    files = new.files()
    verdicts, scores = sorted_rows(files["verdicts.csv"]), sorted_rows(files["scores.csv"])
    scores = scores.filter(pl.int_range(pl.len()) % 7 != 3)  # the second file lacks some pairs
    wide = pl.DataFrame(
        {
            "id": new.judgements.ids,
            **{
                name: pl.Series([("a", "b", "tie", None)[code] for code in column.verdicts])
                for name, column in new.judgements.columns.items()
                if name != "reward"
            },
        }
    )
    for suffix in (".csv", ".parquet", ".jsonl"):
        for name, frame in {"verdicts": verdicts, "scores": scores, "wide": wide}.items():
            write(frame, folder / f"{name}{suffix}")
    return folder


def shards_of(folder: Path) -> pl.DataFrame:
    """All shards as one table, each held against the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = []
    for shard in manifest["shards"]:
        assert digest_file(folder / shard["file"]) == shard["sha256"]
        parts.append(pl.read_parquet(folder / shard["file"]))
        assert shard["first_row"] == 1 + sum(map(len, parts[:-1]))
    assert manifest["rows"] == sum(map(len, parts))
    return pl.concat(parts)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


@settings(max_examples=5)
@given(
    names=st.sampled_from([("wide",), ("verdicts",), ("verdicts", "scores"), ("wide", "scores")]),
    suffixes=st.lists(st.sampled_from([".csv", ".parquet", ".jsonl"]), min_size=2, max_size=2),
    chunk_rows=st.sampled_from([211, 500, 1024, 5000]),
)
def test_shards_hold_what_is_predicted_in_memory_to_the_bit(
    place: Path, names: tuple[str, ...], suffixes: list[str], chunk_rows: int
) -> None:
    files = [place / f"{name}{suffix}" for name, suffix in zip(names, suffixes, strict=False)]
    expected = predict_panel(place / "panel", files)
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    done = predict_panel_shards(place / "panel", files, out, chunk_rows=chunk_rows, jobs=1)
    found = shards_of(out)
    assert found["id"].equals(expected.ids)
    assert found.drop("id").to_numpy().tobytes() == np.exp(expected.log_probs).tobytes()
    assert done.facts["absent"] == list(expected.absent)
    assert len(done.files) == -(-PAIRS // chunk_rows)


def test_processes_change_nothing_and_a_second_call_does_nothing(place: Path, tmp_path: Path) -> None:
    files = [place / "verdicts.parquet", place / "scores.csv"]
    for jobs in (1, 2):
        predict_panel_shards(place / "panel", files, tmp_path / str(jobs), chunk_rows=400, jobs=jobs)
    before = content(tmp_path / "1")
    assert content(tmp_path / "2") == before
    (tmp_path / "1" / "part-00001.parquet").unlink()
    assert predict_panel_shards(place / "panel", files, tmp_path / "1", chunk_rows=400, jobs=1).kept == 3
    assert content(tmp_path / "1") == before
    with pytest.raises(StaleError, match=r"made otherwise \(reading differ\)"):
        predict_panel_shards(
            place / "panel", files, tmp_path / "1", chunk_rows=400, equal_style=False, numbers="120"
        )


def test_hours_stop_it_and_the_same_call_goes_on(place: Path, tmp_path: Path) -> None:
    files, now = [place / "wide.csv"], [0.0]

    def later(rows: int, what: str) -> None:
        now[0] += 60

    def run(seconds: float) -> int:
        until = Deadline(now[0] + seconds, lambda: now[0])
        return predict_panel_shards(
            place / "panel", files, tmp_path / "o", chunk_rows=400, jobs=1, hours=until, on_rows=later
        ).kept

    with pytest.raises(OutOfTime, match="800 rows are predicted"):
        run(61)
    assert run(600) == 2


IDS = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@given(ids=IDS, rows=st.integers(1, 4), kind=st.sampled_from([".csv", ".parquet"]))
def test_pairs_are_never_cut(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], rows: int, kind: str
) -> None:
    """Runs of one id stay whole, every row comes once and in order, chunks have so many runs but the last."""
    path = tmp_path_factory.mktemp("runs") / f"long{kind}"
    frame = pl.DataFrame({"id": ids, "judge": [f"j{k}" for k in range(len(ids))], "verdict": "a"})
    write(frame, path)
    chunks = list(PairChunks((open_judgements(path),), None, rows).raw())
    parts = []
    for chunk in chunks:
        (part,) = chunk.parts
        assert part is not None
        parts.append(
            [str(row[0]) for row in (part.rows.rows() if isinstance(part.rows, pl.DataFrame) else part.rows)]
        )
    assert [name for part in parts for name in part] == list(map(str, ids))
    runs = [sum(a != b for a, b in zip([None, *part], part, strict=False)) for part in parts]
    assert all(count == rows for count in runs[:-1])
    assert runs[-1] <= rows
    assert all(one[-1] != other[0] for one, other in itertools.pairwise(parts))
    assert [chunk.first_row for chunk in chunks] == [1 + rows * k for k in range(len(chunks))]


def test_rows_of_a_pair_that_stand_apart_are_refused_with_how_to_sort(place: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(place / "verdicts.parquet")
    apart = pl.concat([frame, frame[:1]])
    for name in ("long.csv", "long.parquet", "long.jsonl"):
        write(apart, tmp_path / name)
        with pytest.raises(
            InputError, match=r"pair 1301 \(id pair-1-0\): the pair comes again after pair 1; "
        ) as info:
            predict_panel_shards(
                place / "panel", [tmp_path / name], tmp_path / f"o-{name}", chunk_rows=300, jobs=1
            )
        line = str(info.value).split("sort them, ")[1].split(", or leave")[0]
        sorted_file = tmp_path / f"sorted-long{Path(name).suffix}"
        exec_line(line.replace("'sorted", f"'{tmp_path}/sorted"))
        predict_panel_shards(place / "panel", [sorted_file], tmp_path / f"p-{name}", chunk_rows=300, jobs=1)
        assert sorted(shards_of(tmp_path / f"p-{name}")["id"]) == sorted(frame["id"].unique())
    twice = pl.concat([pl.read_csv(place / "wide.csv"), pl.read_csv(place / "wide.csv")[:1]])
    twice.write_csv(tmp_path / "wide.csv")
    with pytest.raises(InputError, match=r"comes again after pair 1; ids must be unique"):
        predict_panel_shards(place / "panel", [tmp_path / "wide.csv"], tmp_path / "w", chunk_rows=300, jobs=1)


def exec_line(line: str) -> None:
    """Run the remedy as a user would."""
    code = compile(line, "remedy", "eval")
    eval(code, {"pl": pl})


def test_files_in_another_order_are_refused(place: Path, tmp_path: Path) -> None:
    scores = pl.read_csv(place / "scores.csv")
    pl.concat([scores[500:], scores[:500]]).write_csv(tmp_path / "turned.csv")
    files = [place / "wide.csv", tmp_path / "turned.csv"]
    with pytest.raises(
        InputError,
        match=r"turned.csv row \d+ \(id pair-1-\d+\): .* order of wide.csv.*sorted-wide.csv.*sorted-turned",
    ):
        predict_panel_shards(place / "panel", files, tmp_path / "o", chunk_rows=100, jobs=1)
    more = pl.concat([scores, scores[:1].with_columns(id=pl.lit("else"))])
    more.write_csv(tmp_path / "more.csv")
    with pytest.raises(InputError, match=r"more.csv row .* \(id else\): .* or not at all"):
        predict_panel_shards(
            place / "panel",
            [place / "wide.csv", tmp_path / "more.csv"],
            tmp_path / "o",
            chunk_rows=100,
            jobs=1,
        )


def test_what_cannot_be_read_is_told_by_many_verdicts_not_by_a_chunk(place: Path, tmp_path: Path) -> None:
    ids = [f"x{k}" for k in range(1200)]
    file = tmp_path / "numbers.csv"

    def run(verdicts: list[Any], **options: Any) -> int:
        pl.DataFrame({"id": ids, "careful": [str(one) for one in verdicts]}).write_csv(file)
        shutil.rmtree(tmp_path / "o", ignore_errors=True)
        return predict_panel_shards(
            place / "panel", [file], tmp_path / "o", chunk_rows=90, jobs=1, **options
        ).rows

    with pytest.raises(InputError, match="are 0 and 1 alone"):  # the panel learned words, not numbers
        run([k % 2 for k in range(1200)])
    assert run([k % 2 for k in range(1200)], numbers="012") == 1200
    assert run([0] * 950 + [2] * 250) == 1200  # a chunk of 0 alone says nothing
    with pytest.raises(InputError, match="'careful' holds numbers beyond 0, 1 and 2"):
        run([k % 10 for k in range(1200)])
    refusals = ["I cannot say"] * 600
    assert run(["a"] * 600 + refusals) == 1200
    pl.DataFrame({"id": ids, "stranger": "a"}).write_csv(file)
    with pytest.raises(InputError, match="the panel does not know the judge 'stranger'"):
        predict_panel_shards(place / "panel", [file], tmp_path / "s", jobs=1)


def test_files_that_are_read_whole_are_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.csv").write_text("item,answer,judge,score\nq,a,reward,1\nq,b,reward,2\n")
    with pytest.raises(
        InputError, match=r"answers.csv holds scores of answers, which is read whole; leave out --sh"
    ):
        predict_panel_shards(place / "panel", [tmp_path / "answers.csv"], tmp_path / "o")
    numbers = pl.DataFrame({"id": [1, 2], "careful": ["a", "b"]})
    numbers.write_csv(tmp_path / "numbered.csv")
    with pytest.raises(InputError, match="ids are integers in one file and strings in another"):
        predict_panel_shards(place / "panel", [place / "wide.csv", tmp_path / "numbered.csv"], tmp_path / "o")


def test_texts_in_the_order_of_the_pairs(tmp_path: Path) -> None:
    """As in memory: exchanged pairs and further battles among them; another order is refused."""
    drawn = length_votes(tmp_path, [f"q{k}|x|y" for k in range(160)], longest=30, lists=True)
    drawn.panel.save(tmp_path / "panel")
    asked = drawn.scores.with_columns(
        id=pl.when(pl.int_range(pl.len()) % 5 == 0)
        .then(pl.col("id").str.replace(r"\|x\|y", "|y|x"))
        .otherwise("id")
    ).filter(pl.int_range(pl.len()) % 3 != 1)
    asked.write_csv(tmp_path / "asked.csv")
    for suffix in (".csv", ".parquet", ".jsonl"):
        text, files = tmp_path / f"texts{suffix}", [tmp_path / "asked.csv"]
        write(drawn.battles.drop("winner"), text)
        expected = predict_panel(tmp_path / "panel", files, text=text, equal_style=True)
        out = tmp_path / f"o{suffix}"
        predict_panel_shards(
            tmp_path / "panel", files, out, text=text, equal_style=True, chunk_rows=13, jobs=1
        )
        assert shards_of(out).equals(expected.frame(logs=False))
    write(drawn.battles.drop("winner").reverse(), tmp_path / "turned.csv")
    with pytest.raises(InputError, match=r"turned.csv: no text of the pair q\S+, or not in the order"):
        predict_panel_shards(tmp_path / "panel", files, tmp_path / "t", text=tmp_path / "turned.csv", jobs=1)


@given(st.text("ab|", max_size=8))
def test_a_pair_exchanged_twice_is_itself(key: str) -> None:
    assert exchanged(exchanged(key)) == key


def test_the_command(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["predict", "--panel", str(place / "panel"), "--judgements", str(place / "wide.csv")]
    out = str(tmp_path / "o")
    assert cli.run([*base, "--shards", out, "--chunk-rows", "900", "--jobs", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rows"], facts["kept"], len(facts["files"]), facts["absent"]) == (PAIRS, 0, 2, ["reward"])
    assert cli.run([*base, "--shards", out, "--chunk-rows", "900", "--jobs", "1"]) == 0
    assert "2 shards were there already" in capsys.readouterr().out
    assert cli.run([*base, "--shards", str(tmp_path / "late"), "--hours", "0.00000001"]) == 5
    capsys.readouterr()
    assert "--out: not with --shards" in refusal([*base, "--shards", out, "--out", "x.csv"], capsys)
    assert "--hours: of no use with --panel" in refusal([*base, "--out", "x.csv", "--hours", "1"], capsys)
    assert "--base: of no use with --panel" in refusal([*base, "--shards", out, "--base", "a=b"], capsys)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = sorted(one.getMessage() for one in caplog.records if one.levelname == "WARNING")
    caplog.clear()
    return found


@pytest.mark.parametrize("chunk_rows", [7, 50, 500])
@pytest.mark.parametrize("shape", ["long", "wide"])
def test_all_notes_are_those_of_files_read_whole(
    place: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, chunk_rows: int, shape: str
) -> None:
    """Missing answers, texts that are no verdict, samples that are there twice, pairs joined exchanged."""
    rows = 120
    ids = [f"q{k}|x|y" for k in range(rows)]
    words = [["A", "B", "both fail", "", "I refuse", "tie"][k % 6] for k in range(rows)]
    if shape == "wide":
        columns = {"id": ids, "careful": words, "hasty": ["A"] * 60 + [""] * 60, "correct": ["tie"] * rows}
        judged = pl.DataFrame(columns)
    else:
        long = [
            {"id": name, "judge": judge, "sample": 0, "verdict": word}
            for k, (name, word) in enumerate(zip(ids, words, strict=True))
            for judge in ("careful", *(["hasty"] if k > 70 else []))
            for _ in range(1 + (k % 9 == 0))
        ]
        judged = pl.DataFrame(long)
    judged.write_csv(tmp_path / "judged.csv")
    turned = [f"q{k}|y|x" if k % 4 == 0 else name for k, name in enumerate(ids)]
    scores = pl.DataFrame({"id": turned, "judge": "reward", "score_a": 1.0, "score_b": 0.5}).filter(
        pl.int_range(pl.len()) % 3 != 1
    )
    scores.write_csv(tmp_path / "scores.csv")
    files = [tmp_path / "judged.csv", tmp_path / "scores.csv"]
    expected = predict_panel(place / "panel", files)
    whole = warnings_of(caplog)
    assert any("missing, of 120 pairs" in one for one in whole)
    assert any("pairs are joined with their answers exchanged" in one for one in whole)
    assert any("are no verdict: " in one for one in whole)
    assert any("rows repeat" in one for one in whole) == (shape == "long")
    predict_panel_shards(place / "panel", files, tmp_path / "o", chunk_rows=chunk_rows, jobs=1)
    assert warnings_of(caplog) == whole
    assert shards_of(tmp_path / "o").equals(expected.frame(logs=False))


def test_names_of_pairs_are_decided_by_all_rows_not_by_a_chunk(place: Path, tmp_path: Path) -> None:
    """In memory nothing is exchanged where one id names no two answers; chunks that did so are refused."""
    ids = [f"d{k}|01|02" for k in range(30)]
    other = ["d0|02|01", *ids[1:]]
    for odd_first in (False, True):
        leader, follower = (["d|01|01", *ids], other) if odd_first else ([*ids, "d|01|01"], other)
        pl.DataFrame({"id": leader, "careful": "A"}).write_csv(tmp_path / "one.csv")
        pl.DataFrame({"id": follower, "judge": "reward", "score_a": 1.0, "score_b": 0.0}).write_csv(
            tmp_path / "two.csv"
        )
        files = [tmp_path / "one.csv", tmp_path / "two.csv"]
        assert len(predict_panel(place / "panel", files).ids) == 32
        for rows in (5, 100):
            with pytest.raises(
                InputError, match=r"names no two answers, so that ids|lacks the pair d0\|02\|01"
            ):
                predict_panel_shards(
                    place / "panel", files, tmp_path / f"o{odd_first}{rows}", chunk_rows=rows, jobs=1
                )


def test_numbers_are_read_as_the_panel_learned_them_in_memory_and_in_shards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A later file of two of the three numbers, or with a slip among few, means what the first one meant."""
    drawn = sample.panel(120, seed=0, judges={"hasty": JUDGES["hasty"]})
    column = drawn.judgements.columns["hasty"]
    votes = tmp_path / "votes.csv"
    votes.write_text(drawn.files()["votes.csv"])
    for numbers in ("120", "012"):
        coded = pl.DataFrame(
            {"id": drawn.judgements.ids, "judge": "hasty", "verdict": [
                numbers[verdict] if verdict >= 0 else None for verdict in column.verdicts
            ]}
        )  # fmt: skip
        coded.write_csv(tmp_path / "coded.csv")
        data = read_panel_data([tmp_path / "coded.csv"], votes, numbers=numbers)
        panel = Panel(honest=False).fit(data.judgements, data.votes.majority)
        place = tmp_path / f"panel-{numbers}"
        panel.save(place)
        assert Panel.load(place).known_["hasty"].numbers == numbers
        words = {"A": numbers[0], "B": numbers[1], "tie": numbers[2]}
        expected = {}
        for word in words:
            pl.DataFrame({"id": ["n"], "judge": "hasty", "verdict": word}).write_csv(tmp_path / "word.csv")
            expected[word] = predict_panel(place, [tmp_path / "word.csv"]).log_probs[0]
        for asked in (("A", "B"), ("A", "tie"), ("B", "tie"), ("A",)):
            rows = {"id": [f"n{k}" for k in range(len(asked))], "judge": "hasty",
                    "verdict": [words[word] for word in asked]}  # fmt: skip
            new = tmp_path / "new.csv"
            pl.DataFrame(rows).write_csv(new)
            caplog.clear()
            found = predict_panel(place, [new])
            np.testing.assert_array_equal(found.log_probs, [expected[word] for word in asked])
            out = tmp_path / f"o-{numbers}-{'-'.join(asked)}"
            predict_panel_shards(place, [new], out, jobs=1)
            assert shards_of(out).equals(found.frame(logs=False))
            assert not caplog.messages
        other = {"120": "012", "012": "120"}[numbers]
        predict_panel(place, [new], numbers=other)
        assert f"read as {other}, as asked; the panel was fitted on {numbers}" in caplog.text
        pl.DataFrame({"id": ["a", "b"], "judge": "hasty", "verdict": ["3", words["A"]]}).write_csv(new)
        slip = predict_panel(place, [new])
        np.testing.assert_array_equal(slip.log_probs[1], expected["A"])


def test_columns_that_are_not_read_are_noted_as_in_memory(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wide = pl.read_csv(place / "wide.csv", n_rows=60)
    path = place / "noted.csv"
    wide.with_columns(stars=pl.int_range(pl.len()) % 6 + 3, correct=pl.lit("tie")).write_csv(path)
    predict_panel(place / "panel", [path])
    whole = [one for one in caplog.messages if "not read" in one]
    assert len(whole) == 2
    caplog.clear()
    predict_panel_shards(place / "panel", [path], place / "noted", jobs=1)
    assert [one for one in caplog.messages if "not read" in one] == whole
