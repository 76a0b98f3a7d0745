"""The page of the ablation: tables and sentences made from results, none written beforehand."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arena_ensemble import metrics, recipes
from arena_ensemble.artifacts.workspace import Workspace
from arena_ensemble.pipeline import tasks

Array = Any
_READ = """\
Each line compares two cells, or two means of cells, over all files; a file's own figures stand below. The
second figure, after a temperature, is the one that an ensemble sees, for it calibrates its members."""
_PARTLY = """\
After a temperature, mean over both heads and all swaps. *drawn*: what the toolkit does, by a hash of the
ids. *closest*, *surest*: the smallest, the largest |delta| of the shown order."""
Contrast = tuple[str, str, str, float, float]
SWAPPED = ("none", "augment", "paired")
PRETRAINED = "## A pretrained causal model\n"
"""Where the section of ``benchmarks/smollm2.py`` starts; it goes to the page's end."""


def with_section(path: Path, text: str, *, pretrained: bool) -> str:
    """The page of these two parts: the new one, and the other as it stands in the file."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    page, mark, section = old.partition(PRETRAINED)
    if pretrained:
        return page.rstrip() + "\n\n" + text
    return f"{text.rstrip()}\n\n{mark}{section}" if mark else text


def short(losses: Array, group: Array) -> tuple[float, float]:
    """Mean of losses (seeds, rows) and its standard error: rows clustered by prompt, and seeds.

    The two variances are added. The first already holds a share of the second, so the error is, if
    anything, too large.
    """
    rows = metrics.standard_error(losses.mean(axis=0), group)
    seeds = float(losses.mean(axis=1).std(ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else 0.0
    return float(losses.mean()), float(np.hypot(rows, seeds))


def _questions(heads: Sequence[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each question: its name, the cells on the one side, the cells they are compared with, pair by pair."""
    for head in heads:
        for swap in ("augment", "paired"):
            yield f"{head}: {swap}, against none", [f"{head}-{swap}/1"], [f"{head}-none/1"]
            yield (
                f"{head}: {swap}, against none with as many passes",
                [f"{head}-{swap}/1"],
                [f"{head}-none-twice/1"],
            )
        yield (
            f"{head}: the two orders in one step or apart (steps and passes equal)",
            [f"{head}-paired-half/1"],
            [f"{head}-augment/1"],
        )
        yield f"{head}: twice the epochs", [f"{head}-none-twice/1"], [f"{head}-none/1"]
        for swap in SWAPPED:
            yield f"{head}, {swap}: read both orders, not one", [f"{head}-{swap}/2"], [f"{head}-{swap}/1"]
    every = [f"{swap}/{orders}" for swap in SWAPPED for orders in (1, 2)]
    yield (
        "generate, not classify (mean over swap and reading)",
        [f"generate-{x}" for x in every],
        [f"classify-{x}" for x in every],
    )
    yield (
        "frozen, not trained (classify, mean over swap and reading)",
        [f"frozen-{x}" for x in every],
        [f"classify-{x}" for x in every],
    )
    yield "reward, not classify/none/1", ["reward-none/1"], ["classify-none/1"]
    yield "reward, not classify/none/2", ["reward-none/1"], ["classify-none/2"]
    yield "reward, not classify/paired/2", ["reward-none/1"], ["classify-paired/2"]
    yield (
        "reward with twice the epochs, not classify/paired/2",
        ["reward-none-twice/1"],
        ["classify-paired/2"],
    )
    yield "classify/paired/2 in all, not classify/none/1", ["classify-paired/2"], ["classify-none/1"]
    yield "generate/paired/2 in all, not generate/none/1", ["generate-paired/2"], ["generate-none/1"]


def contrasts_of(results: dict[str, Any], kind: str = "losses") -> list[Contrast]:
    """``(file, question number, question, difference, standard error)``; the last file is their mean."""
    found: list[Contrast] = []
    for number, (name, ours, theirs) in enumerate(_questions(("classify", "generate", "frozen"))):
        each = []
        for data, result in results.items():
            cells = result["cells"]
            if not all(cell in cells for cell in (*ours, *theirs)):
                continue
            pairs = zip(ours, theirs, strict=True)
            gap = np.mean([cells[a][kind] - cells[b][kind] for a, b in pairs], axis=0)
            each.append(short(gap, result["group"]))
            found.append((data, str(number), name, *each[-1]))
        if len(each) > 1:
            mean = float(np.mean([m for m, _ in each]))
            error = float(np.sqrt(np.sum([e**2 for _, e in each])) / len(each))
            found.append(("mean", str(number), name, mean, error))
    return found


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'|'.join(['---'] + ['---:'] * (len(header) - 1))}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _cells(result: dict[str, Any], names: Sequence[str]) -> list[str]:
    against = next(iter(result["cells"]))  # classify-none/1 where there is that head
    reference = result["cells"][against]["losses"]
    rows = []
    for name in names:
        for orders in (1, 2):
            cell = result["cells"].get(f"{name}/{orders}")
            if cell is None:
                continue
            mean, error = short(cell["losses"], result["group"])
            gap, gap_error = short(cell["losses"] - reference, result["group"])
            after, _ = short(cell["refined"], result["group"])
            frozen = name.startswith("frozen")
            rows.append(
                [
                    name,
                    "any" if name.startswith(("reward", "frozen reward")) else str(orders),
                    f"{mean:.4f} ± {error:.4f}",
                    f"{gap:+.4f} ± {gap_error:.4f}",
                    f"{after:.4f}",
                    f"{cell['abs_lean']:.3f}",
                    f"{cell['lean']:+.3f}",
                    f"{cell['fit_seconds']:.1f}",
                    f"{cell['read_seconds'] * orders:.1f}",
                    "–" if frozen else f"{cell['tokens']:.0f}",
                    f"{cell['steps']:.0f}",
                ]
            )
    header = [
        "training", "orders read", "log-loss", f"against {against.replace('-', '/')}", "after a temperature",
        "position bias", "signed", "fit s", "read s", "tokens", "steps",
    ]  # fmt: skip
    return _table(header, rows)


def _contrasts(found: list[Contrast], files: Sequence[str]) -> list[str]:
    by: dict[str, dict[str, tuple[float, float]]] = {}
    names: dict[str, str] = {}
    for data, number, name, mean, error in found:
        by.setdefault(number, {})[data] = (mean, error)
        names[number] = name
    columns = [*files, *(["mean"] if len(files) > 1 else [])]
    rows = []
    for number, values in by.items():
        texts = []
        for data in columns:
            mean, error = values.get(data, (float("nan"), float("nan")))
            mark = " *" if abs(mean) > 2 * error else ""
            texts.append(f"{mean:+.4f} ± {error:.4f}{mark}")
        rows.append([names[number], *texts])
    return _table(["difference in log-loss (negative: the first is better)", *columns], rows)


def _sentences(found: list[Contrast], after: list[Contrast], files: Sequence[str]) -> list[str]:
    """Each question's answer in words, from the mean over the files and each file alone."""
    lines = []
    temperate = {(data, name): (mean, error) for data, _, name, mean, error in after}
    for data, _, name, mean, error in found:
        if data != "mean":
            continue
        single = [row for row in found if row[2] == name and row[0] in files]
        down = sum(m < -2 * e for *_, m, e in single)
        up = sum(m > 2 * e for *_, m, e in single)
        verdict = "lower" if mean < -2 * error else "higher" if mean > 2 * error else "no clear difference"
        other, other_error = temperate[data, name]
        lines.append(
            f"- {name}: **{verdict}**, {mean:+.4f} ± {error:.4f} (clearly lower on {down}, higher on {up} of "
            f"{len(single)} files; after a temperature {other:+.4f} ± {other_error:.4f})."
        )
    return lines


def _noise(found: list[Contrast]) -> str:
    """How many differences are marked, and how many would be by chance alone."""
    marked = sum(abs(mean) > 2 * error for *_, mean, error in found)
    return f"{marked} of {len(found)} are marked; about {0.05 * len(found):.0f} would be if nothing mattered"


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"{platform.system()} {platform.machine()}, {cores} cores, no GPU, Python {python}"


def page(
    results: dict[str, Any], settings: Sequence[Any], checks: dict[str, float], options: argparse.Namespace
) -> str:
    """The whole page, Markdown."""
    files = list(results)
    names = [setting.name for setting in settings]
    found, after = contrasts_of(results), contrasts_of(results, "refined")
    versions = ", ".join(f"{k} {v}" for k, v in tasks.versions().items())
    command = " ".join(["python", "benchmarks/ablation.py", *_flags(sys.argv[1:])])
    lines = [
        "# Head by swap by reading: a controlled ablation",
        "",
        "This page is written by the command (its last section by another, named there); nothing in it is "
        "written by hand.",
        "",
        f"    {command}",
        "",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}; {versions}.",
        "",
        _method(results, options),
        "",
    ]
    if len(files) > 1:
        lines += ["## What it shows", "", _READ, "", *_sentences(found, after, files), ""]
    if found:
        lines += [
            "## Differences, file by file",
            "",
            f"A star: beyond two standard errors. {_noise(found)}.",
            "",
        ]
        lines += [*_contrasts(found, files), "", "The same after each cell's own temperature:", ""]
        lines += [*_contrasts(after, files), ""]
    if checks:
        lines += [
            "## Reward: equivariant by construction",
            "",
            "Shown once, on the sample arena, seed 0: trained `paired` instead of `none`, no log-probability "
            f"changes by more than {checks['reward_swap_changes']:.1g}; read in the other order, none by "
            f"more than {checks['reward_order_changes']:.1g} (float32). So it has one cell for all of these.",
            "",
        ]
    lines += _partly(results)
    for data, result in results.items():
        lines += [f"## {data}", "", _about(result), "", *_cells(result, names), ""]
    return "\n".join([*lines, _limits(results, options), ""])


def _flags(argv: Sequence[str]) -> list[str]:
    """The command's arguments without folders of this machine."""
    kept, skip = [], False
    for place, word in enumerate(argv):
        if skip:
            skip = False
        elif word == "--base":
            skip = True
            kept += [word, _short_path(argv[place + 1])]
        elif word in ("--work", "--votes", "--write"):
            skip = True
            page = f"docs/{Path(argv[place + 1]).name}"
            public = {"--work": "DIR", "--votes": "../shared/data/votes", "--write": page}
            kept += [word, public[word]]
        elif word != "--json":
            kept.append(word)
    return kept


def _short_path(base: str) -> str:
    """A hub id as it is; of a folder, its name and its parent's."""
    return "/".join(Path(base).parts[-2:])


def _partly(results: dict[str, Any]) -> list[str]:
    """Reading a share of the rows twice: the loss above reading all twice, by the choice of rows."""
    rows = []
    means: dict[tuple[str, float], list[float]] = {}
    for data, result in results.items():
        names = [f"{head}-{swap}" for head in ("classify", "generate") for swap in SWAPPED]
        names = [name for name in names if f"{name}/2" in result["cells"]]
        if not names:
            continue
        one, full = (
            np.mean([result["cells"][f"{name}/{orders}"]["refined"] for name in names], axis=0)
            for orders in (1, 2)
        )
        parts = [result["cells"][f"{name}/2"]["partly"] for name in names]
        shares = sorted({share for _, share in parts[0]})
        rows.append(
            [f"{data}: one reading of every row", _pm(one - full, result["group"]), *[""] * len(shares)]
        )
        for how in dict.fromkeys(how for how, _ in parts[0]):
            gaps = [np.mean([part[how, share] for part in parts], axis=0) - full for share in shares]
            for share, gap in zip(shares, gaps, strict=True):
                means.setdefault((how, share), []).append(float(gap.mean()))
            rows.append([f"{data}: {how}", "", *(_pm(gap, result["group"]) for gap in gaps)])
    if not rows:
        return []
    if len(results) > 1:
        for how in dict.fromkeys(how for how, _ in means):
            rows.append([f"mean: {how}", "", *(f"{np.mean(means[how, share]):+.4f}" for share in shares)])
    return [
        "## Predicting only a share of the rows in both orders (`second_order_share`)",
        "",
        _PARTLY,
        "",
        *_table(["log-loss above reading all twice", "0%", *(f"{share:.0%}" for share in shares)], rows),
        "",
    ]


def _pm(losses: Array, group: Array) -> str:
    mean, error = short(losses, group)
    return f"{mean:+.4f} ± {error:.4f}"


def _about(result: dict[str, Any]) -> str:
    group = result["group"]
    prior, error = short(result["prior"][None], group)
    lexical, lexical_error = short(result["lexical"][None], group)
    cut = next(iter(result["cells"].values()))["cut"]
    text = (
        f"{result['rows']} battles, {result['groups']} groups of prompts; {cut:.0%} of the responses are cut "
    )
    text += f"to fit the window. Class frequencies {prior:.4f} ± "
    text += f"{error:.4f}; the lexical member, same folds: {lexical:.4f} ± {lexical_error:.4f}"
    if "floor" in result:
        text += f"; the true probabilities: {result['floor']:.4f}"
    return text + "."


def _method(results: dict[str, Any], options: argparse.Namespace) -> str:
    shipped = recipes.load_recipe(Workspace(Path()).recipe_path("tiny-swap"))
    train = shipped.train
    base = (
        f"`{_short_path(options.base)}`"
        if options.base
        else "the tiny decoder (GPT-2, one layer of width 32, random weights)"
    )
    settings = (
        """Every cell has the settings that the command gives, fixed before this comparison and tried on
nothing, and else those of the shipped recipe `tiny-swap`:"""
        if options.base
        else """Every cell has the settings of the shipped recipe `tiny-swap`, fixed before this
comparison (they were chosen with classify heads on the sample arena and pandalm, and for no cell here):"""
    )
    epochs = options.epochs or train.epochs
    adapter = "none: the base is frozen" if options.heads == "frozen" else f"`{options.adapter}`"
    seeded = "the adapter's first" if options.base else "the base's random"
    return f"""\
Base: {base}, adapter
{adapter}. {settings}
rate {options.rate or train.learning_rate:g}, epochs {epochs}, {train.batch_rows} battles a step,
{options.tokens or shipped.prompt.max_tokens} tokens. The base of a seed, its tokenizer and the
{options.folds} grouped folds are the same for all cells; {options.seeds} seeds change {seeded}
weights, the head and the order of the rows. Files: {", ".join(results)}. Of the real vote files at hand
tulu1 and pandalm are the default, chosen beforehand: more groups of prompts and shorter texts than mtbench.

- `augment` and `paired` show every battle twice. `none-twice` is the control with twice the epochs: as
  many passes and optimizer steps as `augment`. `paired` takes half as many steps, each over twice the
  passes; `paired-half` halves the battles of a step: steps and passes equal `augment`'s, and only the
  company of the two orders differs.
- Every member reads both orders once; *1* scores the shown order alone, *2* the mean of both in (delta,
  tau).
- `frozen`: three labels on the base as it is. Its states are computed once per row and order for all
  folds, epochs and swaps of a seed (the first of them pays), then learned from as vectors.
- Log-loss is out of fold, mean over seeds. ±: standard error from rows clustered by group and from seeds,
  added in squares. Differences are paired by row and seed. *After a temperature*: one per cell and seed,
  fitted on the other folds; it takes out over-confidence, so what remains is what was learned.
- Position bias: mean over rows of |delta₁ − delta₂|/2 and of (delta₁ − delta₂)/2, in logits, the second
  order mapped back; plus leans toward the response shown first.
- `fit s`: processor seconds of one core per 1,000 training rows; `read s`: per 1,000 rows read; `tokens`:
  read in training per training row; `steps`: optimizer steps of a fold."""


def _limits(results: dict[str, Any], options: argparse.Namespace) -> str:
    most = max(result["rows"] for result in results.values())
    base = "`--base`" if options.base else "a base of one layer and random weights"
    untrained = (
        ""
        if options.base
        else """
  It learns words, places and lengths. A pretrained model has position habits, verdict words and features of
  quality that this one lacks; heads may well rank otherwise there.
- `frozen` on random weights is a floor: random features under a linear head. It says little about a frozen
  pretrained base.
- The verdict words mean nothing to an untrained base, so `generate` has no head start here, which is the
  reason to use it on a large one."""
    )
    return f"""\
## What it does not show

- Nothing about 7–9B models. This is {base}, on a CPU, on {most:,} rows at most.{untrained}
- One rate, one length of training and one batch size for all heads: a head that wants another is at a
  disadvantage. Two epochs were chosen for small files, so `none-twice` may over-fit; what more epochs cost
  here is no general law.
- `augment` and `none-twice` see as many passes, but the former's are of two orders; that is the point of
  it.
- {options.seeds} seeds say roughly how much seeds matter; one set of folds says nothing of folds, and the
  mean over files speaks of these files. Many questions are asked of the same rows: a single star is no
  finding.
- Processor time was measured on a machine that others used at the same time; compare inside a table only."""
