"""Pictures of one model, or of some: samples, reconstructions, ways through the latent space, and that space itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from examples.data.dataset import Split
from examples.metrics.grid import save_grid
from examples.wwae.compare import Trained
from examples.wwae.evaluate import samples

COLUMNS, ROWS = 12, 4


@torch.no_grad()
def draw(chosen: Sequence[Trained], test: Split, out: Path) -> list[str]:
    """Write the pictures of the chosen models; returns their names."""
    names = []
    for one in chosen:
        kind, model = one.method.kind, one.model
        save_grid(samples(model, COLUMNS * ROWS), out / f"samples-{kind}.png", COLUMNS)
        images = test.images[: COLUMNS * 2]
        mean, _ = model.posterior(images)
        pairs = torch.stack([images, model.decode(mean)], dim=1).flatten(0, 1)
        save_grid(pairs, out / f"reconstructions-{kind}.png", COLUMNS)
        ends, _ = model.posterior(test.images[: 2 * ROWS])
        ways = [torch.lerp(a, b, t) for a, b in ends.view(ROWS, 2, -1) for t in torch.linspace(0, 1, COLUMNS)]
        save_grid(model.decode(torch.stack(ways)), out / f"interpolations-{kind}.png", COLUMNS)
        names += [f"{what}-{kind}.png" for what in ("samples", "reconstructions", "interpolations")]
    _latent(chosen, test, out / "latent.png")
    return [*names, "latent.png"]


def _latent(chosen: Sequence[Trained], test: Split, path: Path) -> None:
    """The first two principal directions of each posterior's means, and the prior's circles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    figure = Figure(figsize=(3.2 * len(chosen), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, one in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        mean, log_variance = one.model.posterior(test.images)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
        points = mean if one.method.deterministic else mean + (log_variance / 2).exp() * noise
        _, _, directions = torch.linalg.svd(points - points.mean(dim=0), full_matrices=False)
        x, y = (points @ directions[:2].T).T
        axes.scatter(x, y, c=test.labels, cmap="tab10", s=3)
        for radius in (1.0, 2.0, 3.0):
            axes.add_patch(Circle((0.0, 0.0), radius, fill=False, color="grey", linewidth=0.6))
        axes.set_title(str(one.method))
        axes.set_aspect("equal")
    figure.savefig(path, dpi=90)
