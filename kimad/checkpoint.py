"""What a State saves, and what it refuses to load: the memories of one kind of error feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kimad.error_feedback import ErrorFeedback, make_error_feedback
from kimad.errors import ConfigError
from kimad.layout import Layer

VERSION = 1


def to_save(kind: str, feedback: ErrorFeedback | None) -> dict[str, Any]:
    """The state_dict of error feedback of a kind; of an empty one where there is none yet."""
    feedback = feedback or make_error_feedback(kind)
    return {"version": VERSION, "error_feedback": kind, **feedback.state_dict()}


def check(saved: Mapping[str, Any], kind: str) -> None:
    """Raise ConfigError for anything but a state_dict of this kind."""
    if saved.get("version") != VERSION:
        raise ConfigError(
            f"not a Kimad state_dict: version {saved.get('version')!r}; this version reads version {VERSION}"
        )
    if saved.get("error_feedback", "ef14") != kind:
        raise ConfigError(
            f"the state_dict is of error_feedback {saved['error_feedback']!r}, and this State has {kind!r}; "
            "give it the same one, or begin without a state_dict"
        )
    memories = make_error_feedback(kind).memories
    if not all(isinstance(saved.get(memory), Mapping) for memory in memories):
        raise ConfigError(f"not a Kimad state_dict: it must have {', '.join(memories)}, by layer name")


def check_layers(saved: Mapping[str, Any], kind: str, layers: Sequence[Layer]) -> None:
    """Raise ConfigError unless every saved tensor is one of these layers', and finite."""
    numel = {layer.name: layer.numel for layer in layers}
    for memory in make_error_feedback(kind).memories:
        for name, tensor in saved[memory].items():
            if numel.get(name) != tensor.numel():
                raise ConfigError(
                    f"the saved {memory} of {name} has {tensor.numel()} entries, the model {numel.get(name)}"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise ConfigError(f"the saved {memory} of {name} is not finite; take another checkpoint")
