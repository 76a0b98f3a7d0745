"""Panels: judges that gave verdicts, scores or probabilities, learned from votes and calibrated."""

from .encoding import Encoder, fit_encoder
from .panel import Panel
from .panel_state import FORMAT as PANEL_FORMAT

__all__ = ["PANEL_FORMAT", "Encoder", "Panel", "fit_encoder"]
