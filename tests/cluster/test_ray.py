"""On a Ray cluster of three nodes on this machine: as here to the bit, whatever is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cluster_machines import HELPERS, PACKAGE, Machines, wait_for
from cluster_runs import faulty, run

from arena_ensemble.artifacts.members import MemberArtifacts
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.recipes import recipe_from

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'arena-ensemble[ray]'")


def tables(workspace: Path, *members: str) -> dict[str, bytes]:
    """The members' finished tables."""
    places = [workspace / "oof" / name / file for name in members for file in ("oof.parquet", "test.parquet")]
    return {str(path.relative_to(workspace)): path.read_bytes() for path in places}


def notes(workspace: Path, member: str) -> list[str]:
    card = MemberArtifacts(Workspace(workspace), member).card()
    assert card is not None
    return card.notes


LEXICAL = recipe_from({"backbone": "lexical", "lexical": {"interactions": 16}}, name="words")
TINY = recipe_from(
    {"backbone": "classify", "base": "tiny:encoder", "prompt": {"max_tokens": 64}, "tiny": {"hidden": 16}},
    name="tiny",
)


@pytest.mark.slow
def test_predictions_are_those_of_this_machine_to_the_bit(machines: Machines, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(here, [LEXICAL, TINY]).finished == ["words", "tiny"]
    events: list[tuple[str, float, float, str]] = []
    found = run(there, [LEXICAL, TINY], machines.address, on_event=lambda *event: events.append(event))
    assert (found.finished, found.failed) == (["words", "tiny"], {})
    assert tables(there, "words", "tiny") == tables(here, "words", "tiny")
    for fold in range(3):
        texts = [text for label, _, _, text in events if label == f"tiny fold {fold}"]
        assert "predicting" in texts, "live progress"
        assert texts[-1].startswith("[done] on cpu, float32")
    assert not list(there.glob("cache/.ray-*"))
    before = machines.place / "starts.txt"
    assert run(there, [LEXICAL, TINY], machines.address).finished == ["words", "tiny"]
    assert not before.exists()


@pytest.mark.slow
def test_a_lost_node_costs_one_more_try(
    machines: Machines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (machines.place / "go").touch()
    run(tmp_path / "here", faulty("slow"))
    (machines.place / "go").unlink()
    (machines.place / "starts.txt").unlink()
    for path in machines.place.glob("asleep-*"):
        path.unlink()
    again: list[str] = []

    def on_event(label: str, done: float, total: float, text: str) -> None:
        if text.startswith("again"):
            again.append(label)
            (machines.place / "go").touch()

    def lose_one() -> None:
        wait_for(lambda: len(machines.asleep()) == 2)
        machines.lose()

    thread = threading.Thread(target=lose_one)
    thread.start()
    with caplog.at_level("WARNING", logger="arena_ensemble"):
        found = run(tmp_path / "there", faulty("slow"), machines.address, on_event=on_event)
    thread.join()
    assert found.finished == ["slow"], found.failed
    assert len(again) == 1
    fold = again[0].split()[-1]
    expected = {f"slow fold-{k}": 1 + (str(k) == fold) for k in range(3)}
    assert machines.starts() == expected
    assert tables(tmp_path / "there", "slow") == tables(tmp_path / "here", "slow")
    assert f"{again[0]}: its node was lost; it is begun again (1 of 3)" in caplog.text
    assert f"fold {fold} was begun again: its node was lost" in notes(tmp_path / "there", "slow")


@pytest.mark.slow
def test_finished_folds_of_a_killed_driver_are_not_done_again(machines: Machines, tmp_path: Path) -> None:
    workspace = machines.place / f"w-{tmp_path.name}"  # its folder is where the workers are watched
    driver = subprocess.Popen(
        [sys.executable, str(HELPERS / "cluster_driver.py"), machines.address, str(workspace), "slow"],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}:{HELPERS}"},
    )
    first = workspace / "oof" / "slow" / "fold-0.json"
    wait_for(lambda: first.is_file() and len(machines.asleep()) == 2)
    kept = (workspace / "models" / "slow" / "fold-0" / "card.json").read_bytes()
    workers = machines.asleep()
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    (machines.place / "go").touch()
    assert run(workspace, faulty("slow"), machines.address).finished == ["slow"]
    assert machines.starts() == {"slow fold-0": 1, "slow fold-1": 2, "slow fold-2": 2}
    assert (workspace / "models" / "slow" / "fold-0" / "card.json").read_bytes() == kept
    run(tmp_path / "here", faulty("slow"))
    assert tables(workspace, "slow") == tables(tmp_path / "here", "slow")


@pytest.mark.slow
def test_an_error_in_the_code_is_not_tried_again_and_costs_its_member_alone(
    machines: Machines, tmp_path: Path
) -> None:
    members = [faulty(name) for name in ("raiser", "eater", "calm")]
    found = run(tmp_path, members, machines.address)
    assert found.finished == ["calm"]
    label, _, why = found.failed["raiser"].partition(": ")
    assert label in ("fold 1", "fold 2")
    assert why == "ValueError: no luck with these rows"
    assert "MemoryError" in found.failed["eater"]
    assert max(machines.starts().values()) == 1
    assert not found.bugs


@pytest.mark.slow
def test_a_process_that_is_killed_each_time_is_given_up(
    machines: Machines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the kernel does to a process for want of memory."""
    with caplog.at_level("WARNING", logger="arena_ensemble"):
        found = run(tmp_path, [faulty("killed"), faulty("leaver")], machines.address, retries=1)
    assert found.finished == []
    for name in ("killed", "leaver"):
        assert "it was begun 2 times, each time in vain: its process was killed" in found.failed[name]
        assert max(n for task, n in machines.starts().items() if task.startswith(name)) == 2
    assert "it is begun again (1 of 1)" in caplog.text


@pytest.mark.slow
def test_a_full_object_store_costs_time_alone(machines: Machines, tmp_path: Path) -> None:
    kept = [ray.put(bytes(30 * 2**20)) for _ in range(4)]  # half as much again as the driver's node holds
    found = run(tmp_path / "there", faulty("calm"), machines.address)
    assert found.finished == ["calm"], found.failed
    run(tmp_path / "here", faulty("calm"))
    assert tables(tmp_path / "there", "calm") == tables(tmp_path / "here", "calm")
    assert len(ray.get(kept[0])) == 30 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True])
def test_workers_that_see_no_common_disk(machines: Machines, tmp_path: Path, stored: bool) -> None:
    """A pupil's teacher and a refit's folds travel there; what is made comes back, or lies in the store."""
    soft = {"teacher": "words", "weight": 0.5}
    pupil = recipe_from({"backbone": "lexical", "soft": soft, "lexical": {"interactions": 0}}, name="pupil")
    here, there = tmp_path / "here", tmp_path / "there"
    run(here, [LEXICAL, pupil], refit=True)
    store = f"file://{tmp_path / 'store'}" if stored else None
    options = {"apart": True, "store": store, "refit": True}
    found = run(there, [LEXICAL, pupil], machines.address, **options)
    assert found.finished == ["words", "pupil"], found.failed
    assert tables(there, "words", "pupil") == tables(here, "words", "pupil")
    for fold in ("fold-0", "fold-2", "refit"):
        folders = [root / "models" / "pupil" / fold for root in (here, there)]
        files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
        assert files[0].keys() == files[1].keys()
        assert all(files[0][name] == files[1][name] for name in files[0].keys() - {"card.json"})
    scratch = machines.place / f"arena-ensemble-{os.getuid()}"
    assert scratch.is_dir()
    assert not list(scratch.rglob("*.parquet")), "nothing is kept there twice"
    if stored:
        assert run(tmp_path / "anew", [LEXICAL, pupil], machines.address, **options).finished
        assert tables(tmp_path / "anew", "words", "pupil") == tables(here, "words", "pupil")
