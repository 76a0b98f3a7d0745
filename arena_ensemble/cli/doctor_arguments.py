"""Arguments of the verb doctor, apart from its work: ``--help`` imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path


def doctor(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    plan = parser.add_argument_group("plan (estimates from shapes; nothing is downloaded)")
    plan.add_argument("--plan", action="store_true", help="parameters, memory and time of each recipe")
    plan.add_argument("--models", metavar="NAME,…", help="recipes to plan (default: all with a real base)")
    plan.add_argument("--card", default="H100", help="T4, L4, RTX4090, A100-40, A100-80, H100 or H200")
    source = plan.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, metavar="FILE", help="battles whose lengths are planned for")
    source.add_argument("--rows", type=int, default=57_477, help="battles (default 57477, the Kaggle set)")
    plan.add_argument("--tokens", type=float, default=830, help="mean tokens of a battle (default 830)")
    plan.add_argument("--folds", type=int, default=5, help="cross-fitting folds (default 5)")
    plan.add_argument(
        "--utilisation", type=float, metavar="SHARE", help="of the card's peak (default 0.4 fit, 0.5 read)"
    )
