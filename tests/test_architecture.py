"""The rooms: imports point one way, torch stays in its room, nothing loads code, nobody else prints."""

from __future__ import annotations

import ast
import graphlib
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

import arena_ensemble

ROOT = Path(arena_ensemble.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Left may be imported by right, never the other way round.
LAYERS = [
    "errors", "deadline", "atomic", "losses", "registry", "battles", "predictions", "judgements",
    "recipes", "io", "folds", "prompts", "features", "sample", "metrics", "calibration", "stacking",
    "diagnostics", "artifacts", "panels", "backbones", "planning", "pipeline", "kaggle", "judging",
    "report", "serving", "cli", "__main__",
]  # fmt: skip
# Inside a room too; a file that is not listed may stand wherever its imports allow.
INSIDE = {
    "judgements": "columns pair_names table answers",
    "recipes": "template sections settings loading",
    "io": "cells column_names format_names probabilities spreadsheets zstd messages prediction_columns votes "
    "streams questions array_files json_rows battle_formats tables layouts ids submission validation "
    "detection columns repeated_rows battles frames labels predictions verdict_words judgement_rows "
    "judge_columns judge_results answer_results result_files judgements panel_votes best_votes",
    "prompts": "encoded budgets rounds templates assembly",
    "sample": "texts arena judges",
    "folds": "split near_duplicates groups assignment holdout overlap",
    "features": "patterns extraction",
    "calibration": "davidson temperature fold_average symmetric estimators",
    "stacking": "design pool_weights base logistic pooling boosting count_table selection candidates "
    "fit_progress nested_cv sampling choosing serialization score_table stacker",
    "diagnostics": "collapse alignment contribution label_leakage reliability",
    "panels": "verdict_table margins encoding soft_labels annotators judge_statistics judge_facts evidence "
    "folder panel_state panel choice_model best_of_n choice_files",
    "artifacts": "atomic files tables cards parcels stores shards workspace fold_file members share_shards",
    "backbones": "registry base between_folds sixteen_bits language.base_folder language.notices "
    "language.gguf_base language.hub language.base_identity "
    "language.template_tokens language.bypassed language.adapters language.hidden_head "
    "language.unsloth_loader "
    "language.optimizers language.loading language.peft_import language.batching language.ahead "
    "language.out_of_memory language.trainer_state language.token_cache language.speedups.last_layer "
    "language.speedups.fused_lora language.reporting language.objective language.tiny "
    "language.sequences language.checkpoints language.heads language.encoder language.fold_record "
    "language.hidden_cache language.inference language.gradients language.pace language.watch "
    "language.trainer_facts language.trainer "
    "language.training_data language.model language.kept language.reward_base language.starting "
    "language.row_check language.generation_checks language.opening language.training "
    "language.peft_export "
    "language.averaging language.backbone lexical.equivariant_linear lexical.tfidf lexical.model "
    "classify generate reward",
    "planning": "gpus flops memory machine shapes workload meta_model footprint estimate session",
    "pipeline": "audit_check guards extra_data starts external_files distillation member_audit orders "
    "equivalence averaging fitted job training_rows tasks finishing parts executors.events executors.slots "
    "executors.worker executors.processes executors.interface executors.local executors.ray_needs "
    "executors.ray_worker executors.on_ray second_orders pilot run_result wave cross_fit "
    "refusals fallback ensemble build submission "
    "standing imported external leak_audit export adapter_import member_recipes arguments experiment "
    "workflow",
    "kaggle": "sources contents unpack wheels notebook pack image rehearsal",
    "judging": "question answers store client run",
    "serving": "schema service gate measures frame app server",
    "report": "tables svg intervals reliability_chart line_chart rungs clipping battle_view comparison cuts "
    "sections.section sections.headline sections.against sections.ladder sections.calibration "
    "sections.panels sections.members sections.slices sections.training sections.surprises "
    "sections.provenance page",
    "cli": "runner option_texts options executor_options progress experiments tables summary session_plan "
    "plan health doctor audit validate data export pipeline",
}
LONGEST_FILE = 350
TORCH = {
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "unsloth",
    "tokenizers",
    "safetensors",
}
BANNED_IMPORTS = {"pickle", "dill", "cloudpickle", "shelve", "marshal"}
BANNED_CALLS = {"eval", "exec", "joblib.load", "torch.load", "yaml.load"}
PURE = {
    "errors", "losses", "battles", "predictions", "judgements", "folds", "prompts", "features", "sample",
    "metrics", "calibration", "stacking", "diagnostics",
}  # fmt: skip


def room(path: Path) -> str:
    """The layer that a file belongs to: its first path part below the package."""
    return room_of(["arena_ensemble", *path.relative_to(ROOT).with_suffix("").parts])


def room_of(parts: list[str]) -> str:
    """The layer of a dotted name. Two files stand below the room whose folder they lie in: the registry of
    heads, against which recipes are validated, and atomic writes, which readers and trainers use too."""
    below = {("backbones", "registry"): "registry", ("artifacts", "atomic"): "atomic"}
    return below.get(tuple(parts[1:3]), parts[1])


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> list[tuple[str, int]]:
    """Absolute module names that a file imports, those under TYPE_CHECKING left out, with their lines."""
    package = ["arena_ensemble", *path.relative_to(ROOT).parts[:-1]]
    module = tree(path)
    hidden = {
        id(node)
        for guard in ast.walk(module)
        if isinstance(guard, ast.If) and ast.unparse(guard.test).endswith("TYPE_CHECKING")
        for node in ast.walk(guard)
    }
    names: list[tuple[str, int]] = []
    for node in ast.walk(module):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names += [(f"{stem}.{alias.name}", node.lineno) for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in LAYERS, f"{here} is no known room: give it a place in LAYERS and in docs/architecture.md"
    for name, line in imported(path):
        parts = name.split(".")
        if parts[0] != "arena_ensemble" or len(parts) < 2 or parts[1] not in LAYERS:
            continue
        there = room_of(parts)
        assert LAYERS.index(there) <= LAYERS.index(here), f"{path}:{line} climbs from {here} to {there}"


def inside(path: Path) -> str:
    """A file's dotted name inside its room."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])


def order_in(room_name: str) -> list[str]:
    return INSIDE[room_name].split()


@pytest.mark.parametrize("room_name", INSIDE)
def test_imports_point_one_way_inside_a_room(room_name: str) -> None:
    order = order_in(room_name)
    paths = {inside(path): path for path in (ROOT / room_name).rglob("*.py") if path.name != "__init__.py"}
    assert set(order) <= set(paths), "INSIDE names a file that is gone"
    below: dict[str, set[str]] = {place: set() for place in paths}
    for here, path in paths.items():
        for name, line in imported(path):
            parts = name.split(".")
            if parts[:2] != ["arena_ensemble", room_name]:
                continue
            found = [place for k in range(3, len(parts) + 1) if (place := ".".join(parts[2:k])) in paths]
            for there in found[-1:]:
                assert here not in order or there not in order or order.index(there) <= order.index(here), (
                    f"{path}:{line} climbs from {here} to {there}"
                )
                below[here] |= {there} - {here}
    # A new file needs no line in INSIDE as long as some place in the order suits all its imports.
    for lower, upper in itertools.pairwise(order):
        below[upper].add(lower)
    try:
        graphlib.TopologicalSorter(below).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(f"imports in {room_name} climb: {' above '.join(error.args[1])}") from None


def test_every_folder_is_a_room_of_the_architecture_page() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == set(INSIDE)
    page = ROOT.parent / "docs" / "architecture.md"
    if not page.is_file():
        pytest.skip("docs/ is not part of this copy")
    table = page.read_text(encoding="utf-8").split("## Rooms")[1].split("\n## ")[0]
    rooms = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    # two single files that stand lower than their folders are named below the table
    assert rooms == [name for name in LAYERS if name not in ("atomic", "registry", "__main__")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_two(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{path} has {lines} lines: what is it two of?"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_torch_only_in_its_room(path: Path) -> None:
    for name, line in imported(path):
        if name.split(".")[0] in TORCH:
            assert room(path) in ("backbones", "planning"), f"{path}:{line} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_loads_code_and_only_the_command_line_prints(path: Path) -> None:
    for name, line in imported(path):
        assert name.split(".")[0] not in BANNED_IMPORTS, f"{path}:{line} imports {name}"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in BANNED_CALLS, f"{path}:{node.lineno} calls {called}"
            assert not any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords)
            assert called != "print" or room(path) == "cli", f"{path}:{node.lineno} prints"
            if called == "open" or called.endswith((".write_text", ".write_bytes", ".open")):
                assert room(path) not in PURE, f"{path}:{node.lineno} touches the disk"


def test_help_never_imports_torch() -> None:
    code = (
        "import sys; from arena_ensemble.cli import run; run(['oof', '--help']); "
        "bad = {'torch', 'transformers', 'sklearn', 'lightgbm'} & set(sys.modules); "
        "sys.exit(repr(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--data" in done.stdout
