"""The verb explain: why one battle has its probabilities."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from . import options as o
from .runner import Result, WorkspaceOption
from .terminal import WIDTH, Terminal, harmless

if TYPE_CHECKING:
    from ..battles import Battles
    from ..pipeline.explanation import Chances, Explanation, MemberPart, Part
    from .tables import Cells

_TOP_FEATURES = 4
_TOP_WORDS = 6


def explain(
    id: Annotated[
        str | None, typer.Option(metavar="ID", help="id of the battle; not needed where --test holds one")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="the training battles: without --test the battle is one of them, by what its members "
            "predicted out of fold; with --test the nearest of them are named",
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="a row of the file that was predicted last, as the submission has it; or new battles",
        ),
    ] = None,
    format: o.FormatOption = None,
    neighbours: Annotated[int, typer.Option(help="nearest training battles to name")] = 5,
    workspace: WorkspaceOption = Path(),
) -> Result:
    """Say why a battle has its probabilities: members, length, format, neighbours."""
    if data is None and test is None:
        raise typer.BadParameter("give --data FILE (a training battle) or --test FILE (a new one)")
    if not 0 <= neighbours <= 100:
        raise InputError(f"--neighbours {neighbours}: expected a number from 0 to 100")
    from ..io import read_battles
    from ..pipeline.ensemble import Ensemble
    from ..pipeline.kept_explanation import explain_test
    from ..pipeline.neighbours import TrainingPrompts

    ensemble = Ensemble.load(workspace)
    train = None if data is None else read_battles(data, format=format)
    if test is not None:
        battles = read_battles(test, format=format)
        row = _row(battles, id, test)
        prompts = TrainingPrompts(train) if train is not None and neighbours else None
        found = explain_test(ensemble, battles, row, train=prompts, neighbours=neighbours)
    else:
        assert train is not None
        if id is None:
            raise typer.BadParameter("give --id ID: which of the training battles to explain")
        found = ensemble.explain_training(train, id, neighbours=neighbours)
    return Result(found.to_dict(), text_of(found, Terminal.of_stdout().width))


def _row(battles: Battles, id: str | None, path: Path) -> int:
    """The row of the battle that is meant."""
    if id is None:
        if len(battles) != 1:
            raise InputError(f"{path} holds {len(battles):,} battles; choose one with --id ID")
        return 0
    rows = [row for row, name in enumerate(battles.ids) if str(name) == id]
    if not rows:
        raise InputError(
            f"{path} holds no battle with the id {id!r}; choose one of its ids, such as {battles.ids[0]}"
        )
    return rows[0]


def text_of(found: Explanation, width: int = WIDTH) -> str:
    """The explanation for a terminal of so many characters a line."""
    from .tables import plain_table

    how = {
        "fold models": "a new battle, by the average of the fold models",
        "kept predictions": "a test battle, by what its members predicted of its file",
        "out of fold": "a training battle, by members that never saw it",
    }
    vote = "" if found.vote is None else f"; the vote was {found.vote}"
    tau = "no tie can be voted" if found.tau is None else f"tau {found.tau:+.2f} (how much of a tie)"
    rows: list[Cells] = [
        (
            one.name,
            *_numbers(one),
            _percent(one.chances),
            "one order only" if one.position_bias is None else f"{one.position_bias:+.2f}",
        )
        for one in found.members
    ]
    others = {
        "length, beside members": found.length,
        "format, beside members": found.format,
        "prompt and likeness, beside members": found.prompt,
        "what was shown first": found.order,
    }
    rows += [(name, *_numbers(part), "", "") for name, part in others.items() if part.delta or part.tau]
    rows.append(("how common ties are", "", f"{found.constant:+.3f}", "", ""))
    if max(abs(found.rest.delta), abs(found.rest.tau)) >= 5e-4:
        rows.append(("left over", *_numbers(found.rest), "", ""))
    total = f"{0.0 if found.tau is None else found.tau:+.3f}"
    rows.append(("sum", f"{found.delta:+.3f}", total, _percent(found.chances), ""))
    header = ("part", "in delta", "in tau", "A / B / tie", "position bias")
    lines = [
        f"battle {found.id}: {how[found.source]}{vote}",
        _verdict(found.chances),
        f"delta {found.delta:+.2f} (who wins: above 0 is A), {tau}",
        "",
        plain_table(header, rows),
        "",
        *(_wrapped(line, width) for line in [*_word_lines(found), *_feature_lines(found)]),
        f"at equal length and format: {_percent(found.level)}",
        _wrapped(_exchange_line(found), width),
    ]
    if found.nearest:
        nearest: list[Cells] = [
            (str(one.id), f"{one.similarity:.2f}", one.vote or "none", one.prompt) for one in found.nearest
        ]
        columns = ("nearest training battle", "similarity", "vote", "prompt")
        lines += ["", plain_table(columns, nearest, width=width)]
    return harmless("\n".join(lines))


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(
        line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _verdict(chances: Chances) -> str:
    return f"A {chances.a:.1%}   B {chances.b:.1%}   tie {chances.tie:.1%}"


def _percent(chances: Chances) -> str:
    return f"{chances.a:.1%} / {chances.b:.1%} / {chances.tie:.1%}"


def _numbers(part: Part | MemberPart) -> tuple[str, str]:
    return f"{part.delta:+.3f}", f"{part.tau:+.3f}"


def _word_lines(found: Explanation) -> list[str]:
    """The words of each member that is a sum over words."""
    lines = []
    for member in found.members:
        for side, sign in (("A", 1), ("B", -1)):
            words = [one for one in member.words if one.delta * sign >= 0.01][:_TOP_WORDS]
            if words:
                said = ", ".join(f"'{one.term}' {one.delta:+.2f}" for one in words)
                lines.append(f"{member.name}, words that count for {side}: {said}")
    return lines


def _feature_lines(found: Explanation) -> list[str]:
    top = [one for one in found.features[:_TOP_FEATURES] if abs(one.delta) >= 5e-4]
    if not top:
        return []
    return ["largest features: " + ", ".join(f"{one.name} {one.delta:+.3f}" for one in top)]


def _exchange_line(found: Explanation) -> str:
    if found.exchanged is None:
        alone = ", ".join(one.name for one in found.members if one.position_bias is None)
        can_ask = found.source == "kept predictions" and not any(one.external for one in found.members)
        ask = "; a file of this battle alone asks its models" if can_ask else ""
        return f"with the answers exchanged: not known, {alone or 'a member'} predicted one order only{ask}"
    pairs = zip(vars(found.chances).values(), vars(found.exchanged).values(), strict=True)
    apart = max(abs(one - other) for one, other in pairs)
    if apart < 5e-4:
        return "with the answers exchanged: the same"
    return f"with the answers exchanged: {_percent(found.exchanged)}, {apart:.1%} apart"
