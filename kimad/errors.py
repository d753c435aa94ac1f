"""The errors Kimad raises. All of them are KimadError."""

from __future__ import annotations


class KimadError(RuntimeError):
    """Base of every error raised by Kimad."""


class ConfigError(KimadError, ValueError):
    """A setting that cannot be used: says what was given and what is allowed."""


class AttachError(KimadError, TypeError):
    """Kimad cannot work on this model, or works on it already."""


class AgreementError(KimadError):
    """Ranks hold different plans or layouts; nothing was sent under them."""


class SyncError(KimadError):
    """An optimizer was about to use gradients that had not been averaged over the ranks."""


class ExchangeError(KimadError):
    """Sending, receiving or decoding the gradients of one step failed on this rank."""


class PeerError(KimadError):
    """Another rank failed; the message names rank, step, layer and cause as that rank reported them."""
