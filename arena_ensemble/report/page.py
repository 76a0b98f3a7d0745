"""The page itself: plain HTML with its style inside, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from ..artifacts import store
from ..errors import ArtifactError
from ..pipeline.ensemble import ENSEMBLE, Ensemble, load_folder
from .drawings import OUTCOMES, heat_table, loss_chart, reliability_chart

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:900px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.2em}h2{font-size:1.15em;margin-top:2em}p.lead{font-size:1.1em}
table{border-collapse:collapse;font-size:13px}td,th{padding:2px 9px;text-align:right}
td:first-child,th:first-child,td.text,th.text{text-align:left}
td:first-child{white-space:nowrap}
tr.chosen{font-weight:600;background:#eef4fb}thead th{border-bottom:1px solid #999}
.scroll{overflow-x:auto}.warn{border-left:4px solid #c0392b;background:#fdf0ee;padding:.5em 1em}
svg{max-width:100%;height:auto}svg text{font:12px system-ui,sans-serif}svg .small{font-size:10px;fill:#555}
.grid{stroke:#ddd}.frame{fill:none;stroke:#999}.bar{stroke:#8a8a8a;stroke-width:2}.dot{fill:#8a8a8a}
.bar.member{stroke:#5b8c5a}.dot.member{fill:#5b8c5a}.bar.chosen{stroke:#2663a8;stroke-width:3}.dot.chosen{fill:#2663a8}
.o0{stroke:#2663a8;fill:none}.o1{stroke:#c0392b;fill:none}.o2{stroke:#777;fill:none}
.k0{color:#2663a8}.k1{color:#c0392b}.k2{color:#777}code{font-size:12px;overflow-wrap:anywhere}
"""
_NO_SCRIPTS: Final = "default-src 'none'; style-src 'unsafe-inline'"


def write(workspace: store.Workspace, path: Path | None = None, *, folder: Path | None = None) -> Path:
    """Write the page of the workspace's ensemble, whole or absent; returns where it is.

    Parameters
    ----------
    path
        Default: ``report.html`` beside the ensemble.
    folder
        An ensemble of brought predictions, in place of the workspace's.

    Raises
    ------
    InputError
        There is no ensemble yet.
    ArtifactError
        A file of the ensemble is truncated or edited.
    """
    folder_of = folder or workspace.oof / ENSEMBLE
    built = load_folder(folder_of)
    members = {} if folder else {name: store.read_card(workspace.oof / name) or {} for name in built.members}
    gammas = _gammas(folder_of / "test.json")
    target = path or folder_of / "report.html"
    store.write_bytes(target, page(built, members, gammas).encode())
    return target


def _gammas(note: Path) -> dict[str, float]:
    """Gammas of the last test predictions, from a note that a person could have edited."""
    if not note.is_file():
        return {}
    found = store.read_json(note).get("gammas")
    if not isinstance(found, dict) or not all(isinstance(value, float) for value in found.values()):
        raise ArtifactError(f"{note}: its gammas are no numbers; remove it, or predict again")
    return found


def page(built: Ensemble, members: Mapping[str, Mapping[str, Any]], gammas: Mapping[str, float]) -> str:
    """The report as one HTML text.

    Parameters
    ----------
    built
        The ensemble with its score table and card.
    members
        Name → card of each member.
    gammas
        Sharpness given back to fold-averaged test predictions, if any were made.
    """
    card = built.card
    parts = [_headline(built), _warnings(card, members), "<h2>Every candidate and member, out of fold</h2>"]
    parts += [loss_chart(built.table), _score_table(built.table)]
    if "reliability" in card:
        parts.append(_reliability(card["reliability"]))
    parts.append(_contributions(card["contributions"]))
    if gammas:
        rows = [[name, f"{gamma:.3f}"] for name, gamma in gammas.items()]
        parts.append("<h2>Test predictions</h2><p>An average over folds is flatter than one fold; each was")
        parts.append(" multiplied by its gamma, measured without labels.</p>" + _table(["", "gamma"], rows))
    parts.append(_provenance(card, members))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_NO_SCRIPTS}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>arena-ensemble report</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _headline(built: Ensemble) -> str:
    own = next(row for row in built.table if row.kind == "choice")
    prior = next(row for row in built.table if row.kind == "baseline")
    alone = [row for row in built.table if row.kind == "member"]
    frequency = built.stacker.selection_frequency_
    predicts = "; ".join(f"{name} {share:.0%}" for name, share in frequency.items())
    told = f"<b>{own.log_loss:.4f} ± {own.se:.4f}</b>, class prior {prior.log_loss:.4f}"
    if alone:
        best = min(alone, key=lambda row: row.log_loss)
        gain = f"{best.difference:+.4f} ± {best.difference_se:.4f} against the ensemble"
        told += f", best member {escape(best.name)} {best.log_loss:.4f} ({gain})"
    if own.gap_closed is not None:
        told += f"; {own.gap_closed:.1%} of the way from the prior to the true probabilities"
    unseen = "its group of prompts" if built.card.get("folds_verified", True) else "it"
    return (
        f'<h1>Ensemble of {len(built.members)} members</h1><p class="lead">Out-of-fold log-loss {told}.</p>'
        f"<p>What predicts: {escape(predicts)}. Each row's score comes from choices and fits of the "
        f"stacker that never saw {unseen}; ± is one standard error, clustered by group.</p>"
    )


def _warnings(card: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]]) -> str:
    told = [
        f"{one['member']} looks leaked: {'; '.join(one['reasons'])}" for one in card.get("suspicions", [])
    ]
    if not card.get("folds_verified", True):
        told.append("all members were brought; whether their own training saw these rows is unverified")
    for name, facts in members.items():
        told += [f"{name}: {alarm}" for alarm in facts.get("alarms", [])]
        if not facts.get("folds_verified", False):
            told.append(f"{name} was imported; its folds are unverified")
    return "".join(f'<p class="warn">{escape(one)}</p>' for one in told)


def _score_table(rows: Sequence[Any]) -> str:
    with_gap = any(row.gap_closed is not None for row in rows)
    head = ["", "log-loss", "± s.e.", "accuracy", "vs ensemble", "± s.e."] + ["gap closed"] * with_gap + [" "]
    body, chosen = [], []
    for row in rows:
        cells = [row.name, f"{row.log_loss:.4f}", f"{row.se:.4f}", f"{row.accuracy:.3f}"]
        cells += [f"{row.difference:+.4f}", f"{row.difference_se:.4f}"]
        if with_gap:
            cells.append("" if row.gap_closed is None else f"{row.gap_closed:.1%}")
        body.append([*cells, row.note])
        chosen.append(row.kind == "choice")
    return _table(head, body, chosen)


def _reliability(found: Mapping[str, Any]) -> str:
    key = ", ".join(f'<span class="k{i}">{name}</span>' for i, name in enumerate(OUTCOMES))
    drawn = "".join(reliability_chart(name, bins) for name, bins in found.items())
    return (
        f"<h2>Calibration</h2><p>Probability given (across) and share that happened (up), for {key}; rows in "
        f"bins of equal count, bars ± one standard error. On the diagonal is calibrated.</p>{drawn}"
    )


def _contributions(contributions: Mapping[str, Any]) -> str:
    head = [
        "",
        "log-loss",
        "loss without it",
        "± s.e.",
        "best 1/T",
        "excess p_A - p_B",
        "position bias",
        "hours",
    ]
    body = []
    for row in contributions["members"]:
        bias = "one order read" if row["position_bias"] is None else f"{row['position_bias']:+.3f}"
        hours = "" if row["hours"] is None else f"{row['hours']:.2f}"
        cells = [
            row["name"],
            f"{row['log_loss']:.4f}",
            f"{row['leave_one_out_gain']:+.4f}",
            f"{row['leave_one_out_gain_se']:.4f}",
        ]
        body.append([*cells, f"{row['beta']:.2f}", f"{row['a_bias']:+.3f}", bias, hours, row["advice"]])
    names = [row["name"] for row in contributions["members"]]
    first = dict(reversed(contributions["greedy"]))  # where each is first taken
    path = " → ".join(
        f"{escape(name)} {first[name]:.4f}" for name in dict.fromkeys(n for n, _ in contributions["greedy"])
    )
    return (
        "<h2>What each member adds</h2><p>Left out of a geometric pool of all, cross-fitted.</p>"
        + _table([*head, " "], body)
        + f"<p>Greedy selection takes, in turn, with the log-loss then reached: {path}.</p>"
        + "<h2>How alike they are</h2><p>Share of rows whose likeliest outcomes differ, and correlation of "
        + f"row losses.</p>{heat_table(names, contributions['disagreement'])}<br>"
        + heat_table(names, contributions["error_correlation"])
    )


def _provenance(card: Mapping[str, Any], members: Mapping[str, Mapping[str, Any]]) -> str:
    made = [["data", card.get("data", "")], ["folds", card.get("folds", "")], ["seed", card.get("seed", "")]]
    made += [[name, version] for name, version in card.get("versions", {}).items()]
    text = _table(["", "sha-256 or version"], [[a, str(b)] for a, b in made])
    head = ["member", "backbone", "rows", "log-loss", "seconds", "recipe"]
    rows = [
        [name, *(_told(facts.get(key)) for key in ("backbone", "rows", "log_loss", "seconds", "recipe"))]
        for name, facts in members.items()
    ]
    return f"<h2>Made from</h2>{text}<br>{_table(head, rows)}"


def _told(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)[:64]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], chosen: Sequence[bool] = ()) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = []
    for place, row in enumerate(rows):
        mark = ' class="chosen"' if place < len(chosen) and chosen[place] else ""
        cells = "".join(
            f'<td class="text">{escape(cell)}</td>'
            if k == len(row) - 1 and head[k] == " "
            else f"<td>{escape(cell)}</td>"
            for k, cell in enumerate(row)
        )
        body.append(f"<tr{mark}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead>{"".join(body)}</table></div>'
