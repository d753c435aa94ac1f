"""What more options would be worth: squared error at equal bytes on a real gradient, `python -m benchmarks.menu`.

A ResNet-18 is trained on digits by one process under top-1 % error feedback. Plans are solved for budgets in bytes on
the gradient and on what is owed (residual + gradient), from the menu of the runtime and from one with two operators
more; then every layer is really encoded, and the error is that of what was decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.rows import Row, command
from examples.resnet.data import Batches, load_digits
from examples.resnet.model import ResNet18
from kimad.compressors import Option, decode, encode, encode_owed, wire_bytes
from kimad.cost import CodingCost
from kimad.curves import Curve, kept_energy
from kimad.layout import Layer
from kimad.menu import OFFERED, MenuMaker
from kimad.solver import Lagrangian

MORE = (*OFFERED[:2], "sign", "int4", *OFFERED[2:])  # the menu that is compared with the runtime's
BUDGETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)  # of the dense bytes
STEPS = 60
DENSITY = 0.01
BPS = 100e6  # any rate: cost is bytes alone


def gradients(steps: int) -> tuple[list[Layer], list[Tensor], list[Tensor]]:
    """Layers, the gradient of the last of `steps` steps, and what is owed in it; flat float32."""
    torch.manual_seed(1)
    batches = Batches(load_digits(12), 56, seed=1, rank=0, noise=0.3, shift=2)
    model = ResNet18()
    named = list(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9)
    residual = [torch.zeros(p.numel()) for _, p in named]
    options = [Option("topk", max(1, round(DENSITY * p.numel())), "log4") for _, p in named]
    frames = [
        torch.empty(wire_bytes((p.numel(),), o), dtype=torch.uint8) for (_, p), o in zip(named, options, strict=True)
    ]
    for step in range(steps):
        images, labels = batches.draw()
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        flat = [_flat(p) for _, p in named]
        if step == steps - 1:
            return (
                [Layer(n, tuple(p.shape)) for n, p in named],
                flat,
                [r + g for r, g in zip(residual, flat, strict=True)],
            )
        for (_, p), r, g, option, frame in zip(named, residual, flat, options, frames, strict=True):
            encode_owed(r, g, option, frame)
            sent = torch.zeros_like(r)
            decode(frame, sent)
            p.grad = sent.view_as(p)
        optimizer.step()
    raise ValueError("at least one step")


def _flat(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a parameter of the model has no gradient")
    return parameter.grad.detach().flatten().clone()


def errors(
    layers: list[Layer], values: list[Tensor], offered: tuple[str, ...], budgets: Sequence[float] = BUDGETS
) -> list[float]:
    """Squared error over energy after encoding, for each budget."""
    curves = [Curve(v.numel(), kept_energy(v, 0)) for v in values]
    maker = MenuMaker([[layer] for layer in layers], 2, offered=offered)
    menu = maker.make(BPS, free_coding(), curves, [False] * len(layers))
    energy = sum(float(v.double().square().sum()) for v in values)
    dense_bytes = sum(layer.nbytes for layer in layers)
    found = []
    for budget in budgets:
        choice = Lagrangian().solve(menu, budget * dense_bytes * 8 / BPS)
        lost = 0.0
        for i, (layer, value) in enumerate(zip(layers, values, strict=True)):
            option = maker.options[i][int(choice.column[i])]
            if option.k:
                option = Option(option.operator, int(choice.k[i]), option.values)
            if int(choice.whole[i]) >= 0:
                option = Option(("float32", "bfloat16")[int(choice.whole[i])])
            frame = torch.empty(wire_bytes(layer.shape, option), dtype=torch.uint8)
            encode(value, option, frame, shape=layer.shape)
            left = value.clone()
            decode(frame, left, -1.0)
            lost += float(left.double().square().sum())
        found.append(lost / energy)
    return found


def free_coding() -> CodingCost:
    """Coding takes no time, so that cost is bytes alone."""
    free = CodingCost()
    free.factor = dict.fromkeys(free.factor, 0.0)
    return free


def measure(quick: bool) -> list[Row]:
    """Error of the runtime's menu over that of the larger one, at every budget."""
    torch.set_num_threads(2)
    layers, gradient, owed = gradients(8 if quick else STEPS)
    rows = []
    for name, values in (("gradient", gradient), ("residual + gradient", owed)):
        before, now = errors(layers, values, OFFERED), errors(layers, values, MORE)
        for budget, was, is_now in zip(BUDGETS, before, now, strict=True):
            note = f"{was:.3g} -> {is_now:.3g} of the energy"
            gain = was / max(is_now, np.finfo(np.float64).tiny)
            rows.append(
                Row(
                    f"{name}, {100 * budget:g} % of the dense bytes, error without / with sign and int4",
                    gain,
                    "x",
                    0.99,
                    "higher",
                    note,
                )
            )
    return rows


main = command("menu", measure)

if __name__ == "__main__":
    main()
