"""Nets of MXNet symbols give what MXNet's own executor gives, and are trained by its own gradients."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.operators import ALLOWED
from mxtrainer.plans.operators import LOSSES as LOSSES_BY_NAME
from mxtrainer.plans.symbols import Operation, apply_operation, signature

ROWS, STEPS, WIDTH, CLASSES = 4, 5, 3, 6
GENERATOR = np.random.default_rng(0)
Arrays = dict[str, Any]


def given(symbol: Any, **shapes: tuple[int, ...]) -> Arrays:
    """Return random values for the arrays of a symbol with inputs of these shapes."""
    generator = np.random.default_rng(1)
    arguments, _, auxiliary = symbol.infer_shape(**shapes)
    found = dict(zip(symbol.list_arguments(), arguments)) | dict(zip(symbol.list_auxiliary_states(), auxiliary))
    return {
        name: np.asarray(generator.uniform(0.5, 2.0, shape), np.float32)
        if name.endswith(("var", "gamma"))
        else np.asarray(generator.standard_normal(shape), np.float32)
        for name, shape in found.items()
        if name not in shapes
    }


class Judge:
    """MXNet's own executor of a symbol."""

    def __init__(self, symbol: Any, arrays: Arrays, inputs: Arrays) -> None:
        everything = {name: mx.nd.array(array, dtype="float32") for name, array in {**arrays, **inputs}.items()}
        arguments = {name: everything[name] for name in symbol.list_arguments()}
        self.auxiliary = {name: everything[name] for name in symbol.list_auxiliary_states()}
        self.gradients = {name: mx.nd.zeros(array.shape) for name, array in arguments.items() if name in arrays}
        self._executor = symbol.bind(mx.cpu(), arguments, self.gradients, aux_states=self.auxiliary)

    def forward(self) -> list[Any]:
        return [output.asnumpy() for output in self._executor.forward(is_train=False)]

    def step(self) -> None:
        """Run forward and backward in training mode; the heads make up their gradients."""
        self._executor.forward(is_train=True)
        self._executor.backward()


def gradients_of(net: mxt.NetGraph, batch: Arrays) -> tuple[Arrays, mxt.Trainer]:
    """Return the gradients of the mean loss over the batch by MXNet's names."""
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.0), ROWS, arrays=net)
    trainer.compute(batch)
    return {path.partition(".")[2]: trainer.gradients[path][:] for path in trainer.plan.parameters}, trainer


def dense(name: str, symbol: Any, size: int, **keywords: Any) -> Any:
    return mx.sym.FullyConnected(symbol, num_hidden=size, name=name, **keywords)


def convolution() -> Any:
    symbol = mx.sym.Convolution(mx.sym.var("data"), num_filter=4, kernel=(3, 3), name="conv")
    symbol = mx.sym.Activation(mx.sym.BatchNorm(symbol, name="norm"), act_type="relu")
    return dense("fc", mx.sym.Pooling(symbol, global_pool=True, kernel=(1, 1), pool_type="avg"), CLASSES)


def recurrent(mode: str, bidirectional: bool = False) -> Any:
    """Return a net over sequences, batch first."""
    steps = mx.sym.swapaxes(mx.sym.var("data"), dim1=0, dim2=1)
    directions = 2 if bidirectional else 1
    gates = {"lstm": 4, "gru": 3, "rnn_tanh": 1}[mode]
    size = directions * gates * 4 * (WIDTH + 4 + 2)
    states = [mx.sym.zeros((directions, 0, 4)) for _ in range(2 if mode == "lstm" else 1)]
    packed = mx.sym.var("rnn_parameters", shape=(size,))
    run = mx.sym.RNN(steps, packed, *states, state_size=4, num_layers=1, mode=mode, bidirectional=bidirectional)
    return mx.sym.swapaxes(run, dim1=0, dim2=1)


NETS: dict[str, tuple[Callable[[], Any], Any]] = {
    "mlp": (
        lambda: dense("b", mx.sym.tanh(dense("a", mx.sym.var("data"), 7)), CLASSES),
        mxt.Vector(WIDTH),
    ),
    "convolution": (convolution, mxt.Array((2, 6, 6))),
    "lstm": (lambda: recurrent("lstm"), mxt.Sequence("t", mxt.Vector(WIDTH))),
    "gru": (lambda: recurrent("gru"), mxt.Sequence("t", mxt.Vector(WIDTH))),
    "rnn": (lambda: recurrent("rnn_tanh"), mxt.Sequence("t", mxt.Vector(WIDTH))),
    "bidirectional": (lambda: recurrent("lstm", bidirectional=True), mxt.Sequence("t", mxt.Vector(WIDTH))),
}


def values_of(port: Any) -> Any:
    outer = (ROWS, STEPS) if isinstance(port, mxt.Sequence) else (ROWS,)
    item = port.item if isinstance(port, mxt.Sequence) else port
    return np.random.default_rng(2).standard_normal((*outer, *item.shape)).astype(np.float32)


@pytest.mark.parametrize("kind", NETS)
def test_outputs_are_those_of_mxnets_own_executor(kind: str) -> None:
    make, port = NETS[kind]
    symbol, data = make(), values_of(NETS[kind][1])
    arrays = given(symbol, data=data.shape)
    net = mxt.from_symbol(symbol, {"data": port}, arrays=arrays)
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
    executor = mxt.instantiate(plan, ROWS, {"t": STEPS} if plan.lengths else None, arrays=net.arrays, training=False)
    executor.forward({"data": data})
    expected = Judge(symbol, arrays, {"data": data}).forward()
    for found, wanted in zip(executor.outputs.values(), expected):
        np.testing.assert_allclose(found.asnumpy(), wanted, rtol=1e-5, atol=1e-6)


LABEL = mx.sym.var("label")
FLAT = mx.sym.reshape(LABEL, shape=(-1,))
CLASS = GENERATOR.integers(0, CLASSES, ROWS)
CLASS_OF_STEP = GENERATOR.integers(0, CLASSES, (ROWS, STEPS))
REAL = GENERATOR.random((ROWS, CLASSES)).astype(np.float32)
SHARES = REAL / REAL.sum(axis=1, keepdims=True)


def scored(**keywords: Any) -> Any:
    return mx.sym.SoftmaxOutput(dense("a", mx.sym.var("data"), CLASSES), LABEL, name="softmax", **keywords)


def by_step(**keywords: Any) -> Any:
    rows = mx.sym.reshape(mx.sym.var("data"), shape=(-1, WIDTH))
    return mx.sym.SoftmaxOutput(dense("a", rows, CLASSES), FLAT, name="softmax", **keywords)


def many(**keywords: Any) -> Any:
    """Return a score for each of STEPS places, classes before them."""
    scores = mx.sym.reshape(dense("a", mx.sym.var("data"), CLASSES * STEPS), shape=(0, CLASSES, STEPS))
    return mx.sym.SoftmaxOutput(scores, LABEL, name="softmax", multi_output=True, **keywords)


def regressed(operator: str, **keywords: Any) -> Any:
    return getattr(mx.sym, operator)(dense("a", mx.sym.var("data"), CLASSES), LABEL, name="out", **keywords)


VECTOR, STEPWISE = mxt.Vector(WIDTH), mxt.Sequence("t", mxt.Vector(WIDTH))
#: The symbol, the type of the data, that of the label where it is not the usual one, the label, and what MXNet's
#: gradient is divided by to be that of the mean over the rows.
LOSSES: dict[str, tuple[Any, Any, Any, Any, float]] = {
    "softmax": (scored(), VECTOR, None, CLASS, ROWS),
    "softmax scaled": (scored(grad_scale=0.3), VECTOR, None, CLASS, ROWS),
    "softmax over the batch": (scored(normalization="batch"), VECTOR, None, CLASS, 1),
    "softmax over what is valid": (scored(normalization="valid"), VECTOR, None, CLASS, 1),
    "softmax smoothed": (scored(smooth_alpha=0.2), VECTOR, None, CLASS, ROWS),
    "softmax with a label to ignore": (scored(use_ignore=True, ignore_label=2), VECTOR, None, [2, 0, 2, 5], ROWS),
    "softmax of shares": (scored(), VECTOR, mxt.Vector(CLASSES), SHARES, ROWS),
    "softmax of steps": (by_step(), STEPWISE, mxt.Sequence("t", mxt.Index(CLASSES)), CLASS_OF_STEP, ROWS),
    "softmax of steps over the batch": (by_step(normalization="batch"), STEPWISE, None, CLASS_OF_STEP, 1),
    "softmax of steps over what is valid": (by_step(normalization="valid"), STEPWISE, None, CLASS_OF_STEP, 1),
    "softmax of places": (many(), VECTOR, None, CLASS_OF_STEP, ROWS),
    "softmax of places over the batch": (many(normalization="batch"), VECTOR, None, CLASS_OF_STEP, 1),
    "softmax of places over what is valid": (many(normalization="valid"), VECTOR, None, CLASS_OF_STEP, 1),
    "linear": (regressed("LinearRegressionOutput", grad_scale=2.0), VECTOR, None, REAL, ROWS),
    "absolute": (regressed("MAERegressionOutput"), VECTOR, None, REAL, ROWS),
    "logistic": (regressed("LogisticRegressionOutput"), VECTOR, None, REAL, ROWS),
    "made": (
        mx.sym.MakeLoss(mx.sym.square(dense("a", mx.sym.var("data"), CLASSES) - LABEL), grad_scale=0.5, name="made"),
        VECTOR,
        mxt.Vector(CLASSES),
        REAL,
        ROWS,
    ),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_are_those_that_mxnets_output_layers_make_up(kind: str) -> None:
    symbol, port, target, label, divisor = LOSSES[kind]
    data = values_of(port)
    arrays = given(symbol, data=data.shape, label=np.shape(label))
    net = mxt.from_symbol(symbol, {"data": port, **({"label": target} if target else {})}, arrays=arrays)
    found, _ = gradients_of(net, {"data": data, "label": label})
    judge = Judge(symbol, arrays, {"data": data, "label": np.asarray(label, np.float32)})
    judge.step()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, judge.gradients[name].asnumpy() / divisor, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_values_of_losses_have_these_gradients(kind: str) -> None:
    symbol, port, target, label, _ = LOSSES[kind]
    net = mxt.from_symbol(symbol, {"data": port, **({"label": target} if target else {})})
    plan = mxt.compile_plan(net, dtype="float64")
    report = mxt.check_gradients(plan, {"data": values_of(port), "label": label})
    checked = {row["array"]: row["agrees"] for row in report.rows}
    classes = (
        np.ndim(label) < 2 or label is CLASS_OF_STEP
    )  # which have no slope, also where they travel as real numbers
    assert {"data", "symbol.a_weight"} <= set(checked)
    assert all(agrees for name, agrees in checked.items() if not (classes and name == "label"))


def test_predictions_need_no_label() -> None:
    net = mxt.from_symbol(scored(), {"data": VECTOR})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(), ROWS)
    found = trainer.evaluate({"data": values_of(VECTOR)}, outputs=["symbol.softmax_output"])
    np.testing.assert_allclose(found.outputs["symbol.softmax_output"].sum(axis=1), 1.0, rtol=1e-6)


def test_time_first_graphs_take_batches_that_are_batch_first() -> None:
    steps = mx.sym.var("data")
    states = [mx.sym.zeros((1, 0, 4)) for _ in range(2)]
    run = mx.sym.RNN(steps, mx.sym.var("rnn_parameters"), *states, state_size=4, num_layers=1, mode="lstm")
    scores = dense("a", mx.sym.reshape(run, shape=(-3, 0)), CLASSES)
    symbol = mx.sym.SoftmaxOutput(scores, FLAT, name="softmax")
    data, port = values_of(STEPWISE), {"data": STEPWISE}
    arrays = given(symbol, data=(STEPS, ROWS, WIDTH), label=(STEPS, ROWS))
    net = mxt.from_symbol(symbol, port, arrays=arrays, layout="TNC")
    found, trainer = gradients_of(net, {"data": data, "label": CLASS_OF_STEP})
    judge = Judge(symbol, arrays, {"data": data.swapaxes(0, 1), "label": CLASS_OF_STEP.T.astype(np.float32)})
    judge.step()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, judge.gradients[name].asnumpy() / ROWS, rtol=2e-5, atol=1e-6)
    shares = trainer.evaluate({"data": data}, outputs=["symbol.softmax_output"]).outputs["symbol.softmax_output"]
    wanted = judge.forward()[0].reshape(STEPS, ROWS, CLASSES).swapaxes(0, 1)
    np.testing.assert_allclose(shares, wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("fixed", [True, False])
def test_batch_norm_moves_its_statistics_as_mxnet_does(fixed: bool) -> None:
    normed = mx.sym.BatchNorm(dense("a", mx.sym.var("data"), CLASSES), name="norm", fix_gamma=fixed, momentum=0.7)
    symbol = mx.sym.LinearRegressionOutput(normed, LABEL, name="out")
    data = values_of(VECTOR)
    arrays = given(symbol, data=data.shape, label=REAL.shape)
    net = mxt.from_symbol(symbol, {"data": VECTOR}, arrays=arrays)
    found, trainer = gradients_of(net, {"data": data, "label": REAL})
    judge = Judge(symbol, arrays, {"data": data, "label": REAL})
    judge.step()
    assert ("norm_gamma" in found) is not fixed
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, judge.gradients[name].asnumpy() / ROWS, rtol=1e-4, atol=2e-6)
    mx.nd.waitall()
    for name, moved in judge.auxiliary.items():
        np.testing.assert_allclose(trainer.arrays[f"symbol.{name}"][:], moved.asnumpy(), rtol=1e-5, atol=1e-6)


def test_graphs_of_old_files_which_have_no_moving_statistics_get_them() -> None:
    symbol = mx.sym.BatchNorm(dense("a", mx.sym.var("data"), CLASSES), name="norm")
    graph = json.loads(symbol.tojson())
    graph["nodes"][-1]["inputs"] = graph["nodes"][-1]["inputs"][:3]
    layer = mxt.SymbolLayer(json.dumps(graph), ("data",))
    assert layer == mxt.SymbolLayer(symbol.tojson(), ("data",))


def test_rows_that_a_short_batch_lacks_have_no_part() -> None:
    normed = mx.sym.BatchNorm(dense("a", mx.sym.var("data"), CLASSES), name="norm", fix_gamma=False)
    net = mxt.from_symbol(mx.sym.SoftmaxOutput(normed, LABEL, name="softmax"), {"data": VECTOR})
    plan, batch = mxt.compile_plan(net), {"data": values_of(VECTOR), "label": CLASS}
    few, exact = mxt.Trainer(plan, mxt.SGD(), 9, seed=0), mxt.Trainer(plan, mxt.SGD(), ROWS, seed=0)
    for trainer in (few, exact):
        trainer.update(batch)
    for path in plan.parameters:
        np.testing.assert_allclose(few.arrays[path][:], exact.arrays[path][:], rtol=1e-5, atol=1e-7)


def test_dropout_acts_in_training_only_and_by_the_seed() -> None:
    dropped = mx.sym.Dropout(mx.sym.var("data"), p=0.5)
    net = mxt.from_symbol(mx.sym.SoftmaxOutput(dense("a", dropped, CLASSES), LABEL, name="softmax"), {"data": VECTOR})
    plan, batch = mxt.compile_plan(net), {"data": values_of(VECTOR), "label": CLASS}
    assert plan.random_nodes == ("symbol",)
    arrays = {path: np.full(spec.shape, 0.3, np.float32) for path, spec in plan.parameters.items()}
    arrays["symbol.a_weight"][0] = 2.0
    losses = []
    for seed in (0, 0, 1):
        trainer = mxt.Trainer(plan, mxt.SGD(0.0), ROWS, seed=seed, arrays=arrays)
        trainer.update(batch)
        losses.append(trainer.current_loss().total)
        assert trainer.evaluate(batch).losses.total == trainer.evaluate(batch).losses.total
    assert losses[0] == losses[1] != losses[2]


def test_plans_of_symbols_go_through_json() -> None:
    plan = mxt.compile_plan(mxt.from_symbol(scored(), {"data": VECTOR}))
    again = mxt.Plan.from_json(plan.to_json())
    assert again == plan
    assert again.content_hash == plan.content_hash


BY_LENGTH = {"SequenceMask": 0, "SequenceReverse": 1, "SequenceLast": 1}


@pytest.mark.parametrize("operator", BY_LENGTH)
def test_wrong_lengths_in_a_batch_count_as_the_nearest_right_ones(operator: str) -> None:
    steps = mx.sym.swapaxes(mx.sym.var("data"), dim1=0, dim2=1)
    run = getattr(mx.sym, operator)(steps, mx.sym.var("n"), use_sequence_length=True)
    symbol = run if operator == "SequenceLast" else mx.sym.swapaxes(run, dim1=0, dim2=1)
    net = mxt.from_symbol(symbol, {"data": STEPWISE, "n": mxt.Scalar()})
    plan, data = mxt.compile_plan(net, dict.fromkeys(net.outputs, 1.0)), values_of(STEPWISE)
    executor = mxt.instantiate(plan, ROWS, {"t": STEPS}, input_gradients=["data"])
    for wrong in (np.nan, np.inf, -np.inf, -1.0, -1e9, 0.0, STEPS + 1.0, 1e9):
        right = BY_LENGTH[operator] if np.isnan(wrong) else np.clip(wrong, BY_LENGTH[operator], STEPS)
        executor.forward({"data": data, "n": np.full(ROWS, wrong)})
        executor.backward()
        expected = Judge(symbol, {}, {"data": data, "n": np.full(ROWS, right)}).forward()[0]
        np.testing.assert_array_equal(next(iter(executor.outputs.values())).asnumpy(), expected)
        assert np.isfinite(executor.gradients["data"][:]).all()


def test_a_graph_that_fits_some_lengths_only_is_refused_at_the_others() -> None:
    cut = mx.sym.slice(mx.sym.var("data"), begin=(None, None, None), end=(None, 10, None))
    net = mxt.from_symbol(mx.sym.reshape(cut, shape=(0, 30), name="flat"), {"data": STEPWISE})
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0))
    with pytest.raises(mxt.NetError, match=r'"symbol".*"flat" \(Reshape\) makes \(2, 30\) of \(2, 5, 3\)'):
        mxt.instantiate(plan, ROWS, {"t": 5}).forward({"data": values_of(STEPWISE)})
    mxt.instantiate(plan, ROWS, {"t": 12}).forward({"data": np.ones((ROWS, 12, WIDTH))})


def test_operators_that_are_allowed_are_so_under_the_name_that_mxnet_writes() -> None:
    for name in ALLOWED | LOSSES_BY_NAME:
        found = written_name(name)
        assert found is None or found in ALLOWED | LOSSES_BY_NAME, f"{name} is written as {found}"


def written_name(operator: str) -> str | None:
    """Return what MXNet calls an operator in a file; None where it wants parameters first."""
    for attributes in ((), (("axis", "0"),), (("shape", "(1,)"),), (("scalar", "1"),)):
        with contextlib.suppress(mx.base.MXNetError):
            node = Operation(operator, "x", attributes)
            inputs = [mx.sym.var(str(number)) for number in range(signature(node).inputs)]
            return str(json.loads(apply_operation(node, inputs).tojson())["nodes"][-1]["op"])
    return None


def unrolled() -> Any:
    """Return a model of words as MXNet's examples have it: cells unrolled, all steps as rows, labels as well."""
    cell = mx.rnn.LSTMCell(num_hidden=4, prefix="lstm_")
    embedded = mx.sym.Embedding(mx.sym.var("data"), input_dim=9, output_dim=3, name="embed")
    states, _ = cell.unroll(STEPS, inputs=embedded, merge_outputs=True, begin_state=cell.begin_state(func=_zeros))
    scores = dense("a", mx.sym.reshape(states, shape=(-1, 4)), CLASSES)
    return mx.sym.SoftmaxOutput(scores, FLAT, name="softmax")


def _zeros(name: str, shape: tuple[int, ...], **_: Any) -> Any:
    return mx.sym.zeros(shape, name=name)


UPWARDS = (
    {"kernel": (4, 4), "stride": (2, 2), "pad": (1, 1)},
    {"kernel": (3, 3), "no_bias": False},
    {"kernel": (2, 2), "stride": (2, 2), "num_group": 2},
)


@pytest.mark.parametrize("options", UPWARDS, ids=str)
def test_deconvolutions_which_crash_mxnet_on_our_arrays_do_not(options: dict[str, Any]) -> None:
    symbol = mx.sym.LinearRegressionOutput(
        mx.sym.Deconvolution(mx.sym.var("data"), num_filter=4, name="up", **options), LABEL, name="out"
    )
    port = mxt.Array((2, 5, 5))
    data = values_of(port)
    label = np.random.default_rng(5).standard_normal(symbol.infer_shape(data=data.shape)[1][0]).astype(np.float32)
    arrays = given(symbol, data=data.shape, label=label.shape)
    found, _ = gradients_of(mxt.from_symbol(symbol, {"data": port}, arrays=arrays), {"data": data, "label": label})
    judge = Judge(symbol, arrays, {"data": data, "label": label})
    judge.step()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, judge.gradients[name].asnumpy() / ROWS, rtol=2e-5, atol=1e-6)


def test_unrolled_cells_take_arrays_of_all_steps() -> None:
    symbol = unrolled()
    data = np.random.default_rng(3).integers(0, 9, (ROWS, STEPS)).astype(np.float32)
    arrays = given(symbol, data=data.shape, label=(ROWS, STEPS))
    net = mxt.from_symbol(symbol, {"data": mxt.Vector(STEPS)}, arrays=arrays)
    assert net.inputs["label"] == mxt.Vector(STEPS)
    found, trainer = gradients_of(net, {"data": data, "label": CLASS_OF_STEP})
    judge = Judge(symbol, arrays, {"data": data, "label": CLASS_OF_STEP.astype(np.float32)})
    judge.step()
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, judge.gradients[name].asnumpy() / ROWS, rtol=2e-5, atol=1e-6)
    shares = trainer.evaluate({"data": data}, outputs=["symbol.softmax_output"]).outputs["symbol.softmax_output"]
    np.testing.assert_allclose(shares.reshape(-1, CLASSES), judge.forward()[0], rtol=2e-5, atol=1e-6)


def test_two_losses_have_the_names_of_their_layers() -> None:
    hidden = dense("a", mx.sym.var("data"), CLASSES)
    first = mx.sym.SoftmaxOutput(hidden, mx.sym.var("one"), name="first")
    second = mx.sym.LinearRegressionOutput(hidden, mx.sym.var("two"), name="second")
    shown = mx.sym.BlockGrad(hidden, name="hidden")
    net = mxt.from_symbol(mx.sym.Group([first, second, shown]), {"data": VECTOR})
    assert tuple(net.outputs) == ("first_loss", "second_loss", "hidden_output")
    assert {port: net.inputs[port] for port in ("one", "two")} == {"one": mxt.Index(6), "two": mxt.Vector(6)}


def test_arrays_can_be_constant_and_begin_as_one_says() -> None:
    begin = {"a_weight": mxt.initializers.Constant(0.5)}
    net = mxt.from_symbol(scored(), {"data": VECTOR}, constants=["a_bias"], initializers=begin)
    plan = mxt.compile_plan(net)
    assert tuple(plan.parameters) == ("symbol.a_weight",)
    assert tuple(plan.auxiliary) == ("symbol.a_bias",)
    trainer = mxt.Trainer(plan, mxt.SGD(1.0), ROWS)
    np.testing.assert_array_equal(trainer.arrays["symbol.a_weight"][:], 0.5)
    trainer.update({"data": values_of(VECTOR), "label": CLASS})
    np.testing.assert_array_equal(trainer.arrays["symbol.a_bias"][:], 0.0)
    with pytest.raises(mxt.ArgumentError, match="constants: the graph has no variable 'b'"):
        mxt.from_symbol(scored(), {"data": VECTOR}, constants=["b"])
