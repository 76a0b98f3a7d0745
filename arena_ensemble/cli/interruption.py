"""What a person reads whose run was interrupted: what is kept, and the command that goes on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..errors import InputError
from . import typed

_GO_ON: Final = frozenset({"oof", "stack", "submission", "predict"})
_OWN: Final = {"judge": "answers that came are kept beside --out"}


def interruption_text(how: str, verb: str, workspace: Path | None) -> str:
    """A few lines: how it ended, what is kept, what to type."""
    if verb in _GO_ON and workspace is not None:
        kept, again = _kept(workspace), "the same command goes on where it was"
    else:
        kept = _OWN.get(verb, "")
        again = "the same command goes on" if kept else "the same command begins anew"
    kept = f"{kept}; " if kept else ""
    return f"{how}: {kept}no file is half-written\n{again}:\n  {typed.again()}"


def _kept(workspace: Path) -> str:
    """What the run that ended here leaves in its workspace, by its log."""
    from ..pipeline.run_status import run_status

    try:
        found = run_status(workspace)
    except InputError:
        return "nothing was trained yet"
    except Exception:  # a log or a card that cannot be read must not hide how the run ended
        return "finished folds are kept"
    if any("stacking" in note for note in found.notes):
        return "the members are kept, stacking begins anew"
    if found.pid != os.getpid():
        return f"it was not at work yet, and what is in {workspace} is as before"
    mine = [one for one in found.members if one.name in found.named]
    done = [f"{one.name} {one.folds_done} of {one.folds or '?'} folds" for one in mine if one.folds_done]
    what = f"kept: {', '.join(done)}" if done else "no fold was finished yet"
    begun = sum(any(one.glob("**/checkpoint-*")) for one in workspace.glob("models/*/fold-*.partial"))
    return what + (f", and {begun} checkpoint{'s' if begun > 1 else ''} within a fold" if begun else "")
