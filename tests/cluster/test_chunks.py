"""A file predicted in chunks on a cluster: each row once and in order, bits as here, whatever is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import polars as pl
import pytest
from cluster_machines import Machines, wait_for

from arena_ensemble import Panel, cli, sample
from arena_ensemble.artifacts import atomic
from arena_ensemble.errors import InputError
from arena_ensemble.pipeline import workflow
from arena_ensemble.pipeline.ensemble import Ensemble
from arena_ensemble.pipeline.executors import OnRay
from arena_ensemble.pipeline.panel_shards import predict_panel_shards
from arena_ensemble.pipeline.streaming import predict_shards

pytest.importorskip("ray", reason="Ray is not installed: pip install 'arena-ensemble[ray]'")

ROWS = 61
FAULTY = 'backbone = "faulty"\n'
LEXICAL = 'backbone = "lexical"\n[lexical]\nmax_features = 60\ninteractions = 0\ninner_folds = 0\n'


@pytest.fixture
def place(machines: Machines, tmp_path: Path) -> Path:
    """A workspace with a member that can be made to wait and one that cannot, and new battles."""
    (tmp_path / "train.csv").write_text(sample.files(60, 2, seed=3)["train.csv"])
    for name, recipe in (("waits", FAULTY), ("words", LEXICAL)):
        atomic.write_bytes(tmp_path / "w" / "models" / name / "recipe.toml", recipe.encode())
    (machines.place / "go").touch()
    arguments = ["--data", str(tmp_path / "train.csv"), "--models", "waits,words", "--folds", "3"]
    code = cli.run(["stack", *arguments, "--jobs", "1", "--workspace", str(tmp_path / "w")])
    assert code in (0, 4)
    battles = sample.make_arena(ROWS, seed=8).battles
    sample.kaggle_frame(battles, labelled=False).write_parquet(tmp_path / "new.parquet")
    ensemble = Ensemble.load(tmp_path / "w")
    workflow.predict(ensemble, tmp_path / "new.parquet", workspace=tmp_path / "w", jobs=1)  # keeps the gammas
    predict_shards(
        Ensemble.load(tmp_path / "w"), tmp_path / "new.parquet", tmp_path / "here", chunk_rows=5, jobs=1
    )
    (machines.place / "go").unlink()
    for path in machines.place.glob("asleep-*"):
        path.unlink()
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def on_ray(place: Path, out: str, **options: object) -> int:
    """Predict on the cluster; how many shards were there already."""
    ensemble = Ensemble.load(place / "w")
    executor = OnRay(**options)  # type: ignore[arg-type]
    file = place / "new.parquet"
    return predict_shards(ensemble, file, place / out, chunk_rows=5, executor=executor).kept


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["node", "worker"])
def test_every_row_is_there_once_whatever_is_lost(
    machines: Machines, place: Path, caplog: pytest.LogCaptureFixture, victim: str
) -> None:
    (machines.place / "hold").touch()

    def lose_one() -> None:
        try:
            wait_for(lambda: len(machines.asleep()) == 2)
            if victim == "node":
                machines.lose()
            else:
                os.kill(machines.asleep()[0], signal.SIGKILL)
            # a worker outlives its node for a moment: let it do no work before the loss is seen
            wait_for(lambda: "a chunk is begun again" in caplog.text)
        finally:
            (machines.place / "go").touch()

    thread = threading.Thread(target=lose_one)
    thread.start()
    with caplog.at_level("WARNING", logger="arena_ensemble"):
        assert on_ray(place, "there", retries=2) == 0
    thread.join()
    why = "its node was lost" if victim == "node" else "its process was killed"
    assert f"a chunk is begun again (1 of 2): {why}" in caplog.text
    assert content(place / "there") == content(place / "here")
    manifest = json.loads((place / "there" / "manifest.json").read_text())
    assert manifest["rows"] == ROWS
    found = pl.concat([pl.read_parquet(place / "there" / one["file"]) for one in manifest["shards"]])
    assert found["id"].to_list() == pl.read_parquet(place / "new.parquet")["id"].to_list()
    assert not list((place / "w" / "cache").glob(".ray-*"))
    (place / "there" / "part-00003.parquet").unlink()
    assert on_ray(place, "there") == len(manifest["shards"]) - 1
    assert content(place / "there") == content(place / "here")


@pytest.mark.slow
def test_workers_without_a_common_disk_get_the_models(machines: Machines, place: Path) -> None:
    (machines.place / "go").touch()
    on_ray(place, "there", apart=True, jobs=1)
    assert content(place / "there") == content(place / "here")
    assert not list(machines.place.glob("arena-ensemble-chunks-*")), "nothing is left on their disk"
    frame = pl.read_parquet(place / "new.parquet")
    pl.concat([frame, frame[:1]]).write_parquet(place / "new.parquet")
    with pytest.raises(InputError, match=r"new.parquet row 62 \(id .*\): the id repeats row 1"):
        on_ray(place, "twice")


@pytest.mark.slow
def test_a_panel_on_a_cluster(machines: Machines, tmp_path: Path) -> None:
    judges = {"careful": sample.JUDGES["careful"]}
    learned = sample.panel(120, seed=0, judges=judges)
    Panel(honest=False).fit(learned.judgements, learned.outcomes).save(tmp_path / "panel")
    codes = sample.panel(90, seed=1, judges=judges).judgements.columns["careful"].verdicts
    words = pl.Series([("a", "b", "tie", None)[code] for code in codes])
    pl.DataFrame({"id": range(90), "careful": words}).write_csv(tmp_path / "new.csv")
    files = [tmp_path / "new.csv"]
    predict_panel_shards(tmp_path / "panel", files, tmp_path / "here", chunk_rows=20, jobs=1)
    predict_panel_shards(tmp_path / "panel", files, tmp_path / "there", chunk_rows=20, executor=OnRay())
    assert content(tmp_path / "there") == content(tmp_path / "here")
    assert len(list((tmp_path / "there").glob("*.parquet"))) == 5
