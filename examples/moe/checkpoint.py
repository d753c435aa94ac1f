"""Model and optimizer on disk: plain tensors and numbers, written whole or not at all."""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from examples.moe.config import ModelConfig
from examples.moe.errors import MoeError
from examples.moe.model import LanguageModel


def save(path: Path, model: LanguageModel, **more: object) -> None:
    """Write the model, its size, and what else is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save({"config": asdict(model.config), "model": model.state_dict(), **more}, partial)
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote.

    Raises:
        MoeError: no such file, or it is damaged, or it is something else.
    """
    if not path.is_file():
        raise MoeError(f"checkpoint {path}: no such file")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnpicklingError, zipfile.BadZipFile) as error:
        raise MoeError(f"checkpoint {path} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict) or not {"config", "model"} <= found.keys():
        raise MoeError(f"checkpoint {path} holds no model of this example")
    return found


def load_model(path: Path) -> LanguageModel:
    """The model of a checkpoint, ready to be asked.

    Raises:
        MoeError: as `load`, and where the weights do not fit the size.
    """
    found = load(path)
    try:
        model = LanguageModel(ModelConfig(**found["config"]))
        model.load_state_dict(found["model"])
    except (TypeError, RuntimeError) as error:
        raise MoeError(f"checkpoint {path} does not fit its own size: {str(error).splitlines()[0]}") from None
    return model.eval()
