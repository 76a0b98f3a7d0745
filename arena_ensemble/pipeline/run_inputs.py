"""What a training run is given, read and checked: nothing is written. The run and its dry run share it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifacts.workspace import Workspace
from ..battles import Battles
from ..deadline import Deadline
from ..io import COLUMNS, WINNER_COLUMNS, check_sample, load_battles, read_battles
from ..recipes import Recipe
from .arguments import check_jobs, deadline_of, names_of
from .auto_members import AUTO, AutoPlan, choose_members, with_chosen
from .imported import is_external
from .member_recipes import check_retrain, recipes_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInputs:
    """The battles, recipes and names of a run."""

    train: Battles
    test: Battles | None
    n_classes: int
    notes: tuple[str, ...]
    """what the reader reported of the training file, rows that it left out among them"""
    recipes: dict[str, Recipe]
    external: list[str]
    anew: list[str]
    """members to forget first"""
    deadline: Deadline | None
    auto: AutoPlan | None
    """how members were chosen, where that was left to us"""


def read_inputs(
    place: Workspace,
    data: str | Path,
    members: str | Sequence[str] | None,
    *,
    test: str | Path | None,
    format: str | None,
    n_folds: int,
    retrain: str | Sequence[str],
    sample_submission: str | Path | None,
    skip_unvoted: bool,
    jobs: int | None,
    offline: bool,
    bases: Mapping[str, str | Path] | None,
    hours: float | Deadline | None,
) -> RunInputs:
    """Read and check what `train_members` is given; parameters and errors are its own.

    Named members are checked before the battles are read, chosen ones after, for their number decides.
    """
    deadline, names, anew = deadline_of(hours), names_of(members) or [AUTO], names_of(retrain)
    named = [name for name in names if name != AUTO]
    check_jobs(jobs)
    if AUTO not in names:
        check_retrain(place, anew, names)
    # the cards of members that are made anew are not looked at: an older version may have written them
    external = [name for name in named if name not in anew and is_external(place, name)]
    recipes = recipes_of(place, [n for n in named if n not in external], offline=offline, bases=bases)
    loaded = load_battles(
        Path(data), format=format, need_outcomes=True, skip_unvoted=skip_unvoted, scratch=place.cache
    )
    train, n_classes = loaded.battles, loaded.n_classes
    test_battles = None if test is None else read_battles(Path(test), format=format, scratch=place.cache)
    if test_battles is not None and sample_submission is not None:
        columns = WINNER_COLUMNS if n_classes == 2 else COLUMNS
        check_sample(Path(sample_submission), test_battles.ids, columns)
    to_predict = "" if test_battles is None else f", {len(test_battles)} to predict"
    log.info("%s: %d battles%s", data, len(train), to_predict)
    for note in loaded.report.notes:
        log.info("%s: %s", Path(data).name, note)
    auto = None
    if AUTO in names:
        auto = choose_members(place, train, n_folds=n_folds)
        for line in auto.lines():
            log.info("%s", line)
        names = with_chosen(names, auto.chosen)
        check_retrain(place, anew, names)
        added = [name for name in names if name not in named]
        external += [name for name in added if name not in anew and is_external(place, name)]
        recipes |= recipes_of(place, [n for n in added if n not in external], offline=offline, partly=True)
        recipes = {name: recipes[name] for name in names if name in recipes}
    return RunInputs(
        train, test_battles, n_classes, loaded.report.notes, recipes, external, anew, deadline, auto
    )
