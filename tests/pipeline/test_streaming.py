"""A file predicted in chunks: every row once, in order, whatever the chunks, the kills and the processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena_ensemble import cli, sample
from arena_ensemble.artifacts import atomic, shard_folder
from arena_ensemble.artifacts.files import digest_json
from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.battles import Battles
from arena_ensemble.deadline import Deadline
from arena_ensemble.errors import ArtifactError, InputError, OutOfTime, StaleError
from arena_ensemble.io import read_battles
from arena_ensemble.pipeline import chunk_pool, streaming, workflow
from arena_ensemble.pipeline.chunk_passes import content_digest
from arena_ensemble.pipeline.chunk_pool import cards_of
from arena_ensemble.pipeline.chunk_run import ShardedPrediction
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.executors import slots
from arena_ensemble.pipeline.seen_ids import SeenIds, id_keys
from arena_ensemble.pipeline.streaming import predict_shards
from arena_ensemble.recipes import recipe_from
from tests.helpers.workspaces import RECIPE, refusal

ROWS = 61
ENCODER = """\
base = "tiny:encoder"
backbone = "classify"
[train]
epochs = 1
batch_rows = 8
[prompt]
max_tokens = 64
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two lexical members, and files of new battles in three kinds."""
    folder = tmp_path_factory.mktemp("streamed")
    (folder / "train.csv").write_text(sample.files(90, 2, seed=3)["train.csv"])
    for name in ("one", "two"):
        atomic.write_bytes(folder / "w" / "models" / name / "recipe.toml", RECIPE.encode())
    arguments = ["--data", str(folder / "train.csv"), "--models", "one,two", "--folds", "3", "--jobs", "1"]
    assert cli.run(["stack", *arguments, "--workspace", str(folder / "w")]) == 0
    battles = sample.make_arena(ROWS, seed=8).battles
    frame = sample.kaggle_frame(battles, labelled=False)
    frame.write_parquet(folder / "new.parquet", row_group_size=10)
    frame.write_csv(folder / "new.csv")
    (folder / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in frame.to_dicts()))
    return folder


def shards_of(folder: Path) -> pl.DataFrame:
    """All shards as one table, each held against the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = []
    for shard in manifest["shards"]:
        assert shard_folder.digest_file(folder / shard["file"]) == shard["sha256"]
        parts.append(pl.read_parquet(folder / shard["file"]))
        assert shard["first_row"] == 1 + sum(map(len, parts[:-1]))
    assert sorted(path.name for path in folder.glob("*.parquet")) == [s["file"] for s in manifest["shards"]]
    together = pl.concat(parts)
    assert len(together) == manifest["rows"]
    return together


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def test_every_row_is_there_once_in_order_and_as_the_ensemble_predicts_it(
    place: Path, tmp_path: Path
) -> None:
    ensemble = Ensemble.load(place / "w")
    done = predict_shards(ensemble, place / "new.parquet", tmp_path / "o", chunk_rows=25, jobs=1)
    found = shards_of(tmp_path / "o")
    battles = read_battles(place / "new.parquet")
    assert found["id"].equals(battles.ids)
    assert done.rows == ROWS
    assert [path.name for path in done.files] == [f"part-{k:05d}.parquet" for k in range(3)]
    probs = found.drop("id").to_numpy()
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
    # gamma was estimated from the first chunk alone: the same rows alone predict the same
    shutil.copytree(place / "w", tmp_path / "w")
    alone = workflow.predict(ensemble, battles.take(np.arange(25)), workspace=tmp_path / "w", jobs=1)
    np.testing.assert_allclose(np.log(probs[:25]), alone.log_probs, atol=1e-9)
    assert set(done.gammas) == {"one", "two", "ensemble"}
    assert not chunk_pool._loaded, "models are given back"


@settings(max_examples=6)
@given(data=st.data())
def test_kind_of_file_and_processes_change_nothing(place: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["new.csv", "new.jsonl", "new.parquet"]))
    out = place / f"kind-{kind}"
    shutil.rmtree(out, ignore_errors=True)
    predict_shards(Ensemble.load(place / "w"), place / kind, out, chunk_rows=30, jobs=1)
    first = place / "kind-first"
    if not first.exists():
        predict_shards(Ensemble.load(place / "w"), place / "new.csv", first, chunk_rows=30, jobs=2)
    assert content(out) == content(first)


def test_a_second_call_does_nothing_and_a_lost_or_damaged_shard_is_made_again(
    place: Path, tmp_path: Path
) -> None:
    ensemble, out = Ensemble.load(place / "w"), tmp_path / "o"

    def run() -> int:
        return predict_shards(ensemble, place / "new.jsonl", out, chunk_rows=20, jobs=1).kept

    assert run() == 0
    before = content(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    assert run() == 4
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")} == times
    (out / "part-00001.parquet").unlink()
    (out / "part-00002.parquet").write_bytes(b"PAR1")
    assert run() == 2
    assert content(out) == before


def test_only_chunks_whose_battles_changed_are_made_again(place: Path, tmp_path: Path) -> None:
    lines = (place / "new.jsonl").read_text().splitlines()
    file, out = tmp_path / "new.jsonl", tmp_path / "o"

    def run(rows: list[str]) -> int:
        file.write_text("\n".join(rows))
        return predict_shards(Ensemble.load(place / "w"), file, out, chunk_rows=20, jobs=1).kept

    assert run(lines) == 0
    changed = [*lines[:45], json.dumps({**json.loads(lines[45]), "response_a": '["another answer"]'})]
    assert run([*changed, *lines[46:]]) == 3
    assert run(lines[:40]) == 2
    assert len(shards_of(out)) == 40  # shards of rows that are gone went with them


def workers_of(process: int) -> list[int]:
    """The processes that predict for one: its children, but for Python's own tracker of resources."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(one) for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


@pytest.mark.parametrize(("jobs", "victim"), [(1, "run"), (2, "run"), (2, "worker")])
def test_a_killed_run_goes_on_and_ends_equal_to_the_bit(
    place: Path, tmp_path: Path, jobs: int, victim: str
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    predict_shards(Ensemble.load(place / "w"), place / "new.csv", whole, chunk_rows=4, jobs=1)
    command = [
        sys.executable, "-m", "arena_ensemble", "predict", "--workspace", str(place / "w"), "--test",
        str(place / "new.csv"), "--shards", str(out), "--chunk-rows", "4", "--jobs", str(jobs),
    ]  # fmt: skip
    running = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    journal = out / "journal.jsonl"
    while running.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 3):
        time.sleep(0.01)
    os.kill(running.pid if victim == "run" else workers_of(running.pid)[0], signal.SIGKILL)
    errors = running.communicate()[1]
    assert victim == "run" or "error: a process that predicted was killed" in errors
    with journal.open("ab") as stream:
        stream.write(b'{"file": "part-0')  # the line that a kill cuts off
    done = predict_shards(Ensemble.load(place / "w"), place / "new.csv", out, chunk_rows=4, jobs=1)
    assert done.kept >= 3
    assert content(out) == content(whole)


def test_an_id_that_repeats_in_another_chunk_is_named_by_both_rows(place: Path, tmp_path: Path) -> None:
    row = {"prompt": "q", "response_a": "a", "response_b": "b"}
    ids = [f"x{k}" for k in range(30)]
    ids[25] = "x3"
    file = tmp_path / "f.jsonl"
    file.write_text("".join(json.dumps({"id": name, **row}) + "\n" for name in ids))
    with pytest.raises(InputError, match=r"row 26 \(id x3\): the id repeats row 4; ids must be unique"):
        predict_shards(Ensemble.load(place / "w"), file, tmp_path / "o", chunk_rows=10, jobs=2)


def test_a_bad_row_is_named_and_the_shards_before_it_stay(place: Path, tmp_path: Path) -> None:
    lines = (place / "new.jsonl").read_text().splitlines()
    broken = json.dumps({**json.loads(lines[44]), "response_b": "[1]"})
    file = tmp_path / "f.jsonl"
    file.write_text("\n".join([*lines[:44], broken, *lines[45:]]))
    with pytest.raises(InputError, match=r"f.jsonl row 45 \(id .*response_b"):
        predict_shards(Ensemble.load(place / "w"), file, tmp_path / "o", chunk_rows=20, jobs=1)
    file.write_text("\n".join(lines))
    assert predict_shards(Ensemble.load(place / "w"), file, tmp_path / "o", chunk_rows=20, jobs=1).kept == 2


def test_a_folder_of_other_chunks_or_other_files_is_refused(place: Path, tmp_path: Path) -> None:
    ensemble = Ensemble.load(place / "w")
    predict_shards(ensemble, place / "new.csv", tmp_path / "o", chunk_rows=40, jobs=1)
    with pytest.raises(StaleError, match=r"made otherwise \(chunk_rows.* differ\); give another folder"):
        predict_shards(ensemble, place / "new.csv", tmp_path / "o", chunk_rows=41, jobs=1)
    (tmp_path / "mine").mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "mine" / "data.parquet")
    with pytest.raises(InputError, match="holds parquet files of something else; give a folder of its own"):
        predict_shards(ensemble, place / "new.csv", tmp_path / "mine", jobs=1)
    (tmp_path / "o" / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="not as written; remove the folder, or give another"):
        predict_shards(ensemble, place / "new.csv", tmp_path / "o", chunk_rows=40, jobs=1)


def test_gammas_of_another_file_are_not_taken_over_in_silence(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "w", tmp_path / "w")
    ensemble, out = Ensemble.load(tmp_path / "w"), tmp_path / "o"

    def run(file: Path) -> dict[str, float]:
        return predict_shards(ensemble, file, out, chunk_rows=20, jobs=1).gammas

    gammas = run(place / "new.jsonl")
    lines = (place / "new.jsonl").read_text().splitlines()
    edited, other = tmp_path / "edited.jsonl", tmp_path / "other.jsonl"
    rows = [json.loads(line) for line in lines]
    edited.write_text(
        json.dumps({**rows[0], "response_a": '["another answer"]'}) + "\n" + "\n".join(lines[1:])
    )
    assert run(edited) == gammas, "an edited file keeps what it was begun with"
    other.write_text("".join(json.dumps({**row, "id": f"other-{k}"}) + "\n" for k, row in enumerate(rows)))
    with pytest.raises(StaleError, match="predictions of another file, from whose rows gamma was estimated"):
        run(other)
    shutil.rmtree(out)
    workflow.predict(ensemble, place / "train.csv", workspace=tmp_path / "w", jobs=1)
    gammas = run(place / "new.jsonl")
    assert run(other) == gammas, "those kept with the ensemble are of no file's own"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a member on a base, and new battles."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "train.csv").write_text(sample.files(48, 2, seed=3)["train.csv"])
    for name, recipe in (("bert", ENCODER), ("words", RECIPE)):
        atomic.write_bytes(folder / "w" / "models" / name / "recipe.toml", recipe.encode())
    arguments = ["--data", str(folder / "train.csv"), "--models", "bert,words", "--folds", "3", "--jobs", "1"]
    assert cli.run(["stack", *arguments, "--workspace", str(folder / "w")]) in (0, 4)
    (folder / "new.csv").write_text(sample.files(2, 30, seed=8)["test.csv"])
    return folder


def test_a_member_on_a_base_is_predicted_fold_after_fold(bert: Path, tmp_path: Path) -> None:
    ensemble, out = Ensemble.load(bert / "w"), tmp_path / "o"
    predict_shards(ensemble, bert / "new.csv", out, chunk_rows=30, jobs=1)
    battles = read_battles(bert / "new.csv")
    expected = workflow.predict(ensemble, battles, workspace=bert / "w", jobs=1).log_probs
    found = np.log(shards_of(out).drop("id").to_numpy())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert len(times) == 1 + 3  # its three folds' predictions stay, so that nothing is predicted twice
    assert predict_shards(ensemble, bert / "new.csv", out, chunk_rows=30, jobs=1).kept == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == times
    key = shard_folder.read_manifest(out / ".members" / "bert" / "0").key
    assert key["ensemble"] == ensemble.card.card_sha256
    card = MemberArtifacts(Workspace(bert / "w"), "bert").fold_card(0)
    assert card is not None
    assert key["model"] == digest_json(card.files)


def test_the_command(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "o"
    base = ["predict", "--workspace", str(place / "w"), "--test", str(place / "new.csv")]
    assert cli.run([*base, "--shards", str(out), "--jobs", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rows"], facts["kept"], len(facts["files"])) == (ROWS, 0, 1)
    assert len(shards_of(out)) == ROWS
    assert "--out: not with --shards" in refusal([*base, "--shards", str(out), "--out", "x.csv"], capsys)
    assert "--chunk-rows: of no use without --shards" in refusal([*base, "--chunk-rows", "9"], capsys)
    assert "give at least 1" in refusal([*base, "--shards", str(out), "--chunk-rows", "0"], capsys)
    late = [*base, "--shards", str(tmp_path / "late"), "--jobs", "1", "--hours", "0.00000001", "--json"]
    assert cli.run(late) == 5
    assert json.loads(capsys.readouterr().out)["late"] is True


def test_hours_stop_it_in_time_and_the_same_call_goes_on(place: Path, tmp_path: Path) -> None:
    ensemble, whole, out = Ensemble.load(place / "w"), tmp_path / "whole", tmp_path / "o"
    predict_shards(ensemble, place / "new.csv", whole, chunk_rows=10, jobs=1)
    now = [0.0]

    def later(rows: int, what: str) -> None:
        now[0] += 60

    def run(seconds: float) -> ShardedPrediction:
        until = Deadline(now[0] + seconds, lambda: now[0])
        file = place / "new.csv"
        return predict_shards(ensemble, file, out, chunk_rows=10, jobs=1, hours=until, on_rows=later)

    with pytest.raises(OutOfTime, match=r"o: time is up, 30 rows are predicted; the same command goes on"):
        run(150)
    assert not (out / "manifest.json").exists()
    assert sorted(path.name for path in out.glob("*.parquet")) == [f"part-{k:05d}.parquet" for k in range(3)]
    with pytest.raises(OutOfTime, match="time is up, 0 rows"):
        run(-1)
    assert run(7 * 60 + 1).kept == 3
    assert content(out) == content(whole)


def test_a_file_that_changes_between_members_is_refused(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions of other texts under the same ids are never combined."""
    file = tmp_path / "new.csv"
    shutil.copy(bert / "new.csv", file)
    one_member = streaming._one_member

    def then_edited(*given: Any) -> Path:
        folder = one_member(*given)
        frame = pl.read_csv(bert / "new.csv", infer_schema_length=0)
        frame.with_columns(pl.col("response_a").str.replace("e", "E")).write_csv(file)
        return folder

    monkeypatch.setattr(streaming, "_one_member", then_edited)
    with pytest.raises(InputError, match=r"new.csv changed while it was predicted: member 'bert'"):
        predict_shards(Ensemble.load(bert / "w"), file, tmp_path / "o", jobs=1, use_folds=[0])


def test_a_file_that_grows_between_members_is_refused(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, frame = tmp_path / "new.csv", pl.read_csv(bert / "new.csv", infer_schema_length=0)
    shutil.copy(bert / "new.csv", file)
    one_member = streaming._one_member

    def then_grown(*given: Any) -> Path:
        folder = one_member(*given)
        more = frame.head(3).with_columns((pl.col("id").cast(pl.Int64) + 10**6).cast(pl.String))
        pl.concat([frame, more]).write_csv(file)
        return folder

    monkeypatch.setattr(streaming, "_one_member", then_grown)
    with pytest.raises(InputError, match=rf"ends at row {len(frame)} and the file goes on: it grew while"):
        predict_shards(
            Ensemble.load(bert / "w"), file, tmp_path / "o", chunk_rows=len(frame), jobs=1, use_folds=[0]
        )


def test_cards_are_dealt_out_to_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_from({"backbone": "classify", "base": "tiny:encoder"}, name="x")
    wide = recipe_from(
        {"backbone": "classify", "base": "tiny:encoder", "machine": {"processes": 2}}, name="x"
    )
    monkeypatch.setattr(slots, "gpu_count", lambda: 5)
    assert cards_of(recipe) == [[0], [1], [2], [3], [4]]
    assert cards_of(recipe, jobs=2) == [[0], [1]]
    assert cards_of(recipe, jobs=1) == []
    assert cards_of(wide) == [[0, 1], [2, 3]]
    assert cards_of(recipe_from({"backbone": "lexical"}, name="x")) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,9")
    free: Any = SimpleQueue[list[int]]()
    free.put([1])
    monkeypatch.setattr(chunk_pool.children, "die_with_parent", lambda: None)
    chunk_pool._begin(free)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "9"


TURNS = st.lists(st.none() | st.text("ab", max_size=2), min_size=1, max_size=3)
ROW = st.tuples(st.integers(0, 12), TURNS, TURNS, TURNS)


@given(pair=st.tuples(*[st.lists(ROW, min_size=1, max_size=3, unique_by=lambda row: row[0])] * 2))
def test_the_digest_of_a_chunk_tells_apart_what_that_of_battles_does(
    pair: tuple[list[Any], list[Any]],
) -> None:
    names = ("id", "prompt", "response_a", "response_b")
    one, other = (Battles.from_rows([dict(zip(names, row, strict=True)) for row in rows]) for rows in pair)
    same = one.digest(outcomes=False) == other.digest(outcomes=False)
    assert (content_digest(one) == content_digest(other)) == same
    texts = Battles(one.frame.with_columns(pl.col("id").cast(pl.String)))
    assert content_digest(texts) != content_digest(one)


@given(chunks=st.lists(st.lists(st.integers(-50, 50), unique=True, max_size=30), max_size=20))
def test_ids_met_before_are_found(chunks: list[list[int]]) -> None:
    seen, before = SeenIds(), set[int]()
    for chunk in chunks:
        found = seen.add(id_keys(pl.Series(chunk, dtype=pl.Int64)))
        assert found.tolist() == [place for place, name in enumerate(chunk) if name in before]
        before |= set(chunk)
    assert len(seen) == sum(map(len, chunks))


def test_kept_gammas_are_used_and_a_folder_keeps_its_own(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "w", tmp_path / "w")
    ensemble = Ensemble.load(tmp_path / "w")
    begun = predict_shards(ensemble, place / "new.csv", tmp_path / "o", chunk_rows=20, jobs=1)
    workflow.predict(ensemble, place / "train.csv", workspace=tmp_path / "w", jobs=1)
    kept = predict_shards(ensemble, place / "new.csv", tmp_path / "o2", chunk_rows=20, jobs=1)
    assert kept.gammas != begun.gammas
    again = predict_shards(ensemble, place / "new.csv", tmp_path / "o", chunk_rows=20, jobs=1)
    assert (again.kept, again.gammas) == (4, begun.gammas)
    alone = ensemble.predict_proba(place / "new.csv")
    np.testing.assert_allclose(shards_of(tmp_path / "o2").drop("id").to_numpy(), alone, atol=1e-12)
