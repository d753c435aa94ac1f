"""Error feedback: residual_new + decoded = residual_old + gradient, also when a step is taken back."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from kimad.compressors import Batch, Option, decode, wire_bytes
from kimad.error_feedback import EF14

N = 700
OPTIONS = [
    Option("topk", 31, "float32"), Option("topk", 31, "log4"), Option("topk", N, "int8"), Option("topk", 0, "log4"),
    Option("int8"), Option("bfloat16"), Option("float32"),
]  # fmt: skip


def gradient(seed: int, n: int = N) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def encode(
    residual: EF14, name: str, grad: Tensor, option: Option, frame: Tensor, *, shape: Sequence[int] = (),
    key: int = 0, look: Callable[[str, Tensor], None] | None = None,
) -> None:  # fmt: skip
    """A batch of one layer."""
    residual.encode([name], [grad], Batch([shape or grad.shape], [option]), frame, keys=[key], look=look)


def send(residual: EF14, name: str, grad: Tensor, option: Option) -> Tensor:
    """One layer of one step, as the exchange does it; returns what the frame carries."""
    frame = torch.empty(wire_bytes(grad.shape, option), dtype=torch.uint8)
    encode(residual, name, grad, option, frame)
    decoded = torch.zeros(grad.numel())
    decode(frame, decoded)
    return decoded


def owe(residual: EF14, name: str, grad: Tensor) -> None:
    """One step in which nothing is sent."""
    encode(residual, name, grad, Option("drop"), torch.empty(0, dtype=torch.uint8))


def owed(residual: EF14, name: str) -> Tensor:
    found = residual.owed(name)
    assert found is not None
    return found.clone()


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_nothing_is_lost(option: Option) -> None:
    residual = EF14()
    old = torch.zeros(N)
    for step in range(4):
        grad = gradient(step)
        decoded = send(residual, "w", grad, option)
        residual.end_step(set())
        new = owed(residual, "w")
        assert torch.equal(new, (old + grad) - decoded)
        old = new
    sent_whole = option.operator == "float32"
    assert bool(old.any()) is not sent_whole


@pytest.mark.parametrize("option", OPTIONS, ids=str)
@pytest.mark.parametrize("undo", [None, {"w"}], ids=["void", "unused"])
def test_what_did_not_arrive_is_owed_again(option: Option, undo: set[str] | None) -> None:
    residual = EF14()
    send(residual, "w", gradient(0), option)
    residual.end_step(set())
    before = owed(residual, "w")
    decoded = send(residual, "w", gradient(1), option)
    after = owed(residual, "w")
    residual.end_step(undo)
    assert torch.equal(owed(residual, "w"), after + decoded)
    assert torch.allclose(owed(residual, "w"), before + gradient(1), rtol=1e-6, atol=1e-6)


def test_only_the_layers_that_are_named_are_taken_back() -> None:
    residual = EF14()
    option = Option("topk", 31, "float32")
    for name in ("a", "b"):
        send(residual, name, gradient(0), option)
    kept, taken = owed(residual, "a"), gradient(0)
    residual.end_step({"b", "never sent"})
    assert torch.equal(owed(residual, "a"), kept)
    assert torch.equal(owed(residual, "b"), taken)


def test_a_frame_is_taken_back_once() -> None:
    residual = EF14()
    send(residual, "w", gradient(0), Option("topk", 31, "float32"))
    residual.end_step(None)
    residual.end_step(None)
    assert torch.equal(owed(residual, "w"), gradient(0))


def test_two_frames_of_one_layer_are_both_taken_back() -> None:
    residual = EF14()
    option = Option("topk", 31, "float32")
    send(residual, "w", gradient(0), option)
    send(residual, "w", torch.zeros(N), option)
    residual.end_step(None)
    assert torch.equal(owed(residual, "w"), gradient(0))


def test_a_dropped_layer_owes_everything() -> None:
    residual = EF14()
    owe(residual, "w", gradient(0))
    residual.end_step(set())
    owe(residual, "w", gradient(1))
    residual.end_step(set())
    assert torch.equal(owed(residual, "w"), gradient(0) + gradient(1))
    assert residual.squared_norm() == pytest.approx(float((gradient(0) + gradient(1)).square().sum()))


def test_adding_does_not_change_the_gradient() -> None:
    residual = EF14()
    grad = gradient(0)
    owe(residual, "w", grad)
    owe(residual, "w", grad)
    assert torch.equal(grad, gradient(0))


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_looking_at_what_is_owed_changes_no_bit(option: Option) -> None:
    seen: list[Tensor] = []
    one, other = EF14(), EF14()
    room = [torch.zeros(wire_bytes((N,), option), dtype=torch.uint8) for _ in range(2)]
    for step in range(3):
        encode(one, "w", gradient(step), option, room[0], key=step)
        encode(other, "w", gradient(step), option, room[1], key=step, look=lambda _, o: seen.append(o.clone()))
        assert torch.equal(room[0], room[1])
        assert torch.equal(owed(one, "w"), owed(other, "w"))
    assert torch.equal(seen[0], gradient(0))


def test_low_rank_starts_from_the_frame_before_also_after_loading() -> None:
    option, shape = Option("lowrank", 1, "float32"), (28, 25)
    residual = EF14()
    frames = [torch.empty(wire_bytes(shape, option), dtype=torch.uint8) for _ in range(3)]
    encode(residual, "w", gradient(0), option, frames[0], shape=shape)
    resumed, cold = EF14(), EF14()
    resumed.load_state_dict(residual.state_dict())
    cold.load_state_dict({**residual.state_dict(), "warm_frames": {}})
    for one, frame in zip((residual, resumed, cold), frames, strict=True):
        encode(one, "w", gradient(1), option, frame, shape=shape, key=1)
    assert torch.equal(frames[0], frames[1])
    assert not torch.equal(frames[0], frames[2])


def test_flush_pays_everything_back() -> None:
    residual = EF14()
    owe(residual, "w", gradient(0))
    residual.end_step(set())
    grad = gradient(1)
    residual.flush("w", grad)
    assert torch.equal(grad, gradient(1) + gradient(0))
    assert torch.equal(owed(residual, "w"), gradient(0))  # until the step is known to be valid
    residual.end_step(set())
    assert residual.owed("w") is None
    assert residual.names() == []
    assert residual.squared_norm() == 0
    again = gradient(2)
    residual.flush("w", again)
    assert torch.equal(again, gradient(2))


@pytest.mark.parametrize("undo", [None, {"w"}], ids=["void", "unused"])
def test_a_flush_that_did_not_arrive_stays_owed(undo: set[str] | None) -> None:
    residual = EF14()
    owe(residual, "w", gradient(0))
    residual.end_step(set())
    residual.flush("w", gradient(1))
    residual.end_step(undo)
    assert torch.equal(owed(residual, "w"), gradient(0))


def test_after_a_flush_a_layer_starts_anew() -> None:
    residual = EF14()
    owe(residual, "w", gradient(0))
    residual.end_step(set())
    residual.flush("w", gradient(1))
    residual.end_step(set())
    owe(residual, "w", gradient(2))
    assert torch.equal(owed(residual, "w"), gradient(2))


def test_nothing_is_owed_at_first() -> None:
    residual = EF14()
    grad = gradient(0)
    residual.flush("w", grad)
    residual.end_step(None)
    assert torch.equal(grad, gradient(0))
    assert (residual.names(), residual.owed("w"), residual.squared_norm()) == ([], None, 0)


def through_a_file(state: dict[str, Tensor]) -> dict[str, Tensor]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Tensor] = torch.load(file, weights_only=True)
    return loaded


def test_a_resumed_run_goes_on_bit_for_bit() -> None:
    option = Option("topk", 31, "log4")
    residual, resumed = EF14(), EF14()
    owe(resumed, "of another run", gradient(9))
    for name in ("b.weight", "a.weight"):
        send(residual, name, gradient(0), option)
    residual.end_step(set())
    resumed.load_state_dict(through_a_file(residual.state_dict()))
    assert resumed.names() == residual.names() == ["a.weight", "b.weight"]
    assert resumed.squared_norm() == residual.squared_norm() > 0
    for step in range(1, 4):
        for name in residual.names():
            ours = send(residual, name, gradient(step), option)
            assert torch.equal(ours, send(resumed, name, gradient(step), option))
        residual.end_step(set())
        resumed.end_step(set())
    for name in residual.names():
        assert torch.equal(owed(residual, name), owed(resumed, name))


def test_a_state_dict_is_a_copy() -> None:
    residual = EF14()
    owe(residual, "w", gradient(0))
    state = residual.state_dict()
    owe(residual, "w", gradient(1))
    assert torch.equal(state["residual"]["w"], gradient(0))
    residual.load_state_dict(state)
    owe(residual, "w", gradient(1))
    assert torch.equal(state["residual"]["w"], gradient(0))


def test_loading_forgets_the_frames_of_a_step_under_way() -> None:
    residual = EF14()
    send(residual, "w", gradient(0), Option("topk", 31, "float32"))
    residual.load_state_dict({"residual": {"w": gradient(5)}})
    residual.end_step(None)
    assert torch.equal(owed(residual, "w"), gradient(5))


def test_layers_of_one_batch_are_taken_back_one_by_one() -> None:
    option = Option("topk", 31, "log4")
    together, apart = EF14(), EF14()
    batch = Batch([(N,), (N,), (N,)], [option] * 3)
    frames = torch.zeros(batch.wire_bytes, dtype=torch.uint8)
    names, gradients = ["a", "b", "c"], [gradient(seed) for seed in range(3)]
    together.encode(names, gradients, batch, frames, keys=[0, 0, 0])
    for i, name in enumerate(names):
        own = torch.zeros(wire_bytes((N,), option), dtype=torch.uint8)
        encode(apart, name, gradients[i], option, own)
        assert torch.equal(own, batch.part(frames, i))
    for residual in (together, apart):
        residual.end_step({"b"})
    for name in names:
        assert torch.equal(owed(together, name), owed(apart, name))
    assert torch.allclose(owed(together, "b"), gradients[1], rtol=1e-6, atol=1e-6)
