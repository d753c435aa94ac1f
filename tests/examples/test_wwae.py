"""WWAE: moments, penalties, training on one process and on two, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import final

import pytest
import torch

from examples.data.load import load_dataset
from examples.metrics.features import fit_features
from examples.wwae.__main__ import main
from examples.wwae.compare import fit
from examples.wwae.evaluate import scores
from examples.wwae.mmd import mmd
from examples.wwae.model import AutoEncoder, Output
from examples.wwae.moments import aggregated
from examples.wwae.objective import KINDS, Method, ObjectiveError, loss
from examples.wwae.training import Settings, make_model, train
from tests.launch.programs import environment, kimad
from tests.source import ROOT

SCRIPT = str(ROOT / "examples" / "wwae" / "train.py")
TINY = ["--steps", "6", "--batch", "16"]


def test_moments_are_those_of_samples_without_taking_any() -> None:
    """The law of total covariance, latent by latent: not image by image, and not means alone."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    log_variance = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    m, s = aggregated(mean, log_variance)
    noise = torch.randn(20_000, 50, 3, generator=generator, dtype=torch.float64)
    z = (mean + (log_variance / 2).exp() * noise).flatten(0, 1)
    assert s.shape == (3, 3)
    assert m.tolist() == pytest.approx(z.mean(dim=0).tolist(), abs=0.01)
    assert s.flatten().tolist() == pytest.approx(torch.cov(z.T).flatten().tolist(), abs=0.02)
    again = aggregated(mean.flip(0), log_variance.flip(0))
    assert torch.allclose(s, again[1]), "the order of images does not matter"


def test_mmd_is_nothing_for_equal_clouds_and_grows_with_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 300, 4, generator=generator)
    same, near, far = (float(mmd(a, cloud)) for cloud in (b, b + 1, b + 3))
    assert abs(same) < 0.05
    assert 10 * abs(same) < near < far


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_has_a_gradient_with_every_method(kind: str) -> None:
    """Or DDP would wait for those that have none."""
    torch.manual_seed(0)
    model = AutoEncoder((1, 4, 4), latent=3, hidden=8)
    images, noise = torch.rand(20, 1, 4, 4), torch.randn(20, 3)
    parts = loss(Method(kind, 0.5), model(images, noise), images, torch.randn(20, 3))
    parts.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    with torch.no_grad():
        output = model(images, noise)
    assert float(parts.reconstruction) == pytest.approx(
        float((output.reconstruction - images).square().sum() / 20), rel=1e-5
    )


def test_training_is_the_method_s_own() -> None:
    """WWAE's held-out latent space is near the prior's, the auto-encoder's is not."""
    dataset = load_dataset("digits")
    features = fit_features(dataset)
    found = {}
    for method in (Method("ae"), Method("wwae", 1.0)):
        model, _ = fit(Settings(method, steps=400), dataset)
        found[method.kind] = scores(model, method, features, dataset.test)
    assert found["wwae"].latent_w2_squared < 0.3
    assert found["ae"].latent_w2_squared > 5
    images = dataset.test.images
    mean_image = float((images - images.mean(dim=0)).square().flatten(1).sum(dim=1).mean())
    assert found["wwae"].reconstruction < 1.2 * mean_image
    assert found["ae"].reconstruction < 0.6 * mean_image


@final
class Watched:
    """Keeps what a model is given."""

    def __init__(self, model: AutoEncoder) -> None:
        self.model = model
        self.images: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor, noise: torch.Tensor) -> Output:
        self.images.append(images)
        output: Output = self.model(images, noise)
        return output


def test_ranks_draw_parts_of_one_batch() -> None:
    """So that several do what one process with all images would."""
    dataset = load_dataset("digits")
    settings = Settings(Method("ae"), steps=2, batch=32)
    seen: list[list[torch.Tensor]] = []
    for rank, world_size in ((0, 1), (0, 2), (1, 2)):
        watched = Watched(make_model(settings, dataset))
        list(train(watched, watched.model.parameters(), settings, dataset, rank, world_size))
        seen.append(watched.images)
    for whole, first, second in zip(*seen, strict=True):
        assert len(whole) == 32
        assert torch.equal(whole[0::2], first)
        assert torch.equal(whole[1::2], second)


@pytest.mark.parametrize(("kind", "weight"), [("gan", 1.0), ("wwae", -0.1), ("wwae", float("nan")), ("vae", 0.0)])
def test_methods_that_cannot_be(kind: str, weight: float) -> None:
    with pytest.raises(ObjectiveError, match=r"not known|not allowed"):
        Method(kind, weight)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "mnist:/nowhere"], "/nowhere is no folder"),
        (["--data", "cifar"], "allowed: digits"),
        (["--steps", "0"], "--steps"),
        (["--out", "/proc/nowhere"], "--out /proc/nowhere"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--steps", "5", "--out", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "sampling alone" in captured.out
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in summary["rows"]] == list(KINDS)
    assert all(row["chosen"] for row in summary["rows"])
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert len(pictures) == 3 * len(KINDS) + 1
    assert all((tmp_path / name).stat().st_size > 500 for name in pictures)
    assert main(["--quick", "--steps", "5", "--json", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["floor"] == summary["floor"]


def torchrun(*arguments: str, cwd: Path, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), SCRIPT]
    return subprocess.run(
        [*call, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=55, check=False
    )


@pytest.mark.dist
@pytest.mark.parametrize("moments", ["global", "local"])
def test_two_ranks_train_alike(moments: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    options = ["--moments", moments, "--check-ranks", "--evaluate-every", "3", "--log-file", str(log)]
    done = torchrun(*TINY, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert ["test_samples" in line for line in lines] == [False, False, True] * 2
    if moments == "global":  # the same optimisation as one process with all images
        assert torchrun(*TINY, "--log-file", str(log), cwd=tmp_path, ranks=1).returncode == 0
        alone = [json.loads(line)["penalty"] for line in log.read_text(encoding="utf-8").splitlines()]
        assert [line["penalty"] for line in lines] == pytest.approx(alone, rel=1e-3)


@pytest.mark.dist
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "15"], "--batch is 15; it must be a multiple of the 2 ranks"),
        (["--kind", "gan"], "kind 'gan' is not known"),
        (["--weight=-1"], "weight -1 is not allowed"),
        (["--data", "idx"], "allowed: digits"),
    ],
)
def test_the_script_refuses_in_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = torchrun(*TINY, *arguments, cwd=tmp_path)
    assert done.returncode != 0
    own = [line for line in done.stderr.splitlines() if line.startswith("train.py: ")]
    assert own == [own[0]] * len(own)
    assert said in own[0]
    assert "Error" not in done.stderr.split("torch/distributed")[0]


@pytest.mark.dist
def test_the_script_under_kimad_as_it_is(tmp_path: Path) -> None:
    line = ["run", "--standalone", "--nproc-per-node", "2", "--out", "out", SCRIPT, *TINY, "--check-ranks"]
    done = kimad(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    records = (tmp_path / "out" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(records) == 6
