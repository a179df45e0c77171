"""An exported file gives, in another library's hands, what the engine and the oracles give."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from layer_cases import LAYERS, Case, Extents, error, example
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.formats.onnx_writer import export, functions, layers
from mxtrainer.plans.layers.base import Layer
from mxtrainer.plans.layers.elementwise import FUNCTIONS, THREADED, ShapeKeeping
from mxtrainer.values import register

Values = dict[str, NDArray[Any]]
SINGLE, DOUBLE = 5e-6, 1e-14
SIZES = {"a": 3, "b": 2, "h": 5, "w": 6}
EXTENTS = [Extents(3, 3, 4, SIZES, 1), Extents(5, 5, 1, SIZES, 2)]
EXPORTED = [case for case in LAYERS if not isinstance(case.layer, mxt.Fold)]
VECTORS = mxt.Sequence("t", mxt.Vector(3))
SHAPES = [(2, 6), (5, 1)]  # batch size and steps
RECURRENT = (mxt.BasicRecurrent(4), mxt.BasicRecurrent(4, "relu"), mxt.LSTM(4), mxt.GRU(4))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.onnx"


def ran(path: Path, inputs: Values) -> Values:
    """Return what onnxruntime gives."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def ports(path: Path) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return the shapes of the file's inputs and of its outputs, each extent as a number or a name."""
    graph = onnx.load(str(path)).graph
    found = (
        {port.name: [dim.dim_param or dim.dim_value for dim in port.type.tensor_type.shape.dim] for port in side}
        for side in (graph.input, graph.output)
    )
    return next(found), next(found)


def fed(path: Path, inputs: Values) -> Values:
    """Return inputs in the dtypes that the file wants."""
    kinds = {
        port.name: onnx.helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)
        for port in onnx.load(str(path)).graph.input
    }
    return {name: np.asarray(inputs[name], kind) for name, kind in kinds.items()}


def with_drawn_arrays(net: mxt.NetGraph, dtype: str = "float32") -> mxt.NetGraph:
    """Return the net with arrays drawn at random; those that scale are positive."""
    plan = mxt.compile_plan(net, dict.fromkeys(net.output_sources, 0.0))
    generator = np.random.default_rng(3)
    arrays = {}
    for name, spec in {**plan.parameters, **plan.auxiliary}.items():
        drawn = generator.normal(size=spec.shape) * 0.5
        arrays[name] = (np.abs(drawn) + 0.5 if name.endswith(("Scaling", "Variance")) else drawn).astype(dtype)
    return net.with_arrays(arrays)


def engine(net: mxt.NetGraph, inputs: Values) -> Values:
    """Return all outputs of the net as the engine gives them."""
    doubles = all(array.dtype == np.float64 for array in net.arrays.values())
    plan = mxt.compile_plan(net, dict.fromkeys(net.output_sources, 0.0), dtype="float64" if doubles else "float32")
    rows = len(next(iter(inputs.values())))
    steps = [len(inputs[name][0]) for name, spec in plan.inputs.items() if isinstance(spec.type, mxt.Sequence)]
    lengths = dict.fromkeys(plan.lengths, steps[0] if steps else 1)
    executor = mxt.instantiate(plan, rows, lengths, arrays=net.arrays, training=False)
    executor.forward(inputs, training=False)
    return {name: executor.outputs[name].asnumpy() for name in plan.outputs}


def assert_same(found: NDArray[Any], expected: NDArray[Any], bound: float = SINGLE) -> None:
    assert found.dtype == expected.dtype
    assert error(found, expected, 1e-2) <= bound


def assert_exports(net: mxt.NetGraph, path: Path, inputs: Callable[[int, int], Values]) -> None:
    """Export a net, and compare all of its outputs, at two batch sizes and lengths, with the engine's."""
    mxt.to_onnx(net, path)
    for rows, steps in SHAPES:
        given = inputs(rows, steps)
        expected, found = engine(net, given), ran(path, fed(path, given))
        assert {name.removesuffix(".next") for name in found} == set(expected)
        for name, array in found.items():
            assert_same(array, expected[name.removesuffix(".next")])


def sequences(rows: int, steps: int) -> Values:
    return {"Input": np.random.default_rng(rows).normal(size=(rows, steps, 3))}


# Layers


@pytest.mark.slow  # so many, and the same on the wheel
@pytest.mark.parametrize("case", EXPORTED, ids=str)
def test_layer_gives_what_the_oracle_and_the_engine_give(case: Case, path: Path) -> None:
    drawn = example(case, EXTENTS[0])
    arrays = {f"layer.{name}": array.astype(np.float32) for name, array in drawn.arrays.items()}
    mxt.to_onnx(case.net(EXTENTS[0]).with_arrays(arrays), path)
    for extents in EXTENTS:
        generator = np.random.default_rng(extents.seed)
        inputs = {port: feed.value(extents, generator) for port, feed in case.ports.items()}
        again = replace(drawn, inputs=inputs, extents=extents)
        executor = again.executor(training=False)
        executor.forward(inputs, training=False)
        oracle, found = again.oracle(training=False).outputs, ran(path, fed(path, inputs))
        for name, port in case.outputs.items():
            assert error(found[name], oracle[port], 1e-2) <= SINGLE
            assert_same(found[name], executor.outputs[name].asnumpy())


def test_every_layer_is_exported_or_refused_in_a_test() -> None:
    known = {kind for kind in vars(mxt).values() if isinstance(kind, type) and issubclass(kind, Layer)}
    losses = {kind for kind in known if kind.is_loss}
    assert set(layers.LAYERS) == known - losses - {mxt.NetGraph, mxt.Fold, mxt.SymbolLayer}
    assert set(layers.LAYERS) <= {type(case.layer) for case in EXPORTED}


def test_every_function_is_exported() -> None:
    assert set(functions.FUNCTIONS) == set(FUNCTIONS)
    assert set(functions.THREADED) == set(THREADED)


@pytest.mark.parametrize("function", ["log1p", "expm1"])
def test_functions_made_for_small_numbers_keep_their_digits(function: str, path: Path) -> None:
    mxt.to_onnx(mxt.NetChain([mxt.Elementwise(function)], inputs={"Input": mxt.Scalar()}), path)
    x = np.array([1e-30, -1e-12, 3e-8, -1e-7, 1e-4, -0.3, 0.0, 2.0, 20.0, np.inf], np.float32)
    expected = getattr(np, function)(x.astype(np.float64))
    np.testing.assert_allclose(ran(path, {"Input": x})["Output"], expected, rtol=5e-7)


def test_log1p_of_minus_one_is_minus_infinity(path: Path) -> None:
    mxt.to_onnx(mxt.NetChain([mxt.Elementwise("log1p")], inputs={"Input": mxt.Scalar()}), path)
    assert ran(path, {"Input": np.array([-1.0], np.float32)})["Output"] == -np.inf


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_dropout_drops_nothing(probability: float, path: Path) -> None:
    mxt.to_onnx(mxt.NetChain([mxt.Dropout(probability)], inputs={"Input": mxt.Vector(50)}), path)
    x = np.ones((2, 50), np.float32)
    np.testing.assert_array_equal(ran(path, {"Input": x})["Output"], x)


@pytest.mark.parametrize("function", ["sum", "mean", "max", "norm"])
def test_aggregate_of_a_scalar_is_that_of_one_number(function: str, path: Path) -> None:
    mxt.to_onnx(mxt.NetChain([mxt.Aggregate(function)], inputs={"Input": mxt.Scalar()}), path)
    found = ran(path, {"Input": np.array([-2.0, 3.0], np.float32)})["Output"]
    np.testing.assert_array_equal(found, [2.0, 3.0] if function == "norm" else [-2.0, 3.0])


@pytest.mark.parametrize("sequence", [False, True])
def test_layer_norm_of_a_scalar_is_its_bias(sequence: bool, path: Path) -> None:
    item = mxt.Scalar()
    net = mxt.NetChain([mxt.LayerNorm()], inputs={"Input": mxt.Sequence("t", item) if sequence else item})
    arrays = {"layernorm.Scaling": np.float32(2.0), "layernorm.Biases": np.float32(0.25)}
    mxt.to_onnx(net.with_arrays(arrays), path)
    x = np.ones((2, 3) if sequence else 2, np.float32)
    np.testing.assert_array_equal(ran(path, {"Input": x})["Output"], np.full(x.shape, 0.25))


# Nets


def test_multilayer_perceptron_gives_what_the_engine_gives(path: Path) -> None:
    layers = [
        mxt.Linear(16),
        mxt.Elementwise("gelu"),
        mxt.LayerNorm(),
        mxt.Dropout(),
        mxt.Linear(()),
        mxt.MeanSquaredLoss(),
    ]
    net = with_drawn_arrays(mxt.NetChain(layers[:-1], inputs={"Input": mxt.Vector(7)}))
    assert_exports(net, path, lambda rows, _: {"Input": np.random.default_rng(rows).normal(size=(rows, 7))})


def test_convolution_net_gives_what_the_engine_gives(path: Path) -> None:
    layers: list[Any] = [
        *(mxt.Convolution(8, 3, padding=1), mxt.BatchNorm(), mxt.Elementwise("relu"), mxt.Pooling(2)),
        *(mxt.Convolution(8, 3, stride=2), mxt.BatchNorm(), mxt.Elementwise("relu"), mxt.Pooling(2, "mean")),
        *(mxt.Flatten(), mxt.Linear(10), mxt.Softmax()),
    ]
    net = with_drawn_arrays(mxt.NetChain(layers, inputs={"Input": mxt.Array((3, 16, 16))}))
    assert_exports(net, path, lambda rows, _: {"Input": np.random.default_rng(rows).normal(size=(rows, 3, 16, 16))})


@pytest.mark.parametrize("initial", [0.0, 0.5, "learned"])
@pytest.mark.parametrize("layer", RECURRENT, ids=repr)
def test_recurrent_net_without_state_ports_begins_at_its_initial_state(layer: Any, initial: Any, path: Path) -> None:
    net = with_drawn_arrays(mxt.NetChain([replace(layer, initial=initial), mxt.Linear(2)], inputs={"Input": VECTORS}))
    assert_exports(net, path, sequences)


@pytest.mark.parametrize("layer", RECURRENT, ids=repr)
def test_recurrent_net_with_state_ports_takes_and_gives_them(layer: Any, path: Path) -> None:
    net = with_drawn_arrays(mxt.NetChain([layer, mxt.Linear(2)], inputs={"Input": VECTORS}).with_states())
    states = [f"{type(layer).__name__.lower()}.{state}" for state in layer.states]

    def inputs(rows: int, steps: int) -> Values:
        generator = np.random.default_rng(rows)
        return {**sequences(rows, steps), **{state: generator.normal(size=(rows, 4)) for state in states}}

    assert_exports(net, path, inputs)
    shapes = ports(path)
    assert shapes[0] == {"Input": ["batch", "t", 3], **{state: ["batch", 4] for state in states}}
    assert shapes[1] == {"Output": ["batch", "t", 2], **{f"{state}.next": ["batch", 4] for state in states}}


def test_states_that_are_fed_back_make_of_two_windows_one_sequence(path: Path) -> None:
    net = with_drawn_arrays(mxt.NetChain([mxt.LSTM(4), mxt.Linear(2)], inputs={"Input": VECTORS}))
    whole = sequences(2, 6)["Input"].astype(np.float32)
    mxt.to_onnx(net.with_states().with_arrays(net.arrays), path)
    states, parts = {f"lstm.{state}": np.zeros((2, 4), np.float32) for state in mxt.LSTM.states}, []
    for window in (whole[:, :2], whole[:, 2:]):
        found = ran(path, {"Input": window, **states})
        states = {state: found[f"{state}.next"] for state in states}
        parts.append(found["Output"])
    assert_same(np.concatenate(parts, axis=1), engine(net, {"Input": whole})["Output"])


@pytest.mark.parametrize("layer", RECURRENT, ids=repr)
def test_bidirectional_net_gives_what_the_engine_gives(layer: Any, path: Path) -> None:
    for initial in (0.0, 0.5, "learned"):
        both = mxt.Bidirectional(replace(layer, initial=initial))
        net = with_drawn_arrays(mxt.NetChain([both, mxt.SequenceLast(), mxt.Linear(2)], inputs={"Input": VECTORS}))
        assert_exports(net, path, sequences)


def test_character_model_gives_what_the_engine_gives(path: Path) -> None:
    layers = [mxt.Embedding(6), mxt.GRU(5), mxt.LayerNorm(), mxt.Linear(11), mxt.Softmax()]
    net = with_drawn_arrays(mxt.NetChain(layers, inputs={"Input": mxt.Sequence("t", mxt.Index(11))}))
    assert_exports(net, path, lambda rows, steps: {"Input": np.random.default_rng(rows).integers(0, 11, (rows, steps))})


def test_attention_block_gives_what_the_engine_gives(path: Path) -> None:
    layers = {
        **{name: mxt.Linear(8) for name in ("query", "key", "value")},
        "attention": mxt.Attention(causal=True),
        "plus": mxt.Threading("plus"),
        "norm": mxt.LayerNorm(),
        "widen": mxt.Linear(8),
    }
    net = mxt.NetGraph(
        layers,
        [
            *(("Input", name) for name in ("query", "key", "value", "widen")),
            (["query", "key", "value"], "attention"),
            (["attention", "widen"], "plus", "norm", "Output"),
        ],
        inputs={"Input": VECTORS},
    )
    assert_exports(with_drawn_arrays(net), path, sequences)


def test_nets_in_nets_are_exported(path: Path) -> None:
    inner = mxt.NetChain([mxt.LSTM(4), mxt.Linear(3)])
    net = mxt.NetChain({"first": inner, "second": inner}, inputs={"Input": VECTORS})
    assert_exports(with_drawn_arrays(net), path, sequences)


def test_map_of_a_net_is_exported(path: Path) -> None:
    inner = mxt.NetChain([mxt.Reshape((1, 3)), mxt.Convolution(2, 2), mxt.BatchNorm(), mxt.Flatten(), mxt.Linear(())])
    net = mxt.NetChain([mxt.Map(inner)], inputs={"Input": VECTORS})
    assert_exports(with_drawn_arrays(net), path, sequences)


def test_shared_arrays_are_in_the_file_once(path: Path) -> None:
    net = mxt.NetChain(
        {"embedding": mxt.Embedding(3), "one": mxt.LSTM(3), "two": mxt.LSTM(3), "linear": mxt.Linear(11)},
        inputs={"Input": mxt.Sequence("t", mxt.Index(11))},
        share={"two": "one", "linear.Weights": "embedding.Weights"},
    )
    net = with_drawn_arrays(net)
    assert_exports(net, path, lambda rows, steps: {"Input": np.random.default_rng(rows).integers(0, 11, (rows, steps))})
    stored = [array for array in onnx.load(str(path)).graph.initializer if array.data_type == onnx.TensorProto.FLOAT]
    assert sum(int(np.prod(array.dims)) for array in stored) == sum(array.size for array in net.arrays.values())


def test_float64_arrays_give_a_file_in_float64(path: Path) -> None:
    layers = [
        mxt.Linear(5),
        mxt.Elementwise("tanh"),
        mxt.BatchNorm(epsilon=2.0**-8),
        mxt.Aggregate("sum"),
    ]  # what onnxruntime has had in float64 for long
    net = with_drawn_arrays(mxt.NetChain(layers, inputs={"Input": mxt.Vector(3)}), "float64")
    mxt.to_onnx(net, path)
    x = {"Input": np.random.default_rng(0).normal(size=(4, 3))}
    assert_same(ran(path, x)["Output"], engine(net, x)["Output"], DOUBLE)


def test_bytes_come_in_as_such(path: Path) -> None:
    net = mxt.NetChain([mxt.Flatten(), mxt.Linear(2)], inputs={"Input": mxt.Array((2, 4), dtype="uint8")})
    net = with_drawn_arrays(net)
    mxt.to_onnx(net, path)
    x = np.random.default_rng(0).integers(0, 256, (3, 2, 4)).astype(np.uint8)
    assert onnx.load(str(path)).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert_same(ran(path, {"Input": x})["Output"], engine(net, {"Input": x})["Output"])


def test_index_is_int32(path: Path) -> None:
    mxt.to_onnx(with_drawn_arrays(mxt.NetChain([mxt.Embedding(2)], inputs={"Input": mxt.Index(4)})), path)
    assert onnx.load(str(path)).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT32


def test_input_with_an_initial_value_may_not_be_left_out(path: Path) -> None:
    net = mxt.NetGraph(
        {"plus": mxt.Threading("plus")},
        [(["Input", "Start"], "plus", "Output")],
        inputs={"Input": mxt.Vector(2), "Start": mxt.Vector(2, initial=1.0)},
    )
    mxt.to_onnx(net, path)
    assert ports(path)[0] == {"Input": ["batch", 2], "Start": ["batch", 2]}


# What the file gives


def trained_net() -> mxt.NetGraph:
    layers = [mxt.LSTM(4), mxt.Linear(5), mxt.CrossEntropyLoss("index")]
    return mxt.NetChain(layers, inputs={"Input": VECTORS})


def test_what_feeds_the_loss_takes_its_place(path: Path) -> None:
    net = with_drawn_arrays(trained_net())
    mxt.to_onnx(net, path)
    assert ports(path) == ({"Input": ["batch", "t", 3]}, {"Output": ["batch", "t", 5]})
    x = sequences(2, 3)
    assert_same(ran(path, fed(path, x))["Output"], engine(net.take({"Output": "linear"}), x)["Output"])


def test_states_are_given_beside_what_feeds_the_loss(path: Path) -> None:
    mxt.to_onnx(with_drawn_arrays(trained_net().with_states()), path)
    assert list(ports(path)[1]) == ["Output", "lstm.State.next", "lstm.CellState.next"]


def two_losses(**outputs: str) -> mxt.NetGraph:
    layers = {"a": mxt.Linear(2), "b": mxt.Linear(()), "mse": mxt.MeanSquaredLoss(), "mae": mxt.MeanAbsoluteLoss()}
    paths: list[Any] = [("Input", "a", "mse", "LossA"), ("Input", "b", "mae", "LossB")]
    paths += [("TargetA", "mse.Target"), ("TargetB", "mae.Target"), *((layer, port) for port, layer in outputs.items())]
    return with_drawn_arrays(mxt.NetGraph(layers, paths, inputs={"Input": mxt.Vector(3)}))


def test_what_feeds_several_losses_has_the_names_of_layers(path: Path) -> None:
    mxt.to_onnx(two_losses(), path)
    assert ports(path)[1] == {"a": ["batch", 2], "b": ["batch"]}


def test_other_outputs_are_given_instead_of_what_feeds_losses(path: Path) -> None:
    mxt.to_onnx(two_losses(Prediction="b"), path)
    assert ports(path)[1] == {"Prediction": ["batch"]}


def test_outputs_that_need_a_loss_and_error_rates_are_dropped(path: Path) -> None:
    net = mxt.NetGraph(
        {
            "linear": mxt.Linear(4),
            "loss": mxt.CrossEntropyLoss("index"),
            "rate": mxt.ErrorRate(),
            "w": mxt.LearnedWeight(),
        },
        [
            *(("Input", "linear", "loss", "w", "Weighted"), ("loss", "Loss"), ("linear", "rate", "Rate")),
            *(("Target", "loss.Target"), ("Target", "rate.Target")),
        ],
        inputs={"Input": mxt.Vector(3)},
    )
    mxt.to_onnx(with_drawn_arrays(net), path)
    assert ports(path) == ({"Input": ["batch", 3]}, {"Output": ["batch", 4]})


def test_state_that_feeds_the_loss_takes_its_place_and_not_the_layers_first_output(path: Path) -> None:
    net = mxt.NetGraph(
        {"gru": mxt.GRU(4), "loss": mxt.MeanSquaredLoss()},
        [("Input", "gru"), ("gru.State", "loss", "Loss")],
        inputs={"Input": VECTORS},
    )
    mxt.to_onnx(with_drawn_arrays(net), path)
    assert ports(path)[1] == {"Output": ["batch", 4]}


def test_chosen_outputs_are_those_of_layers_with_only_what_they_need(path: Path) -> None:
    net = with_drawn_arrays(trained_net().with_states())
    without = net.with_arrays({name: x for name, x in net.arrays.items() if name.startswith("lstm")})
    mxt.to_onnx(without, path, outputs=["lstm", "lstm.CellState", "lstm"])
    assert list(ports(path)[0]) == ["Input", "lstm.State", "lstm.CellState"]
    assert list(ports(path)[1]) == ["lstm", "lstm.CellState.next"]


def test_chosen_output_of_a_net_in_the_net_is_given(path: Path) -> None:
    inner = mxt.NetChain([mxt.Linear(4), mxt.Elementwise("tanh")])
    net = mxt.NetChain({"inner": inner, "last": mxt.Linear(2)}, inputs={"Input": mxt.Vector(3)})
    mxt.to_onnx(with_drawn_arrays(net), path, outputs=["inner", "inner.linear", "inner.Output"])
    assert list(ports(path)[1]) == ["inner", "inner.linear", "inner.Output"]


def test_state_nobody_feeds_is_an_output_of_its_own_name(path: Path) -> None:
    mxt.to_onnx(with_drawn_arrays(trained_net()), path, outputs=["lstm.State"])
    assert ports(path) == ({"Input": ["batch", "t", 3]}, {"lstm.State": ["batch", 4]})


def test_axes_are_fixed_where_they_are_given(path: Path) -> None:
    net = with_drawn_arrays(trained_net())
    mxt.to_onnx(net, path, batch_size=2)
    assert ports(path) == ({"Input": [2, "t", 3]}, {"Output": [2, "t", 5]})
    mxt.to_onnx(net, path, lengths={"t": 6})
    assert ports(path) == ({"Input": ["batch", 6, 3]}, {"Output": ["batch", 6, 5]})
    mxt.to_onnx(net, path, batch_size=2, lengths={"t": 6})
    assert ports(path) == ({"Input": [2, 6, 3]}, {"Output": [2, 6, 5]})
    x = sequences(2, 6)
    assert_same(ran(path, fed(path, x))["Output"], engine(net.take({"Output": "linear"}), x)["Output"])


def test_file_has_the_promised_versions(path: Path) -> None:
    mxt.to_onnx(with_drawn_arrays(trained_net()), path)
    model = onnx.load(str(path))
    assert (model.ir_version, [(used.domain, used.version) for used in model.opset_import]) == (8, [("", 17)])


def test_same_net_gives_the_same_bytes(path: Path) -> None:
    net = with_drawn_arrays(trained_net())
    mxt.to_onnx(net, path)
    first = path.read_bytes()
    mxt.to_onnx(net, path)
    assert path.read_bytes() == first


def test_net_of_a_trainer_is_exported(linear_plan: mxt.Plan, path: Path) -> None:
    with mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4) as trainer:
        trainer.update({"Input": np.ones(4), "Target": np.zeros(4)})
        mxt.to_onnx(trainer.net(), path)
        expected = trainer.evaluate({"Input": np.arange(3.0)}, outputs=["linear"]).outputs["linear"]
    assert_same(ran(path, {"Input": np.arange(3, dtype=np.float32)})["Output"], expected)


# Refusals


@register
@dataclass(frozen=True, repr=False)
class OwnOfTheUser(ShapeKeeping):
    """A layer that only its user knows."""


@register
@dataclass(frozen=True, repr=False)
class OwnCell(mxt.GRU):
    """A recurrent layer that only its user knows."""


def test_layer_of_the_users_own_is_refused(path: Path) -> None:
    net = mxt.NetChain([OwnOfTheUser()], inputs={"Input": mxt.Vector(3)})
    with pytest.raises(
        mxt.NetError, match=r'layer "ownoftheuser" \(OwnOfTheUser\(\)\).*What can: Aggregate, .*Threading'
    ):
        mxt.to_onnx(net, path)
    assert not path.exists()


def test_recurrent_layer_of_the_users_own_is_refused_within_bidirectional(path: Path) -> None:
    net = with_drawn_arrays(mxt.NetChain([mxt.Bidirectional(OwnCell(2))], inputs={"Input": VECTORS}))
    with pytest.raises(
        mxt.NetError, match=r'"bidirectional" \(Bidirectional\(OwnCell\(2\)\)\).*BasicRecurrent, GRU, LSTM'
    ):
        mxt.to_onnx(net, path)


@pytest.mark.parametrize("case", [case for case in LAYERS if isinstance(case.layer, mxt.Fold)], ids=str)
def test_fold_is_refused(case: Case, path: Path) -> None:
    with pytest.raises(mxt.NetError, match=r'layer "layer" \(Fold'):
        mxt.to_onnx(case.net(EXTENTS[0]), path)


def test_graph_of_mxnet_operators_is_refused(path: Path) -> None:
    layer = mxt.SymbolLayer(mx.sym.tanh(mx.sym.var("x"), name="y").tojson(), ("x",))
    with pytest.raises(mxt.NetError, match=r'layer "symbollayer" \(SymbolLayer'):
        mxt.to_onnx(mxt.NetChain([layer], inputs={"x": mxt.Vector(3)}), path)


def test_layer_in_a_map_is_named_with_its_path(path: Path) -> None:
    net = mxt.NetChain([mxt.Map(mxt.NetChain([OwnOfTheUser()]))], inputs={"Input": VECTORS})
    with pytest.raises(mxt.NetError, match=r'layer "map.ownoftheuser"'):
        mxt.to_onnx(net, path)


def test_loss_as_a_chosen_output_is_refused(path: Path) -> None:
    with pytest.raises(mxt.NetError, match=r'layer "crossentropyloss" .*outputs='):
        mxt.to_onnx(with_drawn_arrays(trained_net()), path, outputs=["Loss"])


def test_net_of_losses_alone_is_refused(path: Path) -> None:
    net = mxt.NetChain([mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(3)})
    with pytest.raises(mxt.NetError, match="losses of its inputs and nothing else"):
        mxt.to_onnx(net, path)


@pytest.mark.parametrize("missing", ["lstm.StateBiases", "linear.Weights"])
def test_array_without_values_is_named(missing: str, path: Path) -> None:
    net = with_drawn_arrays(trained_net())
    with pytest.raises(mxt.NetError, match=f'no values for "{missing}".*trainer.net'):
        mxt.to_onnx(net.with_arrays({name: x for name, x in net.arrays.items() if name != missing}), path)


def test_array_of_another_shape_is_named(path: Path) -> None:
    net = with_drawn_arrays(trained_net())
    with pytest.raises(mxt.NetError, match=r'"linear.Biases" must have the shape \(5,\), got \(4,\)'):
        mxt.to_onnx(net.with_arrays({**net.arrays, "linear.Biases": np.zeros(4)}), path)


def test_undetermined_type_is_named(path: Path) -> None:
    with pytest.raises(mxt.NetError, match=r'layer "linear".*not determined'):
        mxt.to_onnx(mxt.NetChain([mxt.Linear(3)]), path)


@pytest.mark.parametrize("net", [None, mxt.Linear(3), "net"])
def test_what_is_no_net_is_refused(net: Any, path: Path) -> None:
    with pytest.raises(mxt.ArgumentError, match="takes a net with arrays"):
        mxt.to_onnx(net, path)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"outputs": ["liner"]}, mxt.UnknownNameError, 'no output or layer "liner"; did you mean "linear"'),
        ({"outputs": []}, mxt.ArgumentError, "names nothing"),
        ({"outputs": "linear"}, mxt.ArgumentError, "outputs must be a list of names"),
        ({"batch_size": 0}, mxt.ArgumentError, "batch_size must be a positive integer"),
        ({"batch_size": "batch"}, mxt.ArgumentError, "batch_size must be a positive integer"),
        ({"lengths": {"T": 3}}, mxt.ArgumentError, 'no length "T"; did you mean "t"'),
        ({"lengths": {"t": 0}}, mxt.ArgumentError, 'lengths: "t" must be a positive integer'),
        ({"lengths": 5}, mxt.ArgumentError, "lengths must map"),
    ],
)
def test_argument_that_is_not_usable_is_named(options: Any, kind: type[Exception], text: str, path: Path) -> None:
    with pytest.raises(kind, match=text):
        mxt.to_onnx(with_drawn_arrays(trained_net()), path, **options)
    assert not path.exists()


@pytest.mark.parametrize("path", [None, 3, ""])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="path must be the path of a file"):
        mxt.to_onnx(with_drawn_arrays(trained_net()), path)


def test_length_with_the_name_of_the_batch_axis_must_be_fixed(path: Path) -> None:
    net = mxt.NetChain([mxt.SequenceLast()], inputs={"Input": mxt.Sequence("batch", mxt.Vector(3))})
    with pytest.raises(mxt.NetError, match='a length of the name "batch"'):
        mxt.to_onnx(net, path)
    mxt.to_onnx(net, path, batch_size=2)
    assert ports(path)[0] == {"Input": [2, "batch", 3]}
    mxt.to_onnx(net, path, lengths={"batch": 4})
    assert ports(path)[0] == {"Input": ["batch", 4, 3]}


def test_arrays_that_no_file_holds_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "LARGEST", 100)
    with pytest.raises(mxt.ArgumentError, match="bytes, and an ONNX file holds no more than 100"):
        mxt.to_onnx(with_drawn_arrays(trained_net()), path)


def test_library_that_is_not_installed_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(mxt.MissingExtraError, match=r'to_onnx needs onnx.*pip install "mxtrainer\[onnx\]"'):
        mxt.to_onnx(with_drawn_arrays(trained_net()), path)


def test_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    net = with_drawn_arrays(trained_net())
    with pytest.raises(mxt.ArgumentError, match="cannot be written"):
        mxt.to_onnx(net, tmp_path / "nowhere" / "net.onnx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(mxt.ArgumentError, match="cannot be written"):
        mxt.to_onnx(net, tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_file_that_was_there_stays_where_the_new_one_fails(path: Path) -> None:
    path.write_text("old")
    with pytest.raises(mxt.NetError):
        mxt.to_onnx(trained_net(), path)
    assert path.read_text() == "old"
