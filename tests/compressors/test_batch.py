"""Many layers in one call: bytes, residuals and sums of one call a layer, and errors that tell the layer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kimad.compressors import (
    ALL_COMPRESSORS,
    Batch,
    FrameError,
    NonFiniteError,
    Option,
    OptionError,
    TensorError,
    batch,
    decode,
    encode,
    encode_owed,
)
from tests.compressors.cases import BUILT, DERANDOMIZED, KINDS, numpy_alone, options, sample

pytestmark = pytest.mark.torch

NUMELS = (0, 1, 2, 127, 128, 129, 256, 1021, 4096, 4097, 9973)
FAST = [Option("drop"), Option("topk", 9, "log4"), Option("int8"), Option("int4"), Option("bfloat16")]


@st.composite
def layers(draw: st.DrawFn) -> list[tuple[Option, str, int]]:
    """Option, kind of values, and seed, of up to a dozen layers."""
    found = []
    for _ in range(draw(st.integers(1, 12))):
        n = draw(st.sampled_from(NUMELS))
        # what is sent most comes most often
        operators = st.sampled_from([c for c in ALL_COMPRESSORS if c.name in ("topk", "int8", "int4", "bfloat16")])
        operator = draw(st.one_of(operators, st.sampled_from(ALL_COMPRESSORS)))
        option = draw(st.sampled_from(options(operator, n)))
        found.append((option, draw(st.sampled_from(sorted(set(KINDS) - {"largest"}))), n))
    return found


def one_by_one(many: Batch, owed: list[Tensor], gradients: list[Tensor], targets: list[Tensor], keys: list[int],
               scales: list[float]) -> Tensor:  # fmt: skip
    frames = torch.full((many.wire_bytes,), 0xA5, dtype=torch.uint8)
    for i, option in enumerate(many.options):
        part = many.part(frames, i)
        encode_owed(owed[i], gradients[i], option, part, shape=many.shapes[i], key=keys[i])
        decode(part, targets[i], scales[i])
    return frames


@DERANDOMIZED
@given(layers(), st.integers(0, 2**20))
def test_the_same_as_one_call_a_layer(found: list[tuple[Option, str, int]], seed: int) -> None:
    many = Batch([(n,) for _, _, n in found], [option for option, _, _ in found])
    keys = [seed + i for i in range(len(found))]
    scales = [0.3 + i for i in range(len(found))]

    def tensors(shift: int) -> list[Tensor]:
        return [sample(kind, n, seed + 100 * i + shift) for i, (_, kind, n) in enumerate(found)]

    owed, gradients, targets = tensors(0), tensors(1), [torch.full((n,), 0.125) for _, _, n in found]
    expected = one_by_one(many, owed, gradients, targets, keys, scales)
    for compiled in (True, False):
        mine, sums = tensors(0), [torch.full((n,), 0.125) for _, _, n in found]
        room = torch.zeros(many.wire_bytes + 3, dtype=torch.uint8)

        def work(mine: list[Tensor] = mine, sums: list[Tensor] = sums, room: Tensor = room) -> None:
            many.encode(mine, room, gradients=gradients, keys=keys)
            many.decode(room[: many.wire_bytes], sums, scales)

        if compiled:
            work()
        else:
            with numpy_alone():
                work()
        assert torch.equal(room[: many.wire_bytes], expected)
        assert not room[many.wire_bytes :].any()
        for a, b in zip([*mine, *sums], [*owed, *targets], strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


def test_values_stay_as_they_are_without_gradients() -> None:
    many = Batch([(700,)] * len(FAST), FAST)
    values = [sample("heavy", 700, i) for i in range(len(FAST))]
    before = [v.clone() for v in values]
    frames = torch.zeros(many.wire_bytes, dtype=torch.uint8)
    many.encode(values, frames)
    for i, option in enumerate(FAST):
        own = torch.zeros_like(many.part(frames, i))
        encode(before[i], option, own)
        assert torch.equal(own, many.part(frames, i))
        assert torch.equal(values[i], before[i])


@BUILT
def test_what_is_sent_most_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Batch([(700,)] * len(FAST), FAST)
    frames = torch.zeros(many.wire_bytes, dtype=torch.uint8)
    values, targets = ([torch.ones(700) for _ in FAST] for _ in range(2))
    for name in ("encode", "encode_owed", "decode"):
        monkeypatch.setattr(batch, name, None)
    many.encode(values, frames, gradients=targets)
    many.decode(frames, targets, [1.0] * len(FAST))


@pytest.mark.parametrize("layer", range(1, len(FAST)))  # of a dropped one nothing is sent
def test_the_layer_whose_values_are_not_finite_is_told(layer: int) -> None:
    many = Batch([(700,)] * len(FAST), FAST)
    values = [torch.ones(700) for _ in FAST]
    values[layer][333] = float("nan")
    with pytest.raises(NonFiniteError, match="700 values") as caught:
        many.encode(values, torch.zeros(many.wire_bytes, dtype=torch.uint8))
    assert caught.value.layer == layer


@pytest.mark.parametrize("layer", range(1, len(FAST)))
def test_the_layer_whose_frame_is_damaged_is_told_and_nothing_is_added_from_there_on(layer: int) -> None:
    many = Batch([(700,)] * len(FAST), FAST)
    frames = torch.zeros(many.wire_bytes, dtype=torch.uint8)
    many.encode([torch.ones(700) for _ in FAST], frames)
    many.part(frames, layer)[0] = 0
    targets = [torch.zeros(700) for _ in FAST]
    with pytest.raises(FrameError, match="starts with") as caught:
        many.decode(frames, targets, [1.0] * len(FAST))
    assert caught.value.layer == layer
    for i, target in enumerate(targets):
        assert bool(target.any()) is (i < layer and FAST[i].operator != "drop")


def test_a_frame_that_compiled_code_does_not_know_is_added_between_others() -> None:
    """As `decode` does, whatever was agreed; such a frame is only slower."""
    many = Batch([(700,)] * 3, [Option("topk", 9, "log4")] * 3)
    frames = torch.zeros(many.wire_bytes, dtype=torch.uint8)
    many.encode([sample("heavy", 700, i) for i in range(3)], frames)
    part = torch.zeros_like(many.part(frames, 1))
    encode(sample("normal", 700, 7), Option("topk", 1, "int8"), part)
    many.part(frames, 1).copy_(part)
    targets, expected = [torch.zeros(700) for _ in range(3)], torch.zeros(700)
    many.decode(frames, targets, [1.0] * 3)
    decode(part, expected)
    assert torch.equal(targets[1], expected)
    assert [int((target != 0).sum()) for target in targets] == [9, 1, 9]


def test_tensors_that_do_not_fit_are_refused() -> None:
    many = Batch([(700,), (300,)], [Option("int8"), Option("bfloat16")])
    frames = torch.zeros(many.wire_bytes, dtype=torch.uint8)
    good = [torch.zeros(700), torch.zeros(300)]
    with pytest.raises(TensorError, match="1 values for a batch of 2 layers"):
        many.encode(good[:1], frames)
    with pytest.raises(TensorError, match="3 scales for a batch of 2 layers"):
        many.decode(frames, good, [1.0] * 3)
    with pytest.raises(TensorError, match=f"out has {many.wire_bytes - 1} bytes"):
        many.encode(good, frames[1:])
    with pytest.raises(FrameError, match="announces"):
        many.decode(frames[1:], good, [1.0, 1.0])
    for bad, words in ((torch.zeros(300, dtype=torch.float64), "float64"), (torch.zeros(600)[::2], "non-contiguous")):
        with pytest.raises(TensorError, match=words) as caught:
            many.encode([good[0], bad], frames)
        assert caught.value.layer == 1
    with pytest.raises(TensorError, match="values has 299 entries"):
        many.encode([good[0], torch.zeros(299)], frames)
    with pytest.raises(OptionError, match="must be from 0"):
        Batch([(5,)], [Option("topk", 6, "log4")])
    with pytest.raises(ValueError, match="shorter"):
        Batch([(5,), (6,)], [Option("int8")])


def test_a_batch_of_nothing() -> None:
    nothing = Batch([], [])
    frames = torch.zeros(0, dtype=torch.uint8)
    nothing.encode([], frames)
    nothing.decode(frames, [], [])
    assert nothing.wire_bytes == 0
