"""VGrow: velocities against GAN losses, particles, generators on the ring, the script and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.vgrow.__main__ import main
from examples.vgrow.divergence import DIVERGENCES, LARGEST_LOGIT, DivergenceError, find
from examples.vgrow.evaluate import plane_scores
from examples.vgrow.flow import push, velocity
from examples.vgrow.gan import KINDS, GanSettings, train_gan
from examples.vgrow.model import Critic, Generator
from examples.vgrow.target import make_target
from examples.vgrow.training import critic_loss, generated, make_networks, settings_for, vgrow
from tests.examples.test_example_data import write_mnist
from tests.launch.programs import environment, kimad
from tests.source import ROOT

SCRIPT = str(ROOT / "examples" / "vgrow" / "train.py")
TINY = ["--data", "ring", "--rounds", "2", "--pool", "32", "--inner", "2", "--batch", "16"]


def networks() -> tuple[Generator, Critic]:
    torch.manual_seed(0)
    return Generator(3, [16], 4, bounded=False).double(), Critic(4, [16]).double()


def flat_gradient(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", DIVERGENCES)
def test_one_particle_step_is_the_gan_s_generator_step(name: str) -> None:
    generator, critic = networks()
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    divergence, step = find(name), 0.3
    made = generator(z)
    particles = push(made.detach(), velocity(critic, made, divergence, most=1e9), step, bound=1e9)
    regression = (made - particles).square().sum(dim=1).mean() / (2 * step)
    regression.backward()
    ours = flat_gradient(generator)
    generator.zero_grad()
    divergence.loss(critic(generator(z))).mean().backward()  # type: ignore[no-untyped-call]
    theirs = flat_gradient(generator)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-6


def test_speeds_are_r_f_second_derivative() -> None:
    """c = r f''(r) at r = exp(-D)."""
    f = {
        "kl": lambda r: r * r.log(),
        "js": lambda r: r * r.log() - (r + 1) * ((r + 1) / 2).log(),
        "logd": lambda r: (r + 1) * (r + 1).log(),
        "jeffreys": lambda r: (r - 1) * r.log(),
    }
    logits = torch.linspace(-3, 3, 13, dtype=torch.float64)
    r = torch.exp(-logits).requires_grad_()
    for name, divergence in DIVERGENCES.items():
        (first,) = torch.autograd.grad(f[name](r).sum(), r, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), r)
        assert divergence.speed(logits).tolist() == pytest.approx((r * second).tolist(), rel=1e-9), name
        assert bool((divergence.speed(20 * logits) > 0).all())
    at_zero = {name: float(divergence.speed(torch.zeros(1))) for name, divergence in DIVERGENCES.items()}
    assert at_zero == {"kl": 1.0, "js": 0.5, "logd": 0.5, "jeffreys": 2.0}


def test_a_sure_classifier_hurls_nothing() -> None:
    sure = torch.tensor([LARGEST_LOGIT, 50.0, 1000.0])
    assert find("jeffreys").speed(sure).tolist() == pytest.approx([1 + torch.e**LARGEST_LOGIT] * 3, rel=1e-5)
    generator, critic = networks()
    particles = torch.randn(20, 4, dtype=torch.float64)
    with torch.no_grad():
        for parameter in critic.body[-1].parameters():
            parameter.mul_(1e4)
    flow = velocity(critic, particles, find("jeffreys"), most=0.5)
    assert float(flow.norm(dim=1).max()) <= 0.5 + 1e-9
    assert float(push(particles, flow, 100.0, bound=2.0).abs().max()) == 2.0
    extreme = critic_loss(critic, critic, particles, particles, penalty=0.0)
    assert bool(extreme.isfinite()), "softplus, not log(1 + exp)"
    del generator


def test_velocities_leave_the_critic_s_gradients_alone() -> None:
    _, critic = networks()
    critic_loss(critic, critic, torch.randn(8, 4).double(), torch.randn(8, 4).double(), 0.0).backward()  # type: ignore[no-untyped-call]
    before = flat_gradient(critic).clone()
    velocity(critic, torch.randn(30, 4).double(), find("kl"), 1.0)
    assert torch.equal(before, flat_gradient(critic))


def test_the_critic_s_loss() -> None:
    _, critic = networks()
    data, fake = torch.randn(2, 9, 4, dtype=torch.float64)
    plain = functional.softplus(-critic(data)).mean() + functional.softplus(critic(fake)).mean()
    assert critic_loss(critic, critic, data, fake, 0.0).item() == pytest.approx(plain.item())
    at = data.clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(at).sum(), at)
    r1 = float(slope.square().sum(dim=1).mean())
    assert critic_loss(critic, critic, data, fake, 3.0).item() == pytest.approx(plain.item() + 1.5 * r1)


def test_the_generator_learns_all_modes_of_the_ring() -> None:
    target = make_target("ring")
    settings = replace(settings_for("ring"), rounds=80)
    pair = make_networks(settings, target)
    before = plane_scores(target, generated(pair[0], 1000))
    for _ in vgrow(pair, settings, target):
        pass
    after = plane_scores(target, generated(pair[0], 1000))
    assert before["modes"] < 8
    assert after["modes"] == 8
    assert after["near"] > 0.7
    assert after["w2"] < 0.6 < before["w2"]


def test_scores_of_what_is_known() -> None:
    target = make_target("grid25")
    assert target.modes is not None
    exact = plane_scores(target, target.test)
    assert (exact["modes"], exact["near"] > 0.98) == (25, True)
    one = plane_scores(target, target.modes[:1].repeat(500, 1))
    assert (one["modes"], one["least_share"]) == (1, 0.0)
    assert one["w2"] > 10 * exact["w2"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_gan_takes_its_steps(kind: str) -> None:
    target = make_target("ring")
    pair = make_networks(settings_for("ring"), target)
    before = [p.detach().clone() for p in pair[0].parameters()]
    assert list(train_gan(pair, GanSettings(kind, steps=3), target)) == [0, 1, 2]
    assert all(bool(p.isfinite().all()) for module in pair for p in module.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, pair[0].parameters(), strict=True))
    with pytest.raises(DivergenceError, match="allowed: gan-ns"):
        GanSettings("gan")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--divergence", "kll"], "divergence 'kll' is not known; allowed: kl, js, logd, jeffreys"),
        (["--data", "mnist:/nowhere"], "/nowhere is no folder"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--quick", "--rounds", "2", "--divergence", "kl", "--divergence", "js"]
    assert main([*options, "--data", "ring", "--data", "digits", "--out", str(tmp_path)]) == 0
    assert "8 modes; W2 of training to held-out points" in capsys.readouterr().out
    rows = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["rows"]
    assert [row["method"].split(",")[0] for row in rows] == ["vgrow-kl", "vgrow-js", "vgrow-kl", "vgrow-js", *KINDS]
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert {"ring-particles.png", "digits-particles.png", "digits-vgrow-kl.png", "digits-wgan-gp.png"} <= pictures


def test_the_command_on_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mnist(tmp_path)
    data = f"mnist:{tmp_path}"
    assert main(["--quick", "--rounds", "1", "--divergence", "kl", "--data", data, "--out", str(tmp_path / "out")]) == 0
    assert f"{data}, seed 0" in capsys.readouterr().out
    assert (tmp_path / "out" / "mnist-vgrow-kl.png").is_file()
    assert main(["--data", "rings"]) == 2
    assert "allowed: ring, grid25, digits" in capsys.readouterr().err


def torchrun(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT, *TINY]
    return subprocess.run(
        [*call, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, timeout=55, check=False
    )


@pytest.mark.dist
@pytest.mark.parametrize("penalty", ["0", "0.1"])
def test_two_ranks_train_alike(penalty: str, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    options = ["--penalty", penalty, "--check-ranks", "--evaluate-every", "2", "--log-file", str(log)]
    done = torchrun(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["round"] for line in lines] == [1, 2]
    assert ["test_modes" in line for line in lines] == [False, True]


@pytest.mark.dist
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch", "15"], "--batch is 15; it must be a multiple of the 2 ranks"),
        (["--divergence", "tv"], "divergence 'tv' is not known"),
        (["--step=-1"], "--step is -1"),
        (["--inner", "0"], "--inner is 0"),
    ],
)
def test_the_script_refuses_in_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = torchrun(*arguments, cwd=tmp_path)
    assert done.returncode != 0
    own = [line for line in done.stderr.splitlines() if line.startswith("train.py: ")]
    assert own == [own[0]] * len(own)
    assert said in own[0]


@pytest.mark.dist
def test_the_script_under_kimad_as_it_is(tmp_path: Path) -> None:
    """Two models, two States: both are attached, and each step of either is one exchange."""
    line = ["run", "--standalone", "--nproc-per-node", "2", "--out", "out", SCRIPT, *TINY, "--check-ranks"]
    done = kimad(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["attached"] == 2
