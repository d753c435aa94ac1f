"""What is read of a DDP model: its layers, which of them a rank used, and whose hook it has."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import torch
from torch.nn import Embedding, EmbeddingBag
from torch.nn.parallel import DistributedDataParallel

from kimad.errors import AttachError
from kimad.internals import holds, used_marks
from kimad.layout import Layer

ONE_MODEL = "this State belongs to another model already; make one State a model"


def layers_of(model: DistributedDataParallel) -> list[tuple[torch.nn.Parameter, Layer]]:
    """The parameters whose gradients DDP exchanges, with their layers, in the model's order."""
    named = [
        (n, p) for n, p in model.module.named_parameters() if p.requires_grad and n not in model.parameters_to_ignore
    ]
    sparse = {id(m.weight) for m in model.modules() if isinstance(m, (Embedding, EmbeddingBag)) and m.sparse}
    kinds = ["sparse" if id(p) in sparse else str(p.dtype).removeprefix("torch.") for _, p in named]
    return [
        (p, Layer(name, tuple(p.shape), kind, p.element_size())) for (name, p), kind in zip(named, kinds, strict=True)
    ]


def used_map(model: DistributedDataParallel) -> Callable[[], torch.Tensor] | None:
    """DDP's own marks of the parameters that this rank used; it keeps them with find_unused_parameters alone."""
    if not model.find_unused_parameters or model.static_graph:
        return None
    seen = weakref.ref(model)  # a State must not keep its model alive

    def read() -> torch.Tensor:
        alive = seen()
        if alive is None:
            raise AttachError("the model of this State is gone")
        return used_marks(alive)

    return read


def find_model(state: object) -> DistributedDataParallel:
    """The DDP model whose hook holds this state. Raises AttachError if there is none, or more than one."""
    models: list[DistributedDataParallel] = [
        thing for thing in gc.get_objects() if issubclass(type(thing), DistributedDataParallel)
    ]
    holding = [model for model in models if holds(model, state)]
    if not holding:
        raise AttachError("no DDP model has this State in its communication hook")
    if len(holding) > 1:
        raise AttachError(ONE_MODEL)
    return holding[0]
