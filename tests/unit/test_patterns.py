"""Patterns of parameter names: what they match, which one holds, and what is refused in one line."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from kimad import Config, ConfigError, Fixed, Off, Progress
from kimad.patterns import MAX_WEIGHT, MIN_WEIGHT, by_name, matched

NAMES = ["conv1.weight", "conv1.bias", "norm.weight", "norm.bias", "router.gate.weight", "Router.weight", "head.weight"]


def refusal(**settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        Config(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.bias", ["conv1.bias", "norm.bias"]),
        ("router.*", ["router.gate.weight"]),
        ("*outer*", ["router.gate.weight", "Router.weight"]),
        ("conv?.weight", ["conv1.weight"]),
        ("[hn]*.weight", ["norm.weight", "head.weight"]),
        ("norm", []),
        ("*", NAMES),
    ],
)
def test_patterns_are_a_shells(pattern: str, names: list[str]) -> None:
    assert matched(pattern, NAMES) == names


def test_of_several_weights_the_last_match_holds() -> None:
    weight = by_name((), [("*", 2.0), ("norm.*", 5.0), ("*.bias", 0.5)], NAMES).weight
    assert weight["conv1.weight"] == 2
    assert weight["norm.weight"] == 5
    assert weight["norm.bias"] == weight["conv1.bias"] == 0.5
    again = Config(weight=(("*.bias", 0.5), ("norm.*", 5.0), ("*.bias", 3.0))).by_name(NAMES).weight
    assert again["norm.bias"] == again["conv1.bias"] == 3
    assert "head.weight" not in again


def test_all_dense_patterns_count() -> None:
    assert Config(dense=["*.bias", "norm.*"]).by_name(NAMES).dense == {"conv1.bias", "norm.bias", "norm.weight"}
    assert Config().by_name(NAMES).dense == set()
    assert Config().by_name(NAMES).weight == {}


def test_configs_are_hashed_and_compared() -> None:
    config = Config(dense=["*.bias"], weight={"router.*": 4, "head.*": 0.5})
    same = Config(dense=("*.bias",), weight=(("router.*", 4.0), ("head.*", 0.5)))
    assert config == same
    assert hash(config) == hash(same)
    assert repr(config.weight) == repr(same.weight) == "(('router.*', 4.0), ('head.*', 0.5))"
    assert repr(config.dense) == "('*.bias',)"
    assert config != dataclasses.replace(config, weight={"head.*": 0.5, "router.*": 4})  # their order counts
    assert dataclasses.replace(config, records=5).weight == config.weight
    assert copy.deepcopy(config) == config


def test_settings_are_no_view_of_what_was_given() -> None:
    dense, weight = ["*.bias"], {"router.*": 4.0}
    config = Config(dense=dense, weight=weight)
    dense.append("norm.*")
    weight["head.*"] = 2.0
    assert config == Config(dense=("*.bias",), weight={"router.*": 4.0})


@pytest.mark.parametrize("given", ["*.bias", None, 3, {"*.bias"}, {"*.bias": 1}, [3], [""], [None], (b"x",)])
def test_dense_is_a_tuple_of_patterns(given: object) -> None:
    assert refusal(dense=given).startswith("dense ")


@pytest.mark.parametrize("given", ["router=4", None, 3, ["router"], [("a", 1, 2)], {"": 1.0}, {3: 1.0}, {"a": None},
                                   {"a": "4"}, {"a": True}, {"a": 0}, {"a": -1}, {"a": float("nan")},
                                   {"a": float("inf")}, {"a": 10**400}, {"a": MAX_WEIGHT * 1.1},
                                   {"a": MIN_WEIGHT / 2}])  # fmt: skip
def test_weight_is_a_dict_of_positive_numbers(given: object) -> None:
    assert refusal(weight=given).startswith("weight ")


@pytest.mark.parametrize("settings", [{"dense": ("*.bais",)}, {"weight": {"*.bais": 2.0}}])
def test_a_pattern_without_a_match_is_named_with_what_there_is(settings: dict[str, object]) -> None:
    config = Config(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        config.by_name(NAMES)
    text = str(caught.value)
    assert text.startswith(f"{next(iter(settings))} pattern '*.bais' matches none of the 7 parameters")
    assert "norm.bias" in text
    assert "\n" not in text


def test_settings_without_an_effect_are_refused() -> None:
    assert "objective off" in refusal(objective=Off(), dense=("*",))
    for objective in (Off(), Fixed("int8")):
        assert refusal(objective=objective, weight={"*": 2.0}).startswith("weight is given")
    assert Config(Fixed("int8"), dense=("*.bias",)).dense == ("*.bias",)
    assert Config(Progress(), dense=("*.bias",), weight={"*": 2.0}).weight == (("*", 2.0),)
