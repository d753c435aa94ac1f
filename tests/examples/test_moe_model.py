"""The mixture-of-experts model of the example: routing, dispatch, text, checkpoints."""

from pathlib import Path

import pytest
import torch

from examples.moe.checkpoint import load_model, save
from examples.moe.config import ModelConfig
from examples.moe.errors import MoeError
from examples.moe.layer import MixtureOfExperts, balance_loss, choose
from examples.moe.model import LanguageModel
from examples.moe.text import Text, read_text

TINY = ModelConfig(layers=2, width=16, heads=2, hidden=32, experts=8, context=16)


@pytest.mark.parametrize("chosen", [1, 2])
def test_no_token_is_dropped(chosen: int) -> None:
    """The dispatch by experts is the same as every token by itself, even when all go to one expert."""
    torch.manual_seed(0)
    layer = MixtureOfExperts(ModelConfig(width=16, heads=2, hidden=32, experts=8, chosen=chosen))
    for skew in (0.0, 100.0):
        with torch.no_grad():
            layer.router.weight[3] += skew * torch.ones(16)
        x = torch.rand(20, 16)
        y, routing = layer(x)
        for i in range(20):
            expected = sum(
                routing.gates[i, k] * layer.expert(int(routing.chosen[i, k]))(x[i : i + 1])[0] for k in range(chosen)
            )
            torch.testing.assert_close(y[i], expected)


def test_the_gates_are_switch_and_top_two() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    experts, gates, probabilities = choose(logits, 1)
    assert experts.tolist() == [[1]]
    assert gates[0, 0] == probabilities[0, 1] < 1
    experts, gates, _ = choose(logits, 2)
    assert experts.tolist() == [[1, 2]]
    assert gates.sum().item() == pytest.approx(1.0)


def test_the_balance_loss_is_one_when_balanced_and_experts_when_not() -> None:
    even = torch.full((8, 4), 0.25)
    assert balance_loss(even, torch.arange(8)[:, None] % 4).item() == pytest.approx(1.0)
    one = torch.zeros(8, 4)
    one[:, 2] = 1.0
    assert balance_loss(one, torch.full((8, 1), 2)).item() == pytest.approx(4.0)


def test_an_idle_expert_has_no_gradient_and_a_used_one_has() -> None:
    torch.manual_seed(0)
    layer = MixtureOfExperts(TINY)
    with torch.no_grad():
        layer.router.weight[5] = -100.0
    y, routing = layer(torch.rand(4, 16))
    y.sum().backward()
    used = set(routing.chosen.flatten().tolist())
    assert 5 not in used
    for number in range(8):
        expert = layer.expert(number)
        assert (expert.up.weight.grad is not None) == (number in used)
    assert layer.router.weight.grad is not None


def test_a_later_byte_changes_nothing_before_it() -> None:
    torch.manual_seed(0)
    model = LanguageModel(TINY).eval()
    tokens = torch.randint(256, (1, 12))
    other = tokens.clone()
    other[0, 8:] += 1
    before, after = model(tokens), model(other % 256)
    torch.testing.assert_close(before.logits[:, :8], after.logits[:, :8])
    assert torch.equal(before.paths[:, :8], after.paths[:, :8])
    assert not torch.allclose(before.logits[:, 8:], after.logits[:, 8:])


def test_the_model_learns_a_simple_text() -> None:
    torch.manual_seed(0)
    model = LanguageModel(TINY)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tokens = torch.tensor([list(b"abcabcabcabcabcab")])
    for _ in range(60):
        optimizer.zero_grad()
        out = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss.item() < 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": 0}, "experts is 0"),
        ({"width": 30, "heads": 4}, "not a multiple"),
        ({"chosen": 3}, "chosen is 3"),
        ({"experts": 1, "chosen": 2}, "at most the 1 experts"),
    ],
)
def test_a_size_that_cannot_be_is_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(MoeError, match=message):
        ModelConfig(**changes)


def test_the_held_out_text_is_not_trained_on() -> None:
    data = bytes(i % 251 for i in range(10 * 4096))
    marked = bytearray(data)
    piece = len(data) // 10
    marked[9 * piece :] = b"\xff" * (len(data) - 9 * piece)
    text = Text(bytes(marked))
    assert (text.validation == 255).all()
    assert not (text.train == 255).any()
    drawn = text.draw(torch.Generator().manual_seed(1), 3, 8)
    assert drawn.shape == (3, 9)
    assert torch.equal(drawn, text.draw(torch.Generator().manual_seed(1), 3, 8))
    assert torch.equal(text.held_out(4, 8), text.held_out(4, 8))


def test_the_standard_library_is_there_and_a_missing_text_is_named(tmp_path: Path) -> None:
    assert len(read_text(limit_bytes=100_000)) == 100_000
    with pytest.raises(MoeError, match="no such file"):
        read_text(tmp_path / "none")
    (tmp_path / "short.txt").write_text("short")
    with pytest.raises(MoeError, match="5 bytes; needed"):
        read_text(tmp_path / "short.txt")


def test_a_checkpoint_comes_back_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = LanguageModel(TINY).eval()
    save(tmp_path / "model.pt", model, step=3)
    tokens = torch.randint(256, (1, 5))
    assert torch.equal(load_model(tmp_path / "model.pt")(tokens).logits, model(tokens).logits)
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MoeError, match="cannot be read"):
        load_model(tmp_path / "model.pt")
    with pytest.raises(MoeError, match="no such file"):
        load_model(tmp_path / "other.pt")
    torch.save({"something": 1}, tmp_path / "else.pt")
    with pytest.raises(MoeError, match="holds no model"):
        load_model(tmp_path / "else.pt")
