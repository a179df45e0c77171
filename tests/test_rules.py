"""Rules for parts of a net: which array gets what, what is frozen, how they show, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from conftest import assert_same, linear_batch, values_of
from optimizer_cases import EVERY, small_batch, small_plan

import mxtrainer as mxt
from mxtrainer.engine.optimizers import Optimizer
from mxtrainer.engine.rules import Settings, matching
from mxtrainer.executors.bound import Bound
from mxtrainer.values import from_data, to_data

PLAN = small_plan()
Rule = mxt.Rule


def rules_of(*rules: tuple[str, Rule], plan: mxt.Plan = PLAN, **fields: Any) -> dict[str, Settings]:
    return dict(mxt.Trainer(plan, mxt.Adam(rules=rules, **fields), batch_size=3).rules)


def nested_plan() -> mxt.Plan:
    inner = mxt.NetChain([mxt.Linear(3), mxt.Linear(2)], inputs={"Input": mxt.Vector(2)})
    net = mxt.NetGraph(
        {"encoder": inner, "linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "encoder", "linear", "loss", "Loss")],
        inputs={"Input": mxt.Vector(2)},
    )
    return mxt.compile_plan(net)


# Which array gets what


def test_the_first_rule_that_matches_and_says_something_counts_setting_by_setting() -> None:
    found = rules_of(
        ("lstm.StateWeights", Rule(learning_rate_multiplier=0.5)),
        ("lstm", Rule(weight_decay=0.0, clip_gradient=2.0)),
        ("*Weights", Rule(learning_rate_multiplier=3.0, weight_decay=0.3, clip_weights=math.inf)),
        ("*", Rule(clip_weights=9.0)),
        weight_decay=0.1,
        clip_weights=5.0,
    )
    assert found["lstm.StateWeights"] == Settings(0.5, 0.0, 2.0, math.inf)
    assert found["lstm.InputWeights"] == Settings(3.0, 0.0, 2.0, math.inf)
    assert found["lstm.InputBiases"] == Settings(1.0, 0.0, 2.0, 9.0)
    assert found["linear.Weights"] == Settings(3.0, 0.3, math.inf, math.inf)
    assert found["other.Biases"] == Settings(1.0, 0.1, math.inf, 9.0)


def test_a_multiplier_of_0_freezes_only_where_it_counts() -> None:
    found = rules_of(("linear", Rule(learning_rate_multiplier=0.5)), ("*", Rule(learning_rate_multiplier=0.0)))
    assert found["linear.Weights"] == Settings(0.5)
    assert found["lstm.InputBiases"].frozen
    found = rules_of(("linear.Biases", Rule(frozen=False)), ("linear", Rule(frozen=True)))
    assert (found["linear.Biases"].frozen, found["linear.Weights"].frozen) == (False, True)
    found = rules_of(("linear", Rule(learning_rate_multiplier=0.0, frozen=False)))
    assert found["linear.Weights"] == Settings(0.0, frozen=False)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("linear", ["linear.Weights", "linear.Biases"]),
        ("encoder", ["encoder.linear.Weights", "encoder.linear.Biases", "encoder.linear_2.Weights",
                     "encoder.linear_2.Biases"]),
        ("encoder.linear", ["encoder.linear.Weights", "encoder.linear.Biases"]),
        ("*.Biases", ["encoder.linear.Biases", "encoder.linear_2.Biases", "linear.Biases"]),
        ("encoder.*_2", ["encoder.linear_2.Weights", "encoder.linear_2.Biases"]),
        ("linear.Weights", ["linear.Weights"]),
        ("*linear.W*", ["encoder.linear.Weights", "linear.Weights"]),
        ("[el]*.linear.?iases", ["encoder.linear.Biases"]),
        ("lin", []),
        ("Weights", []),
        ("LINEAR", []),
    ],
)  # fmt: skip
def test_patterns_are_globs_on_whole_paths_or_what_is_above(pattern: str, expected: list[str]) -> None:
    plan = nested_plan()
    assert matching(pattern, plan.parameters) == expected
    if expected and len(expected) < len(plan.parameters):
        found = rules_of((pattern, Rule(frozen=True)), plan=plan)
        assert [path for path, settings in found.items() if settings.frozen] == expected


def test_a_pattern_that_matches_nothing_is_told_with_what_is_near() -> None:
    with pytest.raises(mxt.ArgumentError, match=r'"lsmt" matches no array; did you mean "lstm"\?.*linear\.Biases'):
        rules_of(("linear", Rule()), ("lsmt", Rule(frozen=True)))
    with pytest.raises(mxt.ArgumentError, match=r'"linear\.Bias" matches no array.*"linear\.Biases"'):
        rules_of(("linear.Bias", Rule(frozen=True)))
    trainer = mxt.Trainer(PLAN, mxt.SGD(0.1, rules=(("other", Rule(frozen=True)),)), batch_size=3)
    with pytest.raises(mxt.ArgumentError, match=r'only: the pattern "lstn" matches no array.*"lstm"'):
        trainer.update(small_batch(1), only="lstn")
    with pytest.raises(mxt.ArgumentError, match=r'only: the rules of the optimizer freeze all arrays.*"other"'):
        trainer.update(small_batch(1), only=["lstm", "other"])
    with pytest.raises(mxt.ArgumentError, match="only: there must be at least one"):
        trainer.update(small_batch(1), only=[])
    with pytest.raises(mxt.ArgumentError, match="only must be a list of names"):
        trainer.update(small_batch(1), only=3)  # type: ignore[arg-type]
    assert trainer.step == 0


# Frozen


def trained(plan: mxt.Plan, optimizer: Optimizer, **options: Any) -> mxt.Trainer:
    trainer = mxt.Trainer(plan, optimizer, batch_size=3, **options)
    for number in range(4):
        trainer.update(small_batch(number))
    trainer.current_loss()
    return trainer


@pytest.mark.parametrize(
    "frozen",
    [
        "lstm",
        "other",
        "linear",
        "lstm.InputWeights",
        "lstm.StateWeights",
        "lstm.*Biases",
        "lstm.StateBiases",
        "*Biases",
    ],
)
@pytest.mark.parametrize("rule", [Rule(frozen=True), Rule(learning_rate_multiplier=0.0)], ids=repr)
def test_what_is_frozen_moves_by_no_bit_and_has_no_gradient(frozen: str, rule: Rule) -> None:
    free, optimizer = mxt.Adam(0.01, weight_decay=0.1), mxt.Adam(0.01, weight_decay=0.1, rules=((frozen, rule),))
    trainer = trained(PLAN, optimizer)
    start = values_of(mxt.Trainer(PLAN, optimizer, batch_size=3).arrays)
    still = matching(frozen, PLAN.parameters)
    moving = [path for path in PLAN.parameters if path not in still]
    after = values_of(trainer.arrays)
    assert_same({path: start[path] for path in still}, {path: after[path] for path in still})
    assert all(not np.array_equal(start[path], after[path]) for path in moving)
    assert list(trainer.gradients) == list(trainer.store.gradients.specs) == moving
    assert trainer.store.gradients.bytes < trained(PLAN, free).store.gradients.bytes
    last = trainer.buckets.last
    assert isinstance(last, Bound)
    raw = last.raw
    bound = {name: array for name, array in zip(raw._symbol.list_arguments(), raw.grad_arrays) if array is not None}
    paths = [path for name, paths in last._lowered.arrays.items() if name in bound for path in paths]
    assert sorted(paths) == sorted(moving)
    with pytest.raises(mxt.UnknownNameError):
        _ = trainer.gradients[still[0]]


def test_what_is_not_frozen_moves_as_if_the_rest_were_only_left_out() -> None:
    frozen = trained(PLAN, mxt.Adam(0.01, rules=(("lstm.InputWeights", Rule(frozen=True)),)))
    twin = mxt.Trainer(PLAN, mxt.Adam(0.01), batch_size=3)
    others = [path for path in PLAN.parameters if path != "lstm.InputWeights"]
    for number in range(4):
        twin.update(small_batch(number), only=others)
    for path, array in values_of(frozen.arrays).items():
        np.testing.assert_allclose(array, twin.arrays[path][:], rtol=1e-5, atol=1e-7)


def test_a_shared_array_is_frozen_for_all_that_use_it() -> None:
    net = mxt.NetGraph(
        {"left": mxt.LSTM(2), "right": mxt.LSTM(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "left", "right", "loss", "Loss")],
        inputs={"Input": mxt.Sequence("t", mxt.Vector(2))},
        share={"right.StateWeights": "left.StateWeights"},
    )
    trainer = trained(mxt.compile_plan(net), mxt.SGD(0.1, rules=(("left", Rule(frozen=True)),)))
    start = values_of(mxt.Trainer(trainer.plan, mxt.SGD(0.1), batch_size=3).arrays)
    moved = [path for path, array in values_of(trainer.arrays).items() if not np.array_equal(array, start[path])]
    assert moved == ["right.InputWeights", "right.InputBiases", "right.StateBiases"] == list(trainer.gradients)


def test_evaluation_and_the_net_see_what_is_frozen_as_it_is() -> None:
    trainer = trained(PLAN, mxt.SGD(0.1, rules=(("other", Rule(frozen=True)),)))
    again = mxt.Trainer(PLAN, mxt.SGD(0.1), batch_size=3, arrays=trainer.net())
    batch = small_batch(9)
    assert again.evaluate(batch).losses == trainer.evaluate(batch).losses


def test_where_all_is_frozen_there_is_nothing_to_train() -> None:
    with pytest.raises(mxt.NetError, match="freeze all arrays, so there is nothing to train"):
        rules_of(("*", Rule(frozen=True)))


def test_a_failed_step_of_a_net_with_frozen_arrays_is_gone_back_from() -> None:
    trainer = trained(PLAN, mxt.Adam(0.1, rules=(("lstm.InputWeights", Rule(frozen=True)),)), guard=2)
    before = values_of(trainer.arrays)
    trainer.update({**small_batch(1), "Input": np.full((3, 4, 2), np.nan)})
    trainer.update(small_batch(2))
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    trainer.recover()
    assert_same(values_of(trainer.arrays), before)


# How they show


def test_the_table_shows_what_each_array_gets() -> None:
    rules = ("other", Rule(frozen=True)), ("linear", Rule(learning_rate_multiplier=0.5, clip_gradient=1.0))
    trainer = mxt.Trainer(PLAN, mxt.Adam(weight_decay=0.01, rules=rules), batch_size=3)
    lines = [line.split() for line in str(trainer.rules).splitlines()]
    assert lines[0] == ["array", "multiplier", "decay", "clip", "gradient", "clip", "weights"]
    assert ["other.Weights", "frozen", "-", "-", "-"] in lines
    assert ["linear.Biases", "0.5", "0.01", "1", "-"] in lines
    assert ["lstm.StateBiases", "1", "0.01", "-", "-"] in lines
    assert list(trainer.rules) == list(PLAN.parameters)
    with pytest.raises(mxt.UnknownNameError, match=r'"linear.Bias".*did you mean "linear.Biases"'):
        _ = trainer.rules["linear.Bias"]


BY_PATTERN: Any = {"a": Rule(weight_decay=0.0), "b": Rule(clip_gradient=2.0, clip_weights=1)}
OPTIMIZERS = [
    *EVERY.values(),
    mxt.Adam(
        mxt.schedules.cosine(1e-3, warmup=10),
        clip_norm=1.0,
        rules=(
            ("lstm", Rule(0.5)),
            ("*", Rule(frozen=True)),
        ),
    ),
    mxt.LAMB(mxt.schedules.polynomial(0.1), weight_decay=0.0, clip_gradient=0.5, clip_weights=2.0),
    mxt.SGD(rules=BY_PATTERN),
    mxt.SGD(mxt.schedules.piecewise({1: 0.1, 5: 0.01}), rules=(("*", Rule(learning_rate_multiplier=0.0)),)),
    mxt.RMSProp(rules=(("*", Rule(clip_weights=3.0)),), clip_norm=2),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_an_optimizer_goes_through_json_and_shows_as_it_is_written(optimizer: Optimizer) -> None:
    assert from_data(to_data(optimizer)) == optimizer
    names = {**vars(mxt), **vars(mxt.schedules)}
    assert eval(repr(optimizer), names) == optimizer  # noqa: S307 - its own text
    assert hash(from_data(to_data(optimizer))) == hash(optimizer)
    assert dataclasses.replace(optimizer) == optimizer


# What is refused

BAD: tuple[Any, ...] = (math.nan, True, "1", [1.0])
KINDS = (mxt.SGD, mxt.Adam, mxt.AdamW, mxt.LAMB, mxt.RMSProp, mxt.SignSGD, mxt.Adagrad)
OWN = {
    mxt.SGD: ["momentum"],
    mxt.Adam: ["beta1", "beta2", "epsilon"],
    mxt.AdamW: ["beta1", "beta2", "epsilon"],
    mxt.LAMB: ["beta1", "beta2", "epsilon"],
    mxt.RMSProp: ["beta", "epsilon", "momentum"],
    mxt.SignSGD: ["momentum"],
    mxt.Adagrad: ["epsilon"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_out_of_range_are_refused_with_the_name_of_their_field(kind: Any) -> None:
    common = ["learning_rate", "weight_decay", "clip_norm", "clip_gradient", "clip_weights"]
    wrong = dict.fromkeys((*common, *OWN[kind]), (-1.0, *BAD))
    for field in wrong:
        wrong[field] += () if field in {"clip_gradient", "clip_weights"} else (math.inf,)
        wrong[field] += (0.0,) if field.startswith("clip") or field == "epsilon" else ()
        wrong[field] += (1.0,) if field in {"beta", "beta1", "beta2", "momentum"} else ()
        wrong[field] += (None,) if field in {"weight_decay", "learning_rate"} else ()
    for field, values in wrong.items():
        for value in values:
            with pytest.raises(mxt.ArgumentError, match=rf"{kind.__name__}: {field}\b"):
                kind(**{field: value})
    with pytest.raises(mxt.ArgumentError, match=rf"{kind.__name__} takes only the learning rate without a name"):
        kind(0.1, 0.9)


@pytest.mark.parametrize(
    "field", ["learning_rate_multiplier", "weight_decay", "clip_gradient", "clip_weights", "frozen"]
)
def test_a_rules_numbers_are_checked_alike(field: str) -> None:
    wrong: tuple[Any, ...] = BAD if field != "frozen" else (1, 0, 1.0, "yes", [True])
    wrong += (-1.0, -math.inf) if field not in {"learning_rate_multiplier", "frozen"} else ()
    wrong += (math.inf,) if field in {"learning_rate_multiplier", "weight_decay"} else ()
    wrong += (0.0,) if field.startswith("clip") else ()
    for value in wrong:
        with pytest.raises(mxt.ArgumentError, match=f"Rule: {field}"):
            Rule(**{field: value})


@pytest.mark.parametrize("flag", [1, 0, "yes", None])
def test_flags_are_booleans(flag: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="SGD: nesterov"):
        mxt.SGD(momentum=0.9, nesterov=flag)
    with pytest.raises(mxt.ArgumentError, match="RMSProp: centred"):
        mxt.RMSProp(centred=flag)


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(mxt.ArgumentError, match="nesterov=True needs a momentum"):
        mxt.SGD(nesterov=True)


@pytest.mark.parametrize(
    "rules", ["lstm", ["lstm"], [("lstm", {"frozen": True})], [(1, Rule())], [("a", Rule(), 1)], 3, [Rule()], None]
)
def test_rules_are_pairs_of_a_pattern_and_a_rule(rules: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match=r"Adam: (rules must be pairs|a rule is a pair)"):
        mxt.Adam(rules=rules)


def test_rules_may_be_a_mapping(linear_plan: mxt.Plan) -> None:
    rules: Any = {"linear.Biases": Rule(frozen=True)}
    trainer = mxt.Trainer(linear_plan, mxt.SGD(0.1, rules=rules), batch_size=4)
    trainer.update(linear_batch())
    assert trainer.arrays["linear.Biases"][:] == 0.0


def test_rules_may_be_a_list(linear_plan: mxt.Plan) -> None:
    rules: Any = [["linear.Biases", Rule(frozen=True)]]
    optimizer = mxt.SGD(0.1, rules=rules)
    assert list(mxt.Trainer(linear_plan, optimizer, batch_size=4).store.gradients.specs) == ["linear.Weights"]
    assert hash(optimizer) == hash(mxt.SGD(0.1, rules=(("linear.Biases", Rule(frozen=True)),)))
