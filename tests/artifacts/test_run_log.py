"""The event log: every whole line is read whatever a kill left behind, and the file stays bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena_ensemble.artifacts.run_log import PROGRESS, RunLog, read_log, thinned

records = st.lists(
    st.dictionaries(
        st.sampled_from(["member", "error", "loss"]), st.text() | st.integers() | st.floats(0, 9)
    ),
    min_size=1,
    max_size=12,
)


def without_time(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "time"} for one in found]


@given(written=records, later=records, cut=st.integers(0, 400))
def test_what_a_kill_tears_off_costs_one_line_and_no_later_one(
    tmp_path_factory: pytest.TempPathFactory,
    written: list[dict[str, Any]],
    later: list[dict[str, Any]],
    cut: int,
) -> None:
    path = tmp_path_factory.mktemp("log") / "oof" / "events.jsonl"
    log = RunLog(path)
    for record in written:
        log.write(record)
    log.close()
    content = path.read_bytes()[: max(len(path.read_bytes()) - cut, 0)]
    path.write_bytes(content)
    whole = content.count(b"\n")
    assert without_time(read_log(path))[:whole] == written[:whole]
    second = RunLog(path)
    for record in later:
        second.write(record)
    second.close()
    found = without_time(read_log(path))
    assert found[:whole] == written[:whole]
    assert found[-len(later) :] == later
    assert len(found) - whole - len(later) in (0, 1)  # a line without its end may still be whole


def test_lines_that_are_no_objects_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'\x00\xff\n[1]\n"x"\n{"kind": "run"}\n' + b"[" * 200_000 + b'\n{"kind": "task"}\n{"ki')
    assert read_log(path) == [{"kind": "run"}, {"kind": "task"}]
    assert read_log(tmp_path / "absent") == []


def test_the_file_stays_bounded_and_keeps_what_is_no_progress(tmp_path: Path) -> None:
    path, most = tmp_path / "events.jsonl", 20_000
    log = RunLog(path, most_bytes=most)
    log.write({"kind": "run", "outcome": "started"})
    for step in range(2_000):
        log.write({"kind": PROGRESS, "member": "m", "fold": 0, "step": step})
        assert path.stat().st_size <= most + 200
        if step % 100 == 0:
            log.write({"kind": "task", "fold": step // 100, "outcome": "done"})
    log.close()
    found = read_log(path)
    assert found[-1]["step"] == 1999
    assert [one["fold"] for one in found if one["kind"] == "task"] == list(range(20))
    assert found[0]["kind"] == "run"


def test_where_even_that_is_too_much_the_oldest_lines_go() -> None:
    lines = b"".join(json.dumps({"kind": "task", "fold": k}).encode() + b"\n" for k in range(1000))
    kept = thinned(lines, 5_000)
    assert len(kept) <= 5_000
    assert kept.endswith(b'{"kind": "task", "fold": 999}\n')


def test_a_log_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "oof").write_text("a file where the folder should be")
    log = RunLog(tmp_path / "oof" / "events.jsonl")
    log.write({"kind": "run"})
    log.write({"kind": "run"})
    log.close()
    assert sum("is not written" in one.message for one in caplog.records) == 1
