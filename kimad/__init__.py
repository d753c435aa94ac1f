"""Kimad: data-parallel training as fast as the network allows.

    state = kimad.attach(ddp_model)

measures the link each step, decides layer by layer how its gradient is sent, and remembers what was left out.
"""

from kimad.config import Config
from kimad.errors import AgreementError, AttachError, ConfigError, ExchangeError, KimadError, PeerError, SyncError
from kimad.hook import attach, hook
from kimad.naming import parse_objective
from kimad.objective import ErrorBound, Fixed, Objective, Off, Overlap, Progress, StepTime
from kimad.record import StepRecord
from kimad.state import State

__version__ = "0.1.0"

__all__ = [
    "AgreementError",
    "AttachError",
    "Config",
    "ConfigError",
    "ErrorBound",
    "ExchangeError",
    "Fixed",
    "KimadError",
    "Objective",
    "Off",
    "Overlap",
    "PeerError",
    "Progress",
    "State",
    "StepRecord",
    "StepTime",
    "SyncError",
    "attach",
    "hook",
    "parse_objective",
]
