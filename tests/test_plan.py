"""A plan is a value: the same net gives the same bytes, and it cannot be changed."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plan_cases import BUILD, chain_plan, full_plan

import mxtrainer as mxt

# The same net gives the same bytes


def test_same_net_gives_the_same_bytes() -> None:
    assert full_plan().to_json() == full_plan().to_json()
    assert full_plan().content_hash == full_plan().content_hash


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_same_net_gives_the_same_bytes_in_another_process(hash_seed: str) -> None:
    code = BUILD + 'plan = build()\nprint(plan.to_json(), plan.graph(), plan, plan.lowered({"t": 3}), sep="\\n")'
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(mxt.__file__).parents[1])}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    plan = full_plan()
    assert other.stdout.rstrip("\n") == "\n".join(
        [plan.to_json(), plan.graph(), str(plan), plan.lowered({"t": 3}).rstrip("\n")]
    )


def test_content_hash_is_of_the_description() -> None:
    plan = full_plan()
    assert len(plan.content_hash) == 64
    assert set(plan.content_hash) <= set("0123456789abcdef")
    assert json.loads(plan.to_json())["content_hash"] == plan.content_hash


def test_every_part_of_the_description_changes_the_hash() -> None:
    base = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss())
    others = [
        chain_plan(mxt.Linear(4), mxt.MeanSquaredLoss()),
        chain_plan(mxt.Linear(2), mxt.MeanAbsoluteLoss()),
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), inputs={"Input": mxt.Vector(4)}),
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), losses={"Loss": 2.0}),
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), dtype="float64"),
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), example_weights={"Loss": "Weight"}),
        chain_plan(mxt.Linear(2, initializers={"Weights": mxt.initializers.Zeros()}), mxt.MeanSquaredLoss()),
    ]
    assert len({plan.content_hash for plan in [base, *others]}) == len(others) + 1
    assert base not in others


def test_weight_that_is_the_default_may_be_given() -> None:
    layers = (mxt.Linear(2), mxt.MeanSquaredLoss())
    assert chain_plan(*layers) == chain_plan(*layers, losses={"Loss": 1})
    assert chain_plan(*layers).to_json() == chain_plan(*layers, losses={"Loss": np.float32(1)}).to_json()


def test_arrays_of_the_net_are_dropped() -> None:
    net = mxt.NetChain([mxt.Linear(2), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(3)})
    plan = mxt.compile_plan(net.with_arrays({"linear.Biases": np.ones(2)}))
    assert plan == mxt.compile_plan(net)
    assert not plan.net.arrays


# A plan is a value


def test_plan_is_hashable_and_compares_by_its_description() -> None:
    assert len({full_plan(), full_plan()}) == 1
    assert full_plan() != "a plan"
    assert full_plan() != full_plan().to_json()


@pytest.mark.parametrize("name", ["net", "dtype", "content_hash", "anything"])
def test_plan_cannot_be_changed(name: str) -> None:
    plan = full_plan()
    with pytest.raises(AttributeError, match="compile another one"):
        setattr(plan, name, None)
    with pytest.raises(AttributeError, match="compile another one"):
        delattr(plan, name)


def test_mappings_of_a_plan_cannot_be_changed() -> None:
    plan: Any = full_plan()
    for name in ("inputs", "outputs", "parameters", "auxiliary", "states", "losses", "nodes"):
        with pytest.raises(TypeError):
            getattr(plan, name)["x"] = 1


def test_plan_can_be_pickled_and_copied() -> None:
    plan = full_plan()
    for back in (pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan), copy.copy(plan)):  # noqa: S301 - our own bytes
        assert back == plan
        assert str(back) == str(plan)


# What is compiled


@pytest.mark.parametrize("net", [None, "net", mxt.Linear(3), mxt.NetGraph])
def test_what_is_no_net_is_refused(net: Any) -> None:
    with pytest.raises(mxt.NetError, match="compile_plan takes a net, got"):
        mxt.compile_plan(net)
