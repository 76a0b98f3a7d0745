"""Bad recipes and bad arguments: named before any work, the workspace untouched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from workspaces import Arena, Tree, arena, refusal, tree, unchanged

from arena_ensemble import cli

__all__ = ["arena", "unchanged"]

LEXICAL = 'backbone = "lexical"\n'
TINY = 'backbone = "classify"\nbase = "tiny:encoder"\n'

RECIPES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "backbone: field required"),
    "not TOML": ("backbone lexical", "not a TOML file"),
    "JSON": ('{"backbone": "lexical"}', "not a TOML file"),
    "YAML": ("backbone: lexical\n", "not a TOML file"),
    "a key twice": (LEXICAL + LEXICAL, "not a TOML file"),
    "a section twice": (LEXICAL + "[train]\nepochs = 1\n[train]\nepochs = 2\n", "not a TOML file"),
    "a string not closed": ('backbone = "lexical', "not a TOML file"),
    "Latin-1": (LEXICAL.encode() + b'description = "caf\xe9"\n', "not a TOML file"),
    "UTF-16": (LEXICAL.encode("utf-16"), "not a TOML file"),
    "binary": (bytes(range(256)), "not a TOML file"),
    "nested brackets": ("x = " + "[" * 5000, "not a TOML file"),
    "unknown key": (LEXICAL + "epochz = 3\n", "unknown key 'epochz'; .*'train.epochs'"),
    "unknown section": (LEXICAL + "[trian]\nepochs = 3\n", "unknown key 'trian'; .*'train'"),
    "a key of another section": (LEXICAL + "epochs = 3\n", "'epochs'; it belongs at 'train.epochs'"),
    "a section as a value": (LEXICAL + "train = 3\n", "'train' is a section"),
    "a table as a value": (LEXICAL + "[seed]\nx = 1\n", "seed"),
    "unknown backbone": ('backbone = "xgboost"\n', "backbone = 'xgboost'"),
    "a backbone that is a path": ('backbone = "../../evil"\n', "backbone = '../../evil'"),
    "a number as backbone": ("backbone = 3\n", "backbone = 3"),
    "no base": ('backbone = "classify"\n', "needs a base"),
    "an unknown tiny base": ('backbone = "classify"\nbase = "tiny:giant"\n', "the tiny bases are"),
    "an encoder that writes": ('backbone = "generate"\nbase = "tiny:encoder"\n', "needs a causal base"),
    "a base that is missing": ('backbone = "classify"\nbase = "./nowhere"\n', "is no folder"),
    "no home": ('backbone = "classify"\nbase = "~nobody-at-all/x"\n', "base = '~nobody-at-all/x'"),
    "a base with blanks": ('backbone = "classify"\nbase = "a b c"\n', "is no folder"),
    "a base that climbs": ('backbone = "classify"\nbase = "../../../nowhere"\n', "is no folder"),
    "a negative seed": (LEXICAL + "seed = -1\n", "seed = -1"),
    "a seed that is text": (LEXICAL + 'seed = "1"\n', "seed = '1'"),
    "a seed that is true": (LEXICAL + "seed = true\n", "seed = True"),
    "a float as a count": (TINY + "[train]\nbatch_rows = 2.5\n", "train.batch_rows = 2.5"),
    "no rows in a batch": (TINY + "[train]\nbatch_rows = 0\n", "train.batch_rows = 0"),
    "negative epochs": (TINY + "[train]\nepochs = -1\n", "train.epochs = -1"),
    "zero-shot classification": (TINY + "[train]\nepochs = 0\n", "zero-shot"),
    "a learning rate of zero": (TINY + "[train]\nlearning_rate = 0.0\n", "train.learning_rate = 0.0"),
    "a learning rate of NaN": (TINY + "[train]\nlearning_rate = nan\n", "train.learning_rate = nan"),
    "an infinite learning rate": (TINY + "[train]\nlearning_rate = inf\n", "train.learning_rate = inf"),
    "a warm-up above one": (TINY + "[train]\nwarmup = 1.5\n", "train.warmup = 1.5"),
    "an unknown schedule": (TINY + '[train]\nschedule = "magic"\n', "train.schedule = 'magic'"),
    "a window of nothing": (TINY + "[prompt]\nmax_tokens = 0\n", "prompt.max_tokens = 0"),
    "a prompt without responses": (TINY + "[prompt]\nprompt_share = 1.0\n", "prompt.prompt_share = 1.0"),
    "two verdicts": (TINY + '[prompt]\nverdicts = ["A", "B"]\n', "prompt.verdicts"),
    "an unknown swap": (LEXICAL + 'swap = "yes"\n', "swap = 'yes'"),
    "three orders": (LEXICAL + "read_orders = 3\n", "read_orders = 3|read_orders"),
    "an adapter of no rank": (TINY + "[adapter]\nr = 0\n", "adapter.r = 0"),
    "all quantised": (TINY + '[adapter]\nkind = "full"\nquantise = "4bit"\n', "cannot train quantised"),
    "an absurd vocabulary": (LEXICAL + "[lexical]\nmax_features = -5\n", "lexical.max_features = -5"),
    "trigrams": (LEXICAL + "[lexical]\nword_ngram_max = 3\n", "lexical.word_ngram_max = 3"),
    "a date as a seed": (LEXICAL + "seed = 2024-01-01\n", "seed"),
    "code in a value": (LEXICAL + 'seed = "__import__(\'os\').system(\'id\')"\n', "seed"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_bad_recipe_is_one_line(
    arena: Arena, unchanged: Tree, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = RECIPES[name]
    path = arena.workspace / "models" / "mine" / "recipe.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = tree(arena.workspace)
    line = refusal(arena.submission(), capsys)
    assert re.search(message, line), line
    assert tree(arena.workspace) == before


ARGUMENTS: dict[str, tuple[list[str], str]] = {
    "no such member": (["--models", "nothing"], "no recipe 'nothing'"),
    "a member that climbs": (["--models", "../x"], "'../x' is no member name"),
    "an absolute member": (["--models", "/etc/passwd"], "is no member name"),
    "a hidden member": (["--models", ".ssh"], "is no member name"),
    "the ensemble as its own member": (["--models", "ensemble"], "is no member name"),
    "an empty name": (["--models", "mine,"], "'' is no member name"),
    "a name of 300 letters": (["--models", "x" * 300], "is no member name"),
    "a name with a newline": (["--models", "a\nb"], "is no member name"),
    "a name with NUL": (["--models", "a\0b"], "is no member name"),
    "a name of another script": (["--models", "модель"], "is no member name"),
    "absent data": (["--data", "absent.csv"], "absent.csv does not exist"),
    "data in /dev": (["--data", "/dev/null"], "is not a regular file|is empty"),
    "absent test": (["--test", "absent.csv"], "absent.csv does not exist"),
    "two folds": (["--folds", "2"], "stacking needs at least 3 folds"),
    "one fold": (["--folds", "1"], "fold"),
    "no folds": (["--folds", "0"], "fold"),
    "negative folds": (["--folds", "-3"], "fold"),
    "other folds than made": (["--folds", "4"], "it has 3 folds with seed 0"),
    "another seed than made": (["--seed", "7"], "it has 3 folds with seed 0"),
    "a negative seed": (["--seed", "-1"], "seed"),
    "a seed past 64 bits": (["--seed", str(2**70)], "seed"),
    "no jobs": (["--jobs", "0"], "--jobs 0"),
    "negative jobs": (["--jobs", "-2"], "--jobs -2"),
    "absent truth": (["--truth", "absent.csv"], "absent.csv does not exist"),
    "an absent sample": (["--sample-submission", "absent.csv"], "absent.csv does not exist"),
    "a name to remake that climbs": (["--retrain", "../../x"], "not among the members of this run"),
    "the training file as test": (["--test", "TRAIN"], ""),
    "a folder as output": (["--out", "WORKSPACE"], "is a folder; give a file name"),
    "an output in a folder that is none": (["--out", "WORKSPACE/no/such/x.csv"], "cannot be written"),
    "an output below a file": (["--out", "WORKSPACE/submission.csv/x.csv"], "cannot be written"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_bad_argument_is_one_line(
    arena: Arena, unchanged: Tree, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, message = ARGUMENTS[name]
    places = {"TRAIN": str(arena.folder / "train.csv"), "WORKSPACE": str(arena.workspace)}
    for word, place in places.items():
        change = [part.replace(word, place) for part in change]
    if name == "the training file as test":  # allowed: whoever asks for it gets it
        return
    line = refusal([*arena.submission(), *change], capsys)
    assert re.search(message, line), line
    assert tree(arena.workspace) == unchanged


USAGE = [
    [],
    ["no-such-verb"],
    ["oof"],
    ["oof", "--data"],
    ["oof", "--data", "x.csv", "--folds", "many"],
    ["oof", "--data", "x.csv", "--jobs", "1.5"],
    ["oof", "--data", "x.csv", "--no-such-option"],
    ["stack", "--data", "x.csv", "--labels", "y.csv"],
    ["submission", "--data", "x.csv"],
    ["predict"],
    ["import"],
    ["validate"],
    ["sample"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_wrong_usage_is_exit_2_with_the_usage(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments) == 2
    message = capsys.readouterr().err
    (line,) = message.splitlines() if arguments else [message]
    assert "Usage: arena-ensemble" in line or (line.startswith("error: ") and " --help` lists the " in line)
    assert not list(tmp_path.iterdir())
