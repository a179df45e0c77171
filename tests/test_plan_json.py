"""A plan comes back from its JSON text, and any other text is a FileFormatError."""

from __future__ import annotations

import copy
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_cases import chain_plan, full_plan

import mxtrainer as mxt
from mxtrainer.plans.layers.base import Layer

PLANNED = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
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


@pytest.mark.slow
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
