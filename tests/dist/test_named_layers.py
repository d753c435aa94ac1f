"""Layers by name in a real run: dense ones whole in every step, settings agreed by all ranks, wrong patterns refused."""

from __future__ import annotations

from typing import Any

import pytest

import kimad
from tests.dist.ranks import Ranks
from tests.dist.training import Zoo, same_on_all_ranks, train, wrap

PATTERNS = ("*.bias", "wide.weight", "scalar")
STEPS = 25


def trained(rank: int, objective: str, cold_start_bytes: int) -> list[dict[str, str]]:
    """The codec of every layer in every step."""
    model = wrap(Zoo())
    config = kimad.Config(kimad.parse_objective(objective), dense=PATTERNS, cold_start_bytes=cold_start_bytes)
    state = kimad.attach(model, config)
    train(model, rank, STEPS)
    assert same_on_all_ranks(model)
    records = state.records
    state.close()
    return [{layer.name: layer.codec for layer in record.layers} for record in records]


@pytest.mark.parametrize(
    "objective", ["progress", "step-time:0.001", "error-bound:0.5", "fixed:topk:0.01", "fixed:int8"]
)
def test_dense_layers_travel_whole_in_every_step(two_ranks: Ranks, objective: str) -> None:
    first, second = two_ranks.run(trained, objective, 20_000)
    assert first == second
    assert len(first) == STEPS
    for codecs in first:
        named = {codec for name, codec in codecs.items() if name.endswith(".bias") or name in ("wide.weight", "scalar")}
        assert named <= {"float32", "bfloat16"}, codecs
    others = {codecs["first.weight"] for codecs in first}
    assert others - {"float32", "bfloat16"}, "others are compressed"


def refused(rank: int, settings: dict[str, Any]) -> str:
    with pytest.raises(kimad.ConfigError) as caught:
        kimad.attach(wrap(Zoo()), kimad.Config(**settings))
    model, state = wrap(Zoo()), kimad.State(kimad.Config(**settings))
    model.register_comm_hook(state, kimad.hook)
    with pytest.raises(kimad.ConfigError, match="matches none of"):
        train(model, rank, 1)
    state.close()
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dense": ("*.bias", "frozen.*")}, "dense pattern 'frozen.*' matches none of the 14 parameters"),
        ({"weight": {"convolutoin.*": 2.0}}, "convolution.weight"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_at_attach(
    two_ranks: Ranks, settings: dict[str, Any], said: str
) -> None:
    for text in two_ranks.run(refused, settings):
        assert said in text
        assert "\n" not in text


def settings_of_rank(rank: int, changes: dict[str, Any]) -> str:
    with pytest.raises(kimad.AgreementError) as caught:
        kimad.attach(wrap(Zoo()), kimad.Config(outage_timeout_s=20, **(changes if rank else {})))
    return str(caught.value)


@pytest.mark.parametrize("changes", [{"dense": ("*.bias",)}, {"weight": {"*": 2.0}}, {"max_owed_factor": 7.0}])
def test_names_that_differ_between_ranks_are_an_error(two_ranks: Ranks, changes: dict[str, Any]) -> None:
    for text in two_ranks.run(settings_of_rank, changes):
        assert text.startswith(f"{next(iter(changes))} differs between rank 1 and rank 0")


def same_settings(rank: int) -> bool:
    """Given in different forms, they are the same settings."""
    config = (
        kimad.Config(dense=["*.bias"], weight={"*": 2})
        if rank
        else kimad.Config(dense=("*.bias",), weight=[("*", 2.0)])
    )
    state = kimad.attach(wrap(Zoo()), config)
    state.close()
    return True


def test_forms_of_the_same_settings_agree(two_ranks: Ranks) -> None:
    assert two_ranks.run(same_settings) == [True, True]


def readings(rank: int) -> list[float]:
    """Energy of what is owed over that of the gradient, of every layer at the first reading: nothing is owed before."""
    model = wrap(Zoo())
    state = kimad.attach(model, kimad.Config(kimad.Progress(), cold_start_bytes=20_000))
    loop = state.loop
    found: list[float] = []
    gather = loop._gather_curves

    def watched(log: Any) -> Any:
        table = gather(log)
        if not found:
            found.extend(float(row[-1] / row[-2]) for row in table if row[-2] > 0)
        return table

    loop._gather_curves = watched  # type: ignore[method-assign]
    train(model, rank, 2)
    state.close()
    return found


def test_the_gradients_energy_is_read_with_the_curves(two_ranks: Ranks) -> None:
    first, second = two_ranks.run(readings)
    assert first == second
    assert len(first) >= 10
    assert first == pytest.approx([1.0] * len(first), rel=1e-5)
