"""PEFT beside a torchao that is too old for it, as the images of Kaggle and Colab have one.

Before it gives a layer its adapter, PEFT (0.19 to 0.21 at least) asks whether torchao is there, and raises an
error where it is older than 0.16, whether or not anything is quantised with it. 0.10.0 is what those images
brought in 2026 (unslothai/notebooks, pull request 258).
"""

from __future__ import annotations

import logging
import sys

_log = logging.getLogger(__name__)
_ASKED = "is_torchao_available"


def _absent() -> bool:
    return False


def pass_over() -> None:
    """Let PEFT go on as where there is no torchao, if the one that is there is too old for it."""
    from peft import import_utils
    from peft.tuners import lora  # loads the modules that have the question under a name of their own

    try:
        import_utils.is_torchao_available()
    except ImportError as error:
        _log.info("%s: passed over, as nothing here is quantised by it", error)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == lora.__name__.partition(".")[0] and hasattr(module, _ASKED):
                setattr(module, _ASKED, _absent)
