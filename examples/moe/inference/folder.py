"""A trained model on disk, in parts: what stays in fast memory, the experts, and the predictor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from examples.moe import checkpoint
from examples.moe.config import ModelConfig
from examples.moe.errors import MoeError
from examples.moe.inference.file_store import write_experts
from examples.moe.inference.layout import pack
from examples.moe.inference.path_model import PathModel
from examples.moe.model import LanguageModel

MODEL, DENSE, EXPERTS, PATHS = "model.pt", "dense.pt", "experts.bin", "paths.pt"


def export(folder: Path, model: LanguageModel) -> None:
    """Write the experts to their file, and everything else beside it."""
    dense = {name: value for name, value in model.state_dict().items() if ".experts." not in name}
    write_experts(folder / EXPERTS, *pack(model))
    torch.save({"config": asdict(model.config), "model": dense}, folder / DENSE)


def load_dense(folder: Path) -> LanguageModel:
    """The model without its experts: they have shapes, and no memory.

    Raises:
        MoeError: no such file, or it is damaged.
    """
    found = checkpoint.load(folder / DENSE)
    try:
        with torch.device("meta"):
            model = LanguageModel(ModelConfig(**found["config"]))
        missing = model.load_state_dict(found["model"], strict=False, assign=True)
    except (TypeError, RuntimeError) as error:
        raise MoeError(f"{folder / DENSE} does not fit its own size: {str(error).splitlines()[0]}") from None
    if missing.unexpected_keys or any(".experts." not in name for name in missing.missing_keys):
        raise MoeError(f"{folder / DENSE} is not complete")
    return model.eval()


def save_paths(folder: Path, paths: PathModel) -> None:
    """Write the predictor."""
    torch.save({"config": asdict(paths.config), "model": paths.state_dict()}, folder / PATHS)


def load_paths(folder: Path) -> PathModel:
    """The predictor. Raises MoeError: no such file, or it is damaged."""
    found = checkpoint.load(folder / PATHS)
    try:
        paths = PathModel(ModelConfig(**found["config"]))
        paths.load_state_dict(found["model"])
    except (TypeError, RuntimeError) as error:
        raise MoeError(f"{folder / PATHS} does not fit its own size: {str(error).splitlines()[0]}") from None
    return paths.eval()
