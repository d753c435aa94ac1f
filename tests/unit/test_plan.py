"""Plans: message, digests, bytes; and the plans that need no forecast."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimad import AgreementError, Fixed
from kimad.compressors import ALL_COMPRESSORS, Option, wire_bytes
from kimad.layout import Layer, pack
from kimad.plan import (
    BFLOAT16,
    BUCKET_HEADER_BYTES,
    DROP,
    ENTRY,
    FLOAT32,
    HEAD,
    Plan,
    all_reduce_bytes,
    cold_start_plan,
    fixed_plan,
)

LAYERS = [Layer("conv.weight", (64, 3, 3, 3)), Layer("conv.bias", (64,)), Layer("scale", ()), Layer("empty", (0,))]
OPTIONS = [Option("topk", 17, "int8"), BFLOAT16, FLOAT32, DROP]
PLAN = Plan(7, dict(zip((la.name for la in LAYERS), OPTIONS, strict=True)))

shapes = st.lists(st.integers(1, 60), max_size=3).map(tuple)
world_sizes = st.integers(2, 4)


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Layer], Plan]:
    layers = [Layer(f"layer{i}.weight", shape) for i, shape in enumerate(draw(st.lists(shapes, max_size=8)))]
    options = {}
    for layer in layers:
        operator = draw(st.sampled_from(ALL_COMPRESSORS))
        least, most = {"entries": (0, layer.numel), "levels": (1, 127), "rank": (1, 9), "": (0, 0)}[operator.counts]
        threshold = draw(st.sampled_from([0.0, 0.25])) if operator.name == "threshold" else 0.0
        values = draw(st.sampled_from(operator.value_codes))
        options[layer.name] = Option(operator.name, draw(st.integers(least, most)), values, threshold)
    return layers, Plan(draw(st.integers(-(2**63), 2**63 - 1)), options)


@given(plans())
def test_message_there_and_back(drawn: tuple[list[Layer], Plan]) -> None:
    layers, plan = drawn
    message = plan.to_message()
    assert len(message) == Plan.message_bytes(len(layers))
    back = Plan.from_message(message, layers)
    assert back == plan
    assert back.digest() == plan.digest()


def entry(index: int, operator: int, values: int, k: int, threshold: float = 0.0) -> bytes:
    """PLAN's message with one layer's entry replaced."""
    message = bytearray(PLAN.to_message())
    ENTRY.pack_into(message, HEAD.size + index * ENTRY.size, operator, values, k, threshold)
    return bytes(message)


CODE = {c.name: c.code for c in ALL_COMPRESSORS}
BAD = {
    "nothing": b"",
    "a cut head": PLAN.to_message()[:5],
    "a cut entry": PLAN.to_message()[:-1],
    "a byte too much": PLAN.to_message() + b"\0",
    "another count": HEAD.pack(7, 3, 0) + PLAN.to_message()[HEAD.size :],
    "a layer less": HEAD.pack(7, 3, 0) + PLAN.to_message()[HEAD.size : -ENTRY.size],
    "k above n": entry(0, CODE["topk"], 0, LAYERS[0].numel + 1),
    "k of a dense operator": entry(1, CODE["bfloat16"], 0, 1),
    "an unknown value code": entry(0, CODE["topk"], 200, 1),
    "an unknown operator": entry(0, 201, 0, 0),
    "no levels": entry(0, CODE["qsgd"], 0, 0),
    "a rank of nothing": entry(0, CODE["lowrank"], 0, 0),
    "a threshold below zero": entry(0, CODE["threshold"], 0, 1, -1.0),
    "a threshold that is no number": entry(0, CODE["threshold"], 0, 1, float("nan")),
    "a threshold of another operator": entry(0, CODE["topk"], 0, 1, 1.0),
}


@pytest.mark.parametrize("what", BAD)
def test_messages_that_are_no_plan_of_these_layers(what: str) -> None:
    with pytest.raises(AgreementError) as caught:
        Plan.from_message(BAD[what], LAYERS)
    assert "\n" not in str(caught.value)


def test_a_message_of_another_model_is_refused() -> None:
    for layers in (LAYERS[:-1], [*LAYERS, Layer("more", (2,))], []):
        with pytest.raises(AgreementError, match=rf"has 4 layers in \d+ bytes; this rank's model has {len(layers)}"):
            Plan.from_message(PLAN.to_message(), layers)


def changed(name: str, option: Option) -> Plan:
    return Plan(PLAN.step, {**PLAN.options, name: option})


CHANGES = [
    ("conv.weight", Option("topk", 18, "int8")),
    ("conv.weight", Option("topk", 17, "log4")),
    ("conv.weight", FLOAT32),
    ("conv.weight", Option("qsgd", 7)),
    ("conv.weight", Option("threshold", 17, "int8", 0.5)),
    ("conv.bias", FLOAT32),
    ("scale", BFLOAT16),
    ("empty", FLOAT32),
]


@pytest.mark.parametrize(("name", "option"), CHANGES)
def test_digests_see_every_option_and_name_the_layer(name: str, option: Option) -> None:
    other = changed(name, option)
    assert other.digest() != PLAN.digest()
    differing = [
        layer.name
        for layer, ours, theirs in zip(LAYERS, PLAN.layer_digests(), other.layer_digests(), strict=True)
        if ours != theirs
    ]
    assert differing == [name]


def test_digests_see_the_step_and_fit_an_int64() -> None:
    later = Plan(8, PLAN.options)
    assert later.digest() != PLAN.digest()
    assert later.layer_digests() == PLAN.layer_digests()
    assert all(-(2**63) <= d < 2**63 for d in [PLAN.digest(), *PLAN.layer_digests()])


def test_layers_of_equal_options_have_digests_of_their_own() -> None:
    plan = Plan(0, {"a": FLOAT32, "b": FLOAT32})
    assert len(set(plan.layer_digests())) == 2


def test_modes_of_a_bucket() -> None:
    slots = pack(LAYERS)
    dense = dict.fromkeys((la.name for la in LAYERS), FLOAT32)
    assert Plan(0, dense).mode(slots) == "float32"
    assert Plan(0, dict.fromkeys(dense, BFLOAT16)).mode(slots) == "bfloat16"
    assert Plan(0, dict.fromkeys(dense, Option("int8"))).mode(slots) == "frames"
    assert Plan(0, dict.fromkeys(dense, DROP)).mode(slots) == "frames"
    assert Plan(0, dense | {"scale": BFLOAT16}).mode(slots) == "frames"
    assert PLAN.mode(slots[1:2]) == "bfloat16"


@given(plans(), world_sizes)
def test_wire_bytes_are_those_of_the_compressors(drawn: tuple[list[Layer], Plan], world_size: int) -> None:
    layers, plan = drawn
    slots = pack(layers)
    numel = sum(layer.numel for layer in layers)
    frames = sum(wire_bytes(layer.shape, plan.options[layer.name]) for layer in layers) + BUCKET_HEADER_BYTES
    expected = {
        "float32": 2 * (world_size - 1) * 4 * numel // world_size,
        "bfloat16": 2 * (world_size - 1) * 2 * numel // world_size,
        "frames": (world_size - 1) * frames,
    }[plan.mode(slots)]
    assert plan.wire_bytes(slots, world_size) == expected
    if plan.mode(slots) == "frames":
        assert plan.frame_bytes(slots) == frames


@given(st.lists(shapes, min_size=1, max_size=12), st.floats(1e-6, 1))
def test_a_fixed_density_keeps_so_many_of_every_layer(drawn: list[tuple[int, ...]], density: float) -> None:
    layers = [Layer(f"l{i}", shape) for i, shape in enumerate(drawn)]
    plan = fixed_plan(layers, Fixed("topk", density, "log4"), step=3)
    assert plan.step == 3
    assert list(plan.options) == [layer.name for layer in layers]
    for layer in layers:
        option = plan.options[layer.name]
        assert (option.operator, option.values) == ("topk", "log4")
        assert option.k == math.ceil(density * layer.numel)
        assert 1 <= option.k <= layer.numel


@pytest.mark.parametrize("operator", [c.name for c in ALL_COMPRESSORS if not c.counts])
def test_a_fixed_dense_option_is_everywhere_the_same(operator: str) -> None:
    assert set(fixed_plan(LAYERS, Fixed(operator)).options.values()) == {Option(operator)}


@pytest.mark.parametrize("fixed", [Fixed("qsgd", count=7), Fixed("lowrank", 1.0, "bfloat16", 3)])
def test_a_fixed_count_is_everywhere_the_same(fixed: Fixed) -> None:
    options = fixed_plan(LAYERS, fixed).options.values()
    assert set(options) == {Option(fixed.operator, fixed.count, fixed.values)}


def test_a_fixed_threshold_is_what_travels() -> None:
    plan = fixed_plan(LAYERS, Fixed("threshold", 0.1, "log4", 0, 0.1))
    assert plan.options["conv.weight"].threshold != 0.1, "a float32 number"
    assert Plan.from_message(plan.to_message(), LAYERS) == plan


def test_a_fixed_density_of_nothing() -> None:
    assert fixed_plan([Layer("empty", (0,))], Fixed("topk", 0.5, "log4")).options["empty"].k == 0


def step_bytes(plan: Plan, buckets: list[list[Layer]], world_size: int) -> int:
    return sum(plan.wire_bytes(pack(bucket), world_size) for bucket in buckets)


@settings(max_examples=80)
@given(
    st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=2).map(tuple), min_size=1, max_size=12),
    world_sizes, st.integers(2000, 1 << 20), st.integers(1, 5),
)  # fmt: skip
def test_a_cold_start_stays_within_its_budget(
    drawn: list[tuple[int, ...]], world_size: int, budget: int, bucket_layers: int
) -> None:
    """However DDP cuts the model into buckets."""
    layers = [Layer(f"l{i}", shape) for i, shape in enumerate(drawn)]
    plan = cold_start_plan(layers, budget, world_size)
    assert list(plan.options) == [layer.name for layer in layers]
    buckets = [layers[at : at + bucket_layers] for at in range(0, len(layers), bucket_layers)]
    assert step_bytes(plan, buckets, world_size) <= budget
    dense = all_reduce_bytes(4 * sum(layer.numel for layer in layers), world_size)
    assert (set(plan.options.values()) == {FLOAT32}) is (dense <= budget)


def test_a_cold_start_uses_its_budget() -> None:
    layers = [Layer(f"l{i}", (256, 256, 3, 3)) for i in range(20)] + [Layer("bias", (256,))]
    for world_size in (2, 3, 4):
        spent = step_bytes(cold_start_plan(layers, 4 << 20, world_size), [layers], world_size)
        assert 0.75 * (4 << 20) < spent <= 4 << 20


def test_a_cold_start_within_next_to_nothing() -> None:
    plan = cold_start_plan(LAYERS, BUCKET_HEADER_BYTES, 2)
    assert set(plan.options.values()) == {DROP}
    assert step_bytes(plan, [LAYERS], 2) == BUCKET_HEADER_BYTES


def test_a_cold_start_always_sends_something_that_can_be_measured() -> None:
    layers = [Layer(f"layer{i}", (500,)) for i in range(3000)] + [Layer("large", (2_000_000,))]
    plan = cold_start_plan(layers, 4 << 20, 64)
    assert plan.options["large"].operator == "topk"
    assert step_bytes(plan, [layers], 64) <= 4 << 20
