"""docs/python.md and the pages on panels are true: their blocks run in turn, as a notebook's cells would."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import arena_ensemble
from arena_ensemble import cli
from arena_ensemble.cli.usage import UsageError
from arena_ensemble.io import check_submission, read_battles

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PANELS, USING = DOCS / "python.md", DOCS / "panels.md", DOCS / "using-panels.md"
EXPLAINING = DOCS / "explaining.md"
FIRST = ("quick-start.md", "your-data.md", "your-predictions.md")

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not part of this copy")


def run_blocks(path: Path) -> tuple[dict[str, Any], int]:
    """What the Python blocks of a page leave behind, and how many blocks ran, lines of shell among them."""
    namespace: dict[str, Any] = {}
    page = path.read_text(encoding="utf-8")
    found = list(re.finditer(r"^```(python|bash)\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE))
    for block in found:
        if block[1] == "bash":
            for command in block[2].splitlines():
                program, *words = shlex.split(command)
                assert program == "arena-ensemble"
                assert cli.run(words) == 0, command
            continue
        line = page[: block.start(2)].count("\n")  # so that a traceback names the line of the page
        exec(compile("\n" * line + block[2], str(path), "exec"), namespace)
    return namespace, len(found)


@pytest.mark.slow
def test_every_python_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # a block that writes beside itself writes here
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace, count = run_blocks(PAGE)
    assert count >= 5
    work = namespace["work"]
    test = read_battles(work / "test.csv")
    check_submission(work / "submission.csv", test.ids)
    assert namespace["probs"].shape == (2, 3)
    assert namespace["calibrated"].shape == (150, 3)
    out = capsys.readouterr().out
    assert "ensemble" in out
    assert "the nearest packaged recipe is 'lexical'" in out


@pytest.mark.slow
def test_the_first_half_hour_with_a_panel_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace, count = run_blocks(PANELS)
    assert count == 8
    assert namespace["probs"].shape == (160, 3)
    assert namespace["found"] < namespace["panel"].table_[0].log_loss
    out = capsys.readouterr().out
    assert "each judge alone" in out
    assert "mine/report.html" in out
    assert (tmp_path / "new.csv").is_file()
    assert (tmp_path / "small" / "card.json").is_file()


@pytest.mark.slow
def test_what_a_panel_is_used_for_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace, count = run_blocks(USING)
    assert count == 8
    assert (tmp_path / "used" / "uses.json").is_file()
    assert namespace["found"].error <= 0.3 or namespace["found"].threshold is None
    assert namespace["chances"].reshape(80, 4).sum(axis=1) == pytest.approx(1)
    rows = {row.name: row for row in namespace["model"].table_}
    assert rows["panel"].log_loss < rows["uniform"].log_loss
    assert "weight of the panel" in capsys.readouterr().out


@pytest.mark.slow
def test_an_explanation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace, count = run_blocks(EXPLAINING)
    assert count == 1
    why = namespace["why"]
    assert len(why.nearest) == 5
    total = sum(part.delta for part in [*why.members, *why.features, why.order, why.rest])
    assert total == pytest.approx(why.delta, abs=1e-9)
    assert "lexical adds" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST)
def test_the_first_pages_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, count = run_blocks(DOCS / name)
    out = capsys.readouterr().out
    if name == "quick-start.md":
        assert count == 4
        assert (tmp_path / "submission.csv").read_bytes() == (tmp_path / "later.csv").read_bytes()
        assert (tmp_path / "mine" / "oof" / "ensemble" / "report.html").is_file()
    elif name == "your-data.md":
        assert count == 2
        assert "60" in out
    else:
        assert count == 3
        assert "ensemble" in out
        assert (tmp_path / "stacked" / "oof.parquet").is_file()


def run_notebook(name: str) -> dict[str, Any]:
    """What the cells of a notebook leave behind."""
    notebook = json.loads((DOCS / "notebooks" / name).read_text(encoding="utf-8"))
    namespace: dict[str, Any] = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "kept without outputs"
            exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), namespace)
    return namespace


@pytest.mark.slow
def test_the_notebook_for_judges_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace = run_notebook("judges.ipynb")
    assert namespace["kept"].threshold is not None
    assert namespace["wrong"].mean() < 0.5
    assert abs(namespace["expected"] - namespace["found"]) < 0.2
    assert "out of fold" in capsys.readouterr().out


@pytest.mark.slow
def test_the_notebook_for_kaggle_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    namespace = run_notebook("kaggle.ipynb")
    work, ensemble = namespace["work"], namespace["ensemble"]
    check_submission(work / "submission.csv", read_battles(work / "arena" / "test.csv").ids)
    assert len(namespace["oof"]) == 300
    assert ensemble.table[-1].log_loss < namespace["prior"]
    # without the training data the same probabilities come out
    assert namespace["later"] == pytest.approx(np.exp(namespace["prediction"].log_probs), abs=1e-9)
    assert "ensemble" in capsys.readouterr().out


def test_the_start_page_leads_to_every_page() -> None:
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w/-]+\.(?:md|ipynb))\)", page))
    there = {path.name for path in DOCS.glob("*.md")} - {"index.md"}
    there |= {f"notebooks/{path.name}" for path in DOCS.glob("notebooks/*.ipynb")}
    assert linked == there


def test_every_image_is_shown_and_small() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    for image in (DOCS / "images").iterdir():
        if image.suffix in (".png", ".svg"):
            assert f"(images/{image.name})" in pages, image.name
            assert image.stat().st_size <= 150_000, image.name


def test_every_page_is_in_the_sites_menu() -> None:
    """And the page of public names has each of them."""
    menu = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert re.search(rf"(- |: ){re.escape(page.name)}$", menu, flags=re.MULTILINE), page.name
    listed = set(
        re.findall(r"^::: arena_ensemble\.[\w.]*\.(\w+)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    )
    assert listed == set(arena_ensemble.__all__)


def documented_commands() -> list[tuple[str, str]]:
    """Page and command of every line of shell in README and docs/ that calls this program, as it is typed."""
    found = []
    for path in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]:
        page = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
        for line in re.findall(r"^ *(arena-ensemble .*)$", page, flags=re.MULTILINE):
            for command in re.split(r"\s+&&\s+|;\s+", line.partition("  #")[0].partition(" # ")[0]):
                if command.startswith("arena-ensemble ") and not re.search(r"[…|`<]", command):
                    found.append((path.name, command.partition(" > ")[0]))
    return found


def test_every_command_of_the_pages_is_one_that_the_program_takes() -> None:
    verbs = typer.main.get_command(cli.app)
    assert isinstance(verbs, typer.core.TyperGroup)
    commands = documented_commands()
    wrong = []
    for page, command in commands:
        _, verb, *words = shlex.split(command)
        one = verbs.commands.get(verb)
        try:
            assert one is not None, "no such verb"
            one.make_context(verb, words)
        except typer.Exit:  # --help
            continue
        except (AssertionError, UsageError) as error:
            wrong.append(f"{page}: {command}: {error}")
    assert not wrong, "\n".join(wrong)
    assert len(commands) > 40
