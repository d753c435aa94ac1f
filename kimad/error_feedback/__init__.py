"""Error feedback: what is remembered of the gradients that were not sent. One file a kind."""

from kimad.error_feedback.dgc import DGC
from kimad.error_feedback.ef14 import EF14
from kimad.error_feedback.ef21 import EF21
from kimad.error_feedback.interface import ErrorFeedback, Look

__all__ = ["DGC", "EF14", "EF21", "ErrorFeedback", "Look", "make_error_feedback"]

SMOOTHING = 0.1  # η of EF21-SGDM


def make_error_feedback(kind: str, momentum: float = 0.0) -> ErrorFeedback:
    """The one that `Config.error_feedback` names; momentum: the optimizer's, for "dgc"."""
    if kind == "dgc":
        return DGC(momentum)
    return EF14() if kind == "ef14" else EF21(SMOOTHING if kind == "ef21-sgdm" else 1.0)
