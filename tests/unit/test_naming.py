"""Names as they are typed, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimad import ConfigError, ErrorBound, Fixed, Objective, Off, Overlap, Progress, StepTime, parse_objective
from kimad.compressors import ALL_COMPRESSORS
from kimad.naming import OBJECTIVE_ALIASES, OPERATOR_ALIASES

positive = st.floats(1e-9, 1e9)
share = st.floats(1e-9, 1, exclude_max=True)
dense = [c.name for c in ALL_COMPRESSORS if not c.counts]
sparse = [(c.name, values) for c in ALL_COMPRESSORS if c.sparse and c.name != "threshold"
          for values in c.value_codes]  # fmt: skip
objectives = st.one_of(
    st.builds(StepTime, positive),
    st.builds(Overlap, st.floats(0, 1e6)),
    st.builds(ErrorBound, share),
    st.builds(Progress, positive),
    st.builds(Fixed, st.sampled_from(dense)),
    st.builds(lambda name, d: Fixed(name[0], d, name[1]), st.sampled_from(sparse), share),
    st.builds(lambda d, tau, v: Fixed("threshold", d, v, 0, tau), share, positive, st.sampled_from(["log4", "sign"])),
    st.builds(lambda levels: Fixed("qsgd", count=levels), st.integers(1, 127)),
    st.builds(
        lambda rank, v: Fixed("lowrank", 1.0, v, rank), st.integers(1, 64), st.sampled_from(["float32", "bfloat16"])
    ),
    st.just(Off()),
)


@given(objectives)
def test_text_and_back(objective: Objective) -> None:
    assert parse_objective(str(objective)) == objective


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("progress", Progress()),
        ("kimad", Progress()),
        (" Progress ", Progress()),
        ("progress:0.7", Progress(0.7)),
        ("step-time:0.5", StepTime(0.5)),
        ("overlap", Overlap(0.0)),
        ("overlap:0.25", Overlap(0.25)),
        ("error-bound:1e-2", ErrorBound(0.01)),
        ("off", Off()),
        ("ddp", Off()),
        ("DDP", Off()),
        ("none", Off()),
        ("bf16", Fixed("bfloat16")),
        ("bfloat16", Fixed("bfloat16")),
        ("int8", Fixed("int8")),
        ("fixed:bf16", Fixed("bfloat16")),
        ("fixed:dense", Fixed("float32")),
        ("fixed:fp32", Fixed("float32")),
        ("fixed:drop", Fixed("drop")),
        ("fixed:topk:0.01", Fixed("topk", 0.01, "log4")),
        ("fixed:top-k:0.01:int8", Fixed("topk", 0.01, "int8")),
        ("fixed:topk:1:float32", Fixed("topk", 1.0, "float32")),
        ("fixed:random-k:0.1:sign", Fixed("randomk", 0.1, "sign")),
        ("fixed:threshold:1e-3:0.1", Fixed("threshold", 0.1, "log4", 0, 1e-3)),
        ("fixed:qsgd:7", Fixed("qsgd", count=7)),
        ("fixed:powersgd:4", Fixed("lowrank", 1.0, "float32", 4)),
        ("fixed:lowrank:2:bfloat16", Fixed("lowrank", 1.0, "bfloat16", 2)),
        ("fixed:int4-stochastic", Fixed("int4-stochastic")),
    ],
)
def test_forms_and_aliases(text: str, expected: Objective) -> None:
    assert parse_objective(text) == expected


def test_every_alias_leads_somewhere() -> None:
    for alias, name in OBJECTIVE_ALIASES.items():
        assert parse_objective(alias) == parse_objective(name)
    for alias, name in OPERATOR_ALIASES.items():
        tail = ":0.1" if name in dict(sparse) else ":4" if name == "lowrank" else ""
        assert parse_objective(f"fixed:{alias}{tail}") == parse_objective(f"fixed:{name}{tail}")


@pytest.mark.parametrize(
    "text",
    [
        "", "fast", "progress:", "progress:x", "progress:0", "progress:1:2", "step-time", "step-time:",
        "step-time:soon", "step-time:nan", "step-time:inf", "step-time:-1", "step-time:0", "step-time:1:2",
        "overlap:-0.1", "overlap:nan", "error-bound", "error-bound:0", "error-bound:1", "error-bound:-inf",
        "error-bound:0.1:0.1", "off:1", "ddp:1", "fixed", "fixed:", "fixed:zip", "fixed:int8:0.1", "fixed:topk",
        "fixed:topk:", "fixed:topk:many", "fixed:topk:0", "fixed:topk:1.5", "fixed:topk:nan", "fixed:topk:-0.1",
        "fixed:topk:0.1:", "fixed:topk:0.1:log5", "fixed:topk:0.1:log4:9",
        "fixed:qsgd", "fixed:qsgd:0", "fixed:qsgd:128", "fixed:qsgd:1.5", "fixed:lowrank:0", "fixed:lowrank:4:int8",
        "fixed:threshold:0.1", "fixed:threshold:-1:0.1", "fixed:threshold:nan:0.1", "step-time:\n1:\n", "two\nlines",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_objective(text)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize(
    ("text", "says"), [("fast", "step-time:SECONDS"), ("fixed:zip", "topk"), ("fixed:topk", "log4")]
)
def test_a_refusal_says_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_objective(text)
