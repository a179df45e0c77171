"""What a plan promises: the same net gives the same bytes, which come back; and what its parts say."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mxtrainer as mxt
from mxtrainer.arrays import ArraySpec
from mxtrainer.plans.layers.base import Layer
from mxtrainer.plans.plan import LossSpec, PortSpec

HUGE = pytest.param(10**400, id="huge")

TOKENS = mxt.Sequence("t", mxt.Index(11))
PLANNED = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

BUILD = """
import mxtrainer as mxt

def build():
    body = mxt.NetChain(
        [mxt.LSTM(5), mxt.BatchNorm(), mxt.Dropout(0.25),
         mxt.Linear(11, initializers={"Biases": mxt.initializers.Ones()})]
    )
    net = mxt.NetGraph(
        {"embedding": mxt.Embedding(5), "body": body, "loss": mxt.CrossEntropyLoss("index"), "rate": mxt.ErrorRate()},
        [("Input", "embedding", "body", "loss", "Loss"), ("body", "rate", "ErrorRate"), ("Target", "rate.Target"),
         ("Target", "loss.Target"), ("body", "Output")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(11))},
        share={"body.linear.Weights": "embedding.Weights"},
    )
    return mxt.compile_plan(net.with_states(), {"Output": 0.0}, example_weights={"Loss": "Weight"})
"""
SPACE: dict[str, Any] = {}
exec(BUILD, SPACE)  # noqa: S102 - the same source runs in another process below


def full_plan() -> mxt.Plan:
    plan = SPACE["build"]()
    assert isinstance(plan, mxt.Plan)
    return plan


def chain_plan(*layers: Layer, **options: Any) -> mxt.Plan:
    inputs = options.pop("inputs", {"Input": mxt.Vector(3)})
    return mxt.compile_plan(mxt.NetChain(list(layers), inputs=inputs), **options)


# The same net gives the same bytes


def test_same_net_gives_the_same_bytes() -> None:
    assert full_plan().to_json() == full_plan().to_json()
    assert full_plan().content_hash == full_plan().content_hash


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


# JSON


SIZES = st.integers(1, 5)
INITIALIZERS = st.sampled_from(
    [
        mxt.initializers.Zeros(),
        mxt.initializers.Normal(0.5),
        mxt.initializers.Constant(-1),
        mxt.initializers.Orthogonal(),
    ]
)
CHOSEN = st.dictionaries(st.just("Weights"), INITIALIZERS)
OVER_STEPS: st.SearchStrategy[Layer] = st.one_of(
    st.builds(mxt.Linear, SIZES, biases=st.booleans(), initializers=CHOSEN),
    st.builds(mxt.LSTM, SIZES),
    st.builds(mxt.GRU, SIZES),
    st.builds(mxt.BasicRecurrent, SIZES, activation=st.sampled_from(["tanh", "relu"])),
    st.builds(mxt.Bidirectional, st.builds(mxt.GRU, SIZES)),
    st.builds(mxt.Dropout, st.floats(0, 0.75, width=32, allow_subnormal=False)),
    st.builds(mxt.Elementwise, st.sampled_from(["tanh", "sigmoid", "relu", "square"])),
    st.builds(mxt.GradientScale, st.floats(-2, 2, width=32, allow_subnormal=False)),
    st.builds(mxt.BatchNorm, momentum=st.floats(0, 1)),
    st.builds(mxt.LayerNorm, epsilon=st.floats(1e-6, 1)),
    st.builds(mxt.Convolution, SIZES, st.just(3), padding=st.just(1)),
)
NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="."), min_size=1, max_size=6)


@st.composite
def nets(draw: st.DrawFn) -> mxt.NetGraph:
    """A chain over a sequence, part of it perhaps a net of its own, under any names."""
    names = draw(st.lists(NAMES.map("l-".__add__), min_size=2, max_size=6, unique=True))
    layers: dict[str, Layer] = {name: draw(OVER_STEPS) for name in names}
    if draw(st.booleans()):
        layers = {"inner": mxt.NetChain(layers), "outer": draw(OVER_STEPS)}
    if draw(st.booleans()):
        layers["last"] = mxt.SequenceLast()
    layers["loss"] = draw(st.sampled_from([mxt.MeanSquaredLoss("steps"), mxt.CrossEntropyLoss("index")]))
    item = draw(st.one_of(st.builds(mxt.Vector, SIZES), st.just(mxt.Vector(2, dtype="uint8"))))
    net = mxt.NetChain(layers, inputs={"Input": mxt.Sequence(draw(NAMES), item)})
    return (
        net.with_states()
        if draw(st.booleans()) and any(node.layer.states for node in net.graph.nodes.values())
        else net
    )


@PLANNED
@given(nets(), st.floats(-10, 10), st.sampled_from([None, {"Loss": "Weight"}]), st.sampled_from(["float32", "float64"]))
def test_plan_comes_back_from_json(net: mxt.NetGraph, weight: float, weights: Any, dtype: str) -> None:
    plan = mxt.compile_plan(net, {"Loss": weight}, weights, dtype)
    back = mxt.Plan.from_json(plan.to_json())
    lengths = dict.fromkeys(plan.lengths, 3)
    assert back == plan
    assert back.to_json() == plan.to_json()
    assert (str(back), back.graph(), back.lowered(lengths)) == (str(plan), plan.graph(), plan.lowered(lengths))
    assert mxt.NetGraph.from_json(net.to_json()) == net
    assert pickle.loads(pickle.dumps(net)) == net  # noqa: S301 - our own bytes


def read(text: Any) -> mxt.Plan | None:
    """Reads a plan; the only exception that may come is the one for wrong files."""
    try:
        return mxt.Plan.from_json(text)
    except mxt.FileFormatError:
        return None


def test_text_that_ends_early_is_a_file_format_error_at_every_length() -> None:
    text = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).to_json()
    assert all(read(text[:end]) is None for end in range(len(text)))


@pytest.mark.parametrize(
    "text", ["", "null", "3", "[]", '"plan"', "{}", "NaN", "plan", "\ud800", "{" * 10**5, "[" * 10**5, "1" * 10**5]
)
def test_text_that_is_no_plan_is_a_file_format_error(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("text", [None, 3, b"{}", {}, Path("plan.json")])
def test_what_is_no_text_is_a_file_format_error(text: Any) -> None:
    with pytest.raises(mxt.FileFormatError, match=f"expected JSON text, got {type(text).__name__}"):
        mxt.Plan.from_json(text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "mxtrainer-net"}, "plan: expected format \"mxtrainer-plan\", found 'mxtrainer-net'"),
        ({"format": None}, "expected format"),
        ({"version": 2}, "reads version 1, found 2; a newer mxtrainer wrote it: upgrade to read it"),
        ({"version": 0}, "reads version 1, found 0$"),
        ({"version": "1"}, "found '1'$"),
        ({"content_hash": "0" * 64}, "the content hash does not match, expected '0000"),
        ({"content_hash": None}, "the content hash does not match"),
        ({"plan": None}, "the description is incomplete"),
        ({"plan": {}}, "the description is incomplete"),
    ],
)
def test_plan_of_another_format_version_or_hash_is_refused(change: dict[str, Any], text: str) -> None:
    data = {**json.loads(chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).to_json()), **change}
    with pytest.raises(mxt.FileFormatError, match=text):
        mxt.Plan.from_json(json.dumps(data))


def test_format_and_version_are_looked_at_before_the_rest() -> None:
    with pytest.raises(mxt.FileFormatError, match="newer mxtrainer"):
        mxt.Plan.from_json('{"format": "mxtrainer-plan", "version": 99, "future": true}')
    with pytest.raises(mxt.FileFormatError, match="expected format"):
        mxt.Plan.from_json(full_plan().net.to_json())


def hashed(body: Any) -> str:
    """Returns the text of a plan with this description and the hash that belongs to it."""
    import hashlib

    from mxtrainer.values import canonical_json

    found = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    return canonical_json({"format": "mxtrainer-plan", "version": 1, "content_hash": found, "plan": body})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dtype": "float16"}, "no plan: dtype must be one of"),
        ({"dtype": None}, "no plan: dtype must be"),
        ({"losses": None}, "is not as this mxtrainer writes it"),
        ({"losses": {"Loss": 1}}, "is not as this mxtrainer writes it"),
        ({"losses": []}, "no plan: losses must map"),
        ({"losses": {"Lost": 1.0}}, 'no plan: losses: the net has no output "Lost"'),
        ({"losses": {"Loss": "1"}}, "no plan: losses: the weight"),
        ({"example_weights": {"Loss": []}}, "no plan: example_weights"),
        ({"net": 3}, "this is no net"),
        ({"more": 1}, "is not as this mxtrainer writes it"),
    ],
)
def test_description_that_is_wrong_under_a_right_hash_is_refused(change: dict[str, Any], text: str) -> None:
    body = json.loads(chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).to_json())["plan"]
    with pytest.raises(mxt.FileFormatError, match=text):
        mxt.Plan.from_json(hashed({**body, **change}))


def test_numbers_that_are_no_json_are_refused() -> None:
    text = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).to_json()
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        with pytest.raises(mxt.FileFormatError):
            mxt.Plan.from_json(text.replace('"Loss":1.0', f'"Loss":{number}'))


def test_layer_type_that_is_unknown_here_is_refused_with_the_nearest() -> None:
    body = json.loads(chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).to_json())["plan"]
    body["net"]["layers"]["linear"]["type"] = "Lineal"
    with pytest.raises(mxt.FileFormatError, match='unknown type "Lineal"; did you mean "Linear"'):
        mxt.Plan.from_json(hashed(body))


ODD: list[Any] = [
    *(None, True, False, 0, -1, 3, 2.5, -0.0, 10**30, 10**400),
    *("", "x", "linear", "Input", "body.lstm", "\ud800", "a.b", "é\n\0"),
    *([], {}, [None], [[]], ["Input", "Input"], [3, 4], {"a": 1}, {"type": []}),
    *({"type": name} for name in ("Linear", "NetGraph", "Vector", "Zeros", "LSTM", "Flatten")),
    {"type": "Sequence", "length": "t", "item": {"type": "Index", "count": 3}},
]


def mutated(data: Any, rng: random.Random) -> Any:
    """Returns JSON data with one place changed: a value replaced, an entry gone, doubled, renamed or moved."""
    data = copy.deepcopy(data)
    places: list[tuple[Any, Any]] = []
    waiting = [data]
    while waiting:
        found = waiting.pop()
        keys = list(found) if isinstance(found, dict) else range(len(found)) if isinstance(found, list) else []
        places += [(found, key) for key in keys]
        waiting += [found[key] for key in keys]
    place, key = rng.choice(places)
    action = rng.randrange(5)
    if action == 0:
        del place[key]
    elif action == 1 and isinstance(place, dict):
        place[rng.choice(["x", "type", "Input", "linear", "", "a.b"])] = place.pop(key)
    elif action == 2 and isinstance(place, list):
        place.append(place[key])
    elif action == 3:
        other, name = rng.choice(places)
        place[key] = copy.deepcopy(other[name]) if isinstance(other, list) or name in other else None
    else:
        place[key] = copy.deepcopy(rng.choice(ODD))
    return data


@pytest.mark.parametrize("seed", range(4))
def test_description_that_was_changed_anywhere_is_read_or_is_a_file_format_error(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    body = json.loads(full_plan().to_json())["plan"]
    assert read(hashed(body)) is not None
    for _ in range(300):
        changed = mutated(body, rng)
        if rng.randrange(3) == 0:
            changed = mutated(changed, rng)
        text = hashed(changed)
        plan = read(text)
        if plan is not None:
            assert plan.to_json() == text
            str(plan), plan.graph(), str(plan.net), plan.net.states


@pytest.mark.parametrize("seed", range(2))
def test_text_that_was_changed_anywhere_is_a_file_format_error(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    text = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).to_json()
    for _ in range(500):
        start, end = sorted(rng.randrange(len(text)) for _ in range(2))
        found = rng.choice(
            ['"', "{", "}", "[", "]", ",", "0", "null", "\\", "\0", "\ud800", text[start : start + 30], ""]
        )
        changed = text[:start] + found + text[min(end, start + rng.randrange(3)) :]
        plan = read(changed)
        assert plan is None or json.loads(changed) == json.loads(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(json.dumps),
    )
)
def test_any_text_is_a_file_format_error(text: str) -> None:
    assert read(text) is None


def test_description_that_nests_without_end_is_a_file_format_error() -> None:
    data: Any = json.loads(mxt.NetChain([mxt.Linear(2)]).to_json())["net"]
    for _ in range(120):
        data = {**data, "layers": {"linear": data}}
    text = json.dumps({"format": "mxtrainer-net", "version": 1, "net": data})
    with pytest.raises(mxt.FileFormatError):
        mxt.NetGraph.from_json(text)


# What the parts say


def test_inputs_are_the_ports_of_the_net_and_those_of_example_weights_last() -> None:
    plan = full_plan()
    assert tuple(plan.inputs) == ("Input", "Target", "body.lstm.State", "body.lstm.CellState", "Weight")
    assert plan.inputs["Input"] == PortSpec("Input", TOKENS, "int32", "int32")
    assert plan.inputs["Weight"] == PortSpec("Weight", mxt.Scalar(), "float32", "float32")


def test_port_says_its_shape_its_length_and_its_count() -> None:
    plan = full_plan()
    assert plan.inputs["Input"].shape(4, {"t": 7}) == (4, 7)
    assert plan.outputs["Output"].shape(4, {"t": 7}) == (4, 7, 11)
    assert plan.inputs["body.lstm.State"].shape(4, {}) == (4, 5)
    assert (plan.inputs["Input"].length, plan.inputs["Input"].count) == ("t", 11)
    assert (plan.inputs["Weight"].length, plan.inputs["Weight"].count) == (None, None)


def test_port_with_a_dtype_of_its_own_is_transferred_in_it() -> None:
    plan = chain_plan(mxt.Flatten(), inputs={"Input": mxt.Array((2, 2), dtype="uint8")}, losses={"Output": 0.0})
    assert (plan.inputs["Input"].dtype, plan.inputs["Input"].transfer_dtype) == ("float32", "uint8")
    assert plan.outputs["Output"] == PortSpec("Output", mxt.Vector(4), "float32", "float32")


def test_outputs_are_the_ports_of_the_net() -> None:
    plan = full_plan()
    assert tuple(plan.outputs) == ("Loss", "ErrorRate", "Output", "body.lstm.State", "body.lstm.CellState")
    assert tuple(plan.losses) == tuple(plan.outputs)


def test_parameters_stand_in_the_order_of_layers_depth_first_then_of_arrays() -> None:
    plan = full_plan()
    assert tuple(plan.parameters) == (
        "embedding.Weights",
        "body.lstm.InputWeights",
        "body.lstm.StateWeights",
        "body.lstm.InputBiases",
        "body.lstm.StateBiases",
        "body.batchnorm.Scaling",
        "body.batchnorm.Biases",
        "body.linear.Biases",
    )
    assert tuple(plan.auxiliary) == ("body.batchnorm.MovingMean", "body.batchnorm.MovingVariance")
    assert plan.parameters["body.lstm.InputWeights"].shape == (20, 5)
    assert not any(spec.auxiliary for spec in plan.parameters.values())
    assert all(spec.auxiliary for spec in plan.auxiliary.values())


def test_order_of_arrays_is_that_of_layers_as_written_not_of_paths() -> None:
    net = mxt.NetGraph(
        {"b": mxt.Linear(2), "a": mxt.Linear(2)}, [("Input", "a", "b", "Output")], {"Input": mxt.Vector(2)}
    )
    assert [path.partition(".")[0] for path in mxt.compile_plan(net, {"Output": 0.0}).parameters] == [
        "b",
        "b",
        "a",
        "a",
    ]


def test_shared_array_counts_once_and_every_node_names_its_owner() -> None:
    plan = full_plan()
    assert plan.nodes["body.linear"].arrays["Weights"] == "embedding.Weights"
    assert plan.nodes["body.linear"].arrays["Biases"] == "body.linear.Biases"


def test_owner_may_stand_behind_its_user() -> None:
    net = mxt.NetChain({"a": mxt.Linear(3), "b": mxt.Linear(3)}, {"Input": mxt.Vector(3)}, share={"a": "b"})
    assert tuple(mxt.compile_plan(net, {"Output": 0.0}).parameters) == ("b.Weights", "b.Biases")


def test_arrays_lie_as_one_vector_only_where_nobody_groups_them_otherwise() -> None:
    layers = {"a": mxt.GRU(3), "b": mxt.GRU(3)}
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(3))}

    def packs(share: dict[str, str]) -> list[int]:
        plan = mxt.compile_plan(mxt.NetChain(layers, inputs, share), {"Output": 0.0})
        return [len(plan.nodes[name].packs) for name in layers]

    assert packs({}) == [1, 1]
    assert packs({"b": "a"}) == [1, 1]
    assert packs({"b.StateWeights": "a.StateWeights"}) == [0, 0]
    assert packs({"b.StateBiases": "b.InputBiases"}) == [1, 0]  # one array twice is no vector


def test_initializer_is_that_of_the_layer_or_the_one_that_was_chosen() -> None:
    plan = full_plan()
    assert plan.parameters["body.linear.Biases"].initializer == mxt.initializers.Ones()
    forget = mxt.initializers.ForgetBias(2)
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(2))}
    plan = chain_plan(mxt.LSTM(3, initializers={"InputBiases": forget}), inputs=inputs, losses={"Output": 0.0})
    assert plan.parameters["lstm.InputBiases"] == ArraySpec("lstm.InputBiases", (12,), "float32", forget)
    assert plan.parameters["lstm.StateBiases"].initializer == mxt.initializers.Zeros()


def test_states_map_each_state_input_to_its_output() -> None:
    assert dict(full_plan().states) == {port: port for port in ("body.lstm.State", "body.lstm.CellState")}
    net = mxt.NetGraph(
        {"gru": mxt.GRU(2)},
        [("Input", "gru", "Output"), ("Start", "gru.State"), ("gru.State", "End")],
        {"Input": mxt.Sequence("t", mxt.Scalar())},
    )
    assert dict(mxt.compile_plan(net, {"Output": 0.0, "End": 0.0}).states) == {"Start": "End"}


def test_state_that_is_not_taken_out_or_not_put_in_is_none_of_the_states() -> None:
    inputs = {"Input": mxt.Sequence("t", mxt.Scalar())}
    net = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru", "Output"), ("Start", "gru.State")], inputs)
    assert not mxt.compile_plan(net, {"Output": 0.0}).states
    net = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru", "Output"), ("gru.State", "End")], inputs)
    assert not mxt.compile_plan(net, {"Output": 0.0, "End": 0.0}).states


def test_start_of_several_layers_is_none_of_the_states() -> None:
    net = mxt.NetGraph(
        {"a": mxt.GRU(2), "b": mxt.GRU(2)},
        [("Input", "a", "b", "Output"), ("Start", "a.State"), ("Start", "b.State"), ("a.State", "A"), ("b.State", "B")],
        {"Input": mxt.Sequence("t", mxt.Scalar())},
    )
    assert not mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0)).states


def test_random_nodes_are_those_that_drop() -> None:
    assert full_plan().random_nodes == ("body.dropout",)
    assert chain_plan(mxt.Dropout(0.0), losses={"Output": 0.0}).random_nodes == ()


def test_lengths_are_named_in_the_order_of_the_ports() -> None:
    net = mxt.NetGraph(
        {"a": mxt.GRU(2), "b": mxt.GRU(2)},
        [("X", "a", "A"), ("Y", "b", "B")],
        {"Y": mxt.Sequence("t", mxt.Scalar()), "X": mxt.Sequence("s", mxt.Scalar())},
    )
    assert mxt.compile_plan(net, {"A": 0.0, "B": 0.0}).lengths == ("s", "t")
    assert chain_plan(mxt.Linear(2), losses={"Output": 0.0}).lengths == ()


def test_unknown_names_of_a_plan_are_offered_the_nearest() -> None:
    plan = full_plan()
    for mapping, name, text in [
        (plan.inputs, "Inptu", 'the plan has no input "Inptu"; did you mean "Input"?'),
        (plan.outputs, "Los", 'the plan has no output "Los"; did you mean "Loss"?'),
        (plan.parameters, "embedding.Weight", 'no array "embedding.Weight"; did you mean "embedding.Weights"?'),
    ]:
        with pytest.raises(mxt.UnknownNameError) as raised:
            mapping[name]  # type: ignore[index]  # of mappings of several kinds
        assert text in str(raised.value)


# Losses


def test_port_of_a_loss_counts_as_one_unless_given() -> None:
    layers = (mxt.Linear(2), mxt.MeanSquaredLoss())
    assert chain_plan(*layers).losses["Loss"] == LossSpec(1.0, None, None, is_loss=True)
    assert chain_plan(*layers, losses={"Loss": -0.5}).losses["Loss"].weight == -0.5
    assert chain_plan(*layers, losses={"Loss": 0}).losses["Loss"].weight == 0.0


def test_output_that_is_no_loss_must_be_listed() -> None:
    with pytest.raises(mxt.NetError, match=r'the output "Output" feeds no loss.*losses=\{"Output": 0.0\}'):
        chain_plan(mxt.Linear(2))
    assert chain_plan(mxt.Linear(2), losses={"Output": 0.0}).losses["Output"] == LossSpec(
        0.0, None, None, is_loss=False
    )
    assert chain_plan(mxt.Linear(2), losses={"Output": 2}).losses["Output"] == LossSpec(2.0, None, None, is_loss=False)


def test_state_ports_need_not_be_listed_but_states_taken_out_by_a_path_do() -> None:
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(3))}
    net = mxt.NetChain({"n": mxt.NetChain([mxt.LSTM(3)]), "loss": mxt.MeanSquaredLoss()}, inputs)
    plan = mxt.compile_plan(net.with_states())
    assert {name: loss.weight for name, loss in plan.losses.items()} == {
        "Loss": 1.0,
        "n.lstm.State": 0.0,
        "n.lstm.CellState": 0.0,
    }
    assert mxt.compile_plan(net.with_states(), {"n.lstm.State": 1.0}).losses["n.lstm.State"].weight == 1.0
    taken = mxt.NetGraph({"gru": mxt.GRU(2)}, [("Input", "gru.Input"), ("gru.State", "End")], inputs)
    with pytest.raises(mxt.NetError, match='"End" feeds no loss'):
        mxt.compile_plan(taken)
    part = net.with_states().take({"n.lstm.State": "n.lstm.State"})
    assert mxt.compile_plan(part).losses["n.lstm.State"].weight == 0.0


def test_output_named_like_its_layers_port_must_be_listed_where_it_is_no_state() -> None:
    net = mxt.NetChain([mxt.Linear(3)], {"Input": mxt.Vector(2)}).take({"linear.Output": "linear"})
    with pytest.raises(mxt.NetError, match=r'"linear\.Output" feeds no loss'):
        mxt.compile_plan(net)


def test_error_rate_is_never_trained() -> None:
    layers = (mxt.Linear(3), mxt.ErrorRate())
    assert chain_plan(*layers).losses["ErrorRate"] == LossSpec(0.0, None, None, is_loss=True)
    with pytest.raises(
        mxt.NetError, match=r'"ErrorRate" comes from ErrorRate\(\), which has no gradient.*weight must be 0'
    ):
        chain_plan(*layers, losses={"ErrorRate": 1.0})


def test_loss_that_averages_over_steps_names_its_length() -> None:
    inputs = {"Input": mxt.Sequence("t", mxt.Vector(3))}
    assert chain_plan(mxt.MeanSquaredLoss("steps"), inputs=inputs).losses["Loss"].length == "t"
    assert chain_plan(mxt.MeanSquaredLoss(), inputs=inputs).losses["Loss"].length is None
    assert chain_plan(mxt.MeanSquaredLoss("steps")).losses["Loss"].length is None


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ({"Lost": 1.0}, 'losses: the net has no output "Lost"; did you mean "Loss"? Its outputs: Loss'),
        ({3: 1.0}, 'losses: the net has no output "3"'),
        ([("Loss", 1.0)], 'losses must map output ports, as in {"Loss": 1.0}'),
        ("Loss", "losses must map output ports"),
        (0, "losses must map output ports"),
    ],
)
def test_losses_that_name_no_output_are_refused(losses: Any, text: str) -> None:
    with pytest.raises(mxt.NetError) as raised:
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), losses=losses)
    assert text in str(raised.value)


@pytest.mark.parametrize("weight", [None, "1", True, float("nan"), float("inf"), HUGE, [1.0]])
def test_weight_that_is_no_number_is_refused(weight: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match='losses: the weight of "Loss" must be a finite number'):
        chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), losses={"Loss": weight})


def test_two_losses_may_have_the_same_example_weights() -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "a": mxt.MeanSquaredLoss(), "b": mxt.MeanAbsoluteLoss()},
        [("Input", "linear", "a", "A"), ("linear", "b", "B"), ("Target", "a.Target"), ("Target", "b.Target")],
        {"Input": mxt.Vector(2)},
    )
    plan = mxt.compile_plan(net, example_weights={"A": "Weight", "B": "Weight"})
    assert tuple(plan.inputs) == ("Input", "Target", "Weight")
    assert [loss.example_weights for loss in plan.losses.values()] == ["Weight", "Weight"]


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"Lost": "Weight"}, 'example_weights: the net has no output "Lost"; did you mean "Loss"?'),
        ({"Output": "Weight"}, '"Output" comes from no loss layer'),
        ({"Loss": "Input"}, "needs the name of a new input port, without a dot, got 'Input'; taken: Input, Target"),
        ({"Loss": "linear"}, "got 'linear'"),
        ({"Loss": ""}, "got ''"),
        ({"Loss": "a.b"}, "got 'a.b'"),
        ({"Loss": "a\n"}, "got 'a"),
        ({"Loss": None}, "got None"),
        ({"Loss": 1.0}, "got 1.0"),
        (["Loss"], 'example_weights must map output ports, as in {"Loss": "Weight"}'),
    ],
)
def test_example_weights_that_cannot_be_are_refused(weights: Any, text: str) -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "linear", "loss", "Loss"), ("linear", "Output")],
        {"Input": mxt.Vector(2)},
    )
    with pytest.raises(mxt.NetError) as raised:
        mxt.compile_plan(net, {"Output": 0.0}, weights)
    assert text in str(raised.value)


@pytest.mark.parametrize("net", [None, "net", mxt.Linear(3), mxt.NetGraph])
def test_what_is_no_net_is_refused(net: Any) -> None:
    with pytest.raises(mxt.NetError, match="compile_plan takes a net, got"):
        mxt.compile_plan(net)


# dtype


@pytest.mark.parametrize("dtype", ["float64", np.float64, np.dtype("float64")])
def test_dtype_is_that_of_all_real_arrays(dtype: Any) -> None:
    plan = chain_plan(mxt.Linear(3), mxt.BatchNorm(), mxt.CrossEntropyLoss("index"), dtype=dtype)
    assert plan.dtype == "float64"
    arrays = [*plan.parameters.values(), *plan.auxiliary.values()]
    assert {spec.dtype for spec in arrays} == {spec.dtype for spec in plan.outputs.values()} == {"float64"}
    assert [spec.dtype for spec in plan.inputs.values()] == ["float64", "int32"]


@pytest.mark.parametrize("dtype", ["float16", "int32", "double", None, 64, np.float16])
def test_dtype_that_cannot_be_trained_in_is_refused(dtype: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="dtype must be one of float32, float64, got"):
        chain_plan(mxt.Linear(3), mxt.MeanSquaredLoss(), dtype=dtype)


# lowered, graph, str


def test_lowered_graph_of_training_drops_and_that_of_evaluation_does_not() -> None:
    plan = full_plan()
    assert "Op:Dropout" in plan.lowered({"t": 3})
    assert "Op:Dropout" not in plan.lowered({"t": 3}, training=False)
    assert "Op:RNN" in plan.lowered({"t": 3}, training=False)


def test_lowered_graph_names_layers_inputs_arrays_and_outputs() -> None:
    text = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss()).lowered()
    for name in ("input:Input", "input:Target", "array:linear.Weights", "linear.fullyconnected0", "output:Loss"):
        assert name in text


def test_lowered_graph_does_not_depend_on_what_was_lowered_before() -> None:
    plan = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss())
    assert plan.lowered() == plan.lowered()


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        (None, r'the number of steps of "t" is missing, as in \{"t": 64\}'),
        ({"t": 0}, 'lengths: "t" must be a positive integer, got 0'),
        ({"t": 2.5}, "must be a positive integer"),
        ({"t": 3, "s": 3}, 'the plan has no length "s"'),
        ({"tt": 3}, 'did you mean "t"'),
        (3, "lengths must map length names to numbers of steps"),
    ],
)
def test_lengths_of_a_lowering_are_checked(lengths: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        full_plan().lowered(lengths)


def test_graph_shows_ports_layers_and_edges() -> None:
    lines = chain_plan(mxt.Linear(2), mxt.MeanSquaredLoss(), example_weights={"Loss": "Weight"}).graph().splitlines()
    assert lines == [
        "digraph plan {",
        "  rankdir=LR;",
        "  node [shape=box];",
        '  "in:Input" [label="Input\\nVector(3)" shape=oval];',
        '  "in:Target" [label="Target\\nVector(2)" shape=oval];',
        '  "in:Weight" [label="Weight\\nScalar()" shape=oval];',
        '  "layer:linear" [label="linear\\nLinear"];',
        '  "in:Input" -> "layer:linear" [label="Input"];',
        '  "layer:meansquaredloss" [label="meansquaredloss\\nMeanSquaredLoss"];',
        '  "layer:linear" -> "layer:meansquaredloss" [label="Input"];',
        '  "in:Target" -> "layer:meansquaredloss" [label="Target"];',
        '  "out:Loss" [label="Loss\\nweight 1" shape=oval];',
        '  "layer:meansquaredloss" -> "out:Loss";',
        '  "in:Weight" -> "out:Loss";',
        "}",
    ]


def test_graph_is_valid_whatever_the_names() -> None:
    odd = 'a "b" \\ <層> \\'
    net = mxt.NetGraph({odd: mxt.Linear(2)}, [("in]; {", odd, 'out"')], {"in]; {": mxt.Sequence('"t"', mxt.Vector(2))})
    text = mxt.compile_plan(net, {'out"': 0.0}).graph()
    assert '"layer:a \\"b\\" \\\\ <層> \\\\"' in text
    for line in text.splitlines()[3:-1]:
        bare = line.replace("\\\\", "").replace('\\"', "")
        assert bare.count('"') % 2 == 0
        outside = "".join(bare.split('"')[::2])
        assert set(outside) <= set(" ->[]=;labeshpov")


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_graphviz_takes_the_graph() -> None:
    dot = shutil.which("dot") or "dot"
    subprocess.run([dot, "-Tdot"], input=full_plan().graph(), text=True, capture_output=True, check=True, timeout=60)


def test_layer_and_port_of_similar_names_are_two_vertices() -> None:
    net = mxt.NetGraph({"in:x": mxt.Linear(2)}, [("x", "in:x", "y")], {"x": mxt.Vector(2)})
    assert '"in:x" -> "layer:in:x"' in mxt.compile_plan(net, {"y": 0.0}).graph()


def test_repr_shows_ports_and_str_shows_tables() -> None:
    plan = chain_plan(mxt.Linear(2), mxt.BatchNorm(), mxt.MeanSquaredLoss())
    assert repr(plan) == f"Plan(Input, Target -> Loss, float32, {plan.content_hash[:12]})"
    assert str(plan).splitlines() == [
        repr(plan),
        "",
        "        port    type       dtype",
        "input   Input   Vector(3)  float32",
        "input   Target  Vector(2)  float32",
        "output  Loss    Scalar()   float32  weight 1",
        "",
        "array                     shape   elements  initializer",
        "linear.Weights            (2, 3)  6         Xavier()",
        "linear.Biases             (2,)    2         Zeros()",
        "batchnorm.Scaling         (2,)    2         Ones()",
        "batchnorm.Biases          (2,)    2         Zeros()",
        "batchnorm.MovingMean      (2,)    2         auxiliary",
        "batchnorm.MovingVariance  (2,)    2         auxiliary",
        "12 elements to train",
    ]


def test_plan_without_arrays_prints() -> None:
    assert str(chain_plan(mxt.Flatten(), losses={"Output": 0.0})).endswith("0 elements to train")
