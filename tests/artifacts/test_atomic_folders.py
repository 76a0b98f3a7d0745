"""A folder that several writers make at once: the first is kept, and nobody sees half of one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from arena_ensemble.artifacts import atomic


def test_of_two_writers_of_a_cache_the_first_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one finished between the look and the rename."""
    final, sync = tmp_path / "cache", atomic._sync_folder

    def first_comes(folder: Path) -> None:
        sync(folder)
        if not final.exists():
            final.mkdir()
            (final / "content").write_text("first")

    monkeypatch.setattr(atomic, "_sync_folder", first_comes)
    with atomic.new_folder(final, keep_existing=True) as partial:
        (partial / "content").write_text("second")
    assert (final / "content").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_without_that_the_last_one_is(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with atomic.new_folder(tmp_path / "made") as partial:
            (partial / "content").write_text(text)
    assert (tmp_path / "made" / "content").read_text() == "second"


def test_a_reader_finds_a_cache_whole_at_every_moment(tmp_path: Path) -> None:
    final, stop, seen = tmp_path / "cache", threading.Event(), set[str]()
    with atomic.new_folder(final, keep_existing=True) as partial:
        (partial / "content").write_text("0")

    def read() -> None:
        while not stop.is_set():
            seen.add((final / "content").read_text())

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(1, 6):
        with atomic.new_folder(final, keep_existing=True) as partial:
            (partial / "content").write_text(str(number))
    stop.set()
    thread.join()
    assert seen == {"0"}
