"""The rooms: imports point one way, torch stays in its room, nothing loads code, nobody else prints."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import arena_ensemble

ROOT = Path(arena_ensemble.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Left may be imported by right, never the other way round.
LAYERS = [
    "errors", "losses", "registry", "battles", "predictions", "recipes", "io", "sample", "folds", "prompts",
    "features", "metrics", "calibration", "stacking", "diagnostics", "artifacts", "backbones", "planning",
    "pipeline", "report", "cli", "__main__",
]  # fmt: skip
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
    "errors", "losses", "battles", "predictions", "folds", "prompts", "features", "sample", "metrics",
    "calibration", "stacking", "diagnostics",
}  # fmt: skip


def room(path: Path) -> str:
    """The layer that a file belongs to: its first path part below the package."""
    return room_of(["arena_ensemble", *path.relative_to(ROOT).with_suffix("").parts])


def room_of(parts: list[str]) -> str:
    """The layer of a dotted name. The registry of heads stands below the room whose folder it lies in:
    recipes are validated against it, and it knows names and facts alone."""
    return "registry" if parts[1:3] == ["backbones", "registry"] else parts[1]


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
