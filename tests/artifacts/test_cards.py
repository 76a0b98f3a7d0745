"""Laws of the store: whole or absent, hashes before use, one run per workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arena_ensemble.artifacts import atomic, cards, files
from arena_ensemble.artifacts.cards import MemberCard
from arena_ensemble.artifacts.workspace import Workspace, check_name
from arena_ensemble.errors import ArenaError, ArtifactError, InputError, RecipeError

CARD = MemberCard(key=None, member="mine", backbone="external", folds_verified=False, rows=3)


def artifact(folder: Path) -> MemberCard:
    atomic.write_bytes(folder / "a.bin", bytes(range(200)))
    atomic.write_bytes(folder / "b.json", b'{"x": 1}')
    return cards.write_card(folder, CARD, ["a.bin", "b.json"])


def test_a_card_holds_the_hash_of_every_file_and_reading_checks_it(tmp_path: Path) -> None:
    card = artifact(tmp_path)
    assert cards.read_card(tmp_path, MemberCard) == card
    assert cards.verified(tmp_path, "a.bin", card) == bytes(range(200))
    assert cards.is_whole(tmp_path, card)


@pytest.mark.parametrize("cut", [k / 20 for k in range(20)])
def test_a_truncated_file_is_an_error(tmp_path: Path, cut: float) -> None:
    card = artifact(tmp_path)
    content = (tmp_path / "a.bin").read_bytes()
    (tmp_path / "a.bin").write_bytes(content[: int(cut * len(content))])
    assert not cards.is_whole(tmp_path, card)
    with pytest.raises(ArtifactError, match=r"a\.bin: SHA-256 differs"):
        cards.verified(tmp_path, "a.bin", card)


@pytest.mark.parametrize("cut", [k / 20 for k in range(20)])
def test_a_truncated_card_is_an_error_or_absent(tmp_path: Path, cut: float) -> None:
    artifact(tmp_path)
    path = tmp_path / cards.CARD
    content = path.read_bytes().rstrip()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(ArtifactError, match="card"):
        cards.read_card(tmp_path, MemberCard)


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    atomic.write_json(path, {"old": True})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArenaError, match=r"cannot write .*x\.json: No space left on device"):
        atomic.write_json(path, {"new": True})
    monkeypatch.undo()
    assert files.read_json(path) == {"old": True}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_commit_folder_replaces_whole_folders(tmp_path: Path) -> None:
    for stem, text in (("old", "1"), ("new", "2")):
        (tmp_path / stem).mkdir()
        (tmp_path / stem / "f").write_text(text)
    atomic.commit_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "f").read_text() == "2"
    assert not (tmp_path / "new").exists()


def test_a_second_run_on_a_workspace_is_told_who_holds_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from arena_ensemble.artifacts.workspace import Workspace\n"
        f"with Workspace(Path({str(tmp_path)!r})).locked('second'): pass"
    )
    with Workspace(tmp_path).locked("arena-ensemble oof"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert f"is in use by arena-ensemble oof, pid {os.getpid()}" in done.stderr
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr  # the file is still there, the lock is not


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "ensemble", "x" * 65, "a b", "a\n"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="no member name"):
        check_name(name)


def test_recipes_come_from_the_workspace_first_then_the_package(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.recipe_path("lexical").is_file()
    own = tmp_path / "models" / "lexical" / "recipe.toml"
    atomic.write_bytes(own, b'backbone = "lexical"\n')
    assert workspace.recipe_path("lexical") == own
    with pytest.raises(RecipeError, match="no recipe 'nothing-here'"):
        workspace.recipe_path("nothing-here")


def test_a_folder_that_made_way_for_nothing_gets_its_name_back(tmp_path: Path) -> None:
    """A kill between the two renames of a replacement loses nothing."""
    (tmp_path / ".ensemble.old-17").mkdir()
    (tmp_path / ".ensemble.old-17" / "card.json").write_text("{}")
    (tmp_path / ".other.old-17").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / ".ensemble.tmp-17").mkdir()
    atomic.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ensemble", "other"]
    assert (tmp_path / "ensemble" / "card.json").read_text() == "{}"


def test_files_of_a_finished_folder_are_as_readable_as_its_card(tmp_path: Path) -> None:
    partial = tmp_path / "fold-0.partial"
    atomic.write_bytes(partial / "weights.safetensors", b"x")
    (partial / "weights.safetensors").chmod(0o600)
    atomic.write_bytes(partial / "card.json", b"{}")
    (partial / "card.json").chmod(0o644)
    atomic.commit_folder(partial, tmp_path / "fold-0")
    assert (tmp_path / "fold-0" / "weights.safetensors").stat().st_mode & 0o777 == 0o644
