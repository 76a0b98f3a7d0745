"""Loss curves to TensorBoard and whatever else transformers can report to, through its own callbacks."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...errors import DependencyError, RecipeError


def reporter(
    names: Sequence[str], folder: Path, steps: int
) -> tuple[Callable[[int, Mapping[str, float]], None], Callable[[], None]]:
    """A function that logs values of a step, and one that closes the reports.

    Raises
    ------
    RecipeError
        transformers knows no such report.
    DependencyError
        Its package is not installed.
    """
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.integrations import get_reporting_integration_callbacks

    callbacks = []
    for name in names:
        if name == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
            raise DependencyError(
                "train.report_to = ['tensorboard'] needs a package: pip install 'arena-ensemble[tensorboard]'"
            )
        try:
            callbacks += [callback() for callback in get_reporting_integration_callbacks([name])]
        except ValueError as error:
            raise RecipeError(f"train.report_to: {error}") from None
        except (ImportError, RuntimeError) as error:
            raise DependencyError(f"train.report_to = [{name!r}]: {error}") from None
    arguments = TrainingArguments(output_dir=str(folder), report_to=[], use_cpu=True)
    state, control = TrainerState(max_steps=steps), TrainerControl()
    for callback in callbacks:
        callback.on_train_begin(arguments, state, control)

    def log(step: int, values: Mapping[str, float]) -> None:
        state.global_step = step
        for callback in callbacks:
            callback.on_log(arguments, state, control, logs=dict(values))

    def close() -> None:
        for callback in callbacks:
            callback.on_train_end(arguments, state, control)

    return log, close
