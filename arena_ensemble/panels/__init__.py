"""Panels: judges that gave verdicts, scores or probabilities, learned from votes and calibrated."""

from .encoding import Encoder, fit_encoder
from .panel import FORMAT as PANEL_FORMAT
from .panel import Panel

__all__ = ["PANEL_FORMAT", "Encoder", "Panel", "fit_encoder"]
