"""The names of the battle formats, apart from their readers, so that ``--help`` need not load polars."""

from __future__ import annotations

from typing import Final

FORMAT_NAMES: Final = ("kaggle", "wsdm", "arena", "pairs", "rewardbench")
"""What ``--format`` takes; the keys of ``battle_formats.FORMATS``, in its order."""
RESULT_NAMES: Final = (
    "alpacaeval", "arena-hard", "arena-hard-2", "judgebench", "mt-bench", "mt-bench-single", "rewardbench",
    "rewardbench-2",
)  # fmt: skip
"""What ``--format`` takes for result files of judge benchmarks; the keys of ``result_files.RESULTS``."""
