"""Arrays from PyTorch compute what PyTorch computes, and go back as they were; what does not fit is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from weight_cases import SIZE, STEPS, VECTORS, WIDTH, entries, filled, net_of, output_of

import mxtrainer as mxt

STATE = "state/"
VECTOR = mxt.Vector(WIDTH)
KINDS: dict[str, tuple[mxt.NetGraph, dict[str, Any]]] = {
    "rnn": (net_of(VECTORS, mxt.BasicRecurrent(SIZE)), {"basicrecurrent": "rnn"}),
    "rnn_relu": (net_of(VECTORS, mxt.BasicRecurrent(SIZE, "relu")), {"basicrecurrent": "rnn"}),
    "lstm": (net_of(VECTORS, mxt.LSTM(SIZE), mxt.LSTM(SIZE)), {"lstm": "rnn", "lstm_2": ("rnn", 1)}),
    "lstm_without_bias": (net_of(VECTORS, mxt.LSTM(SIZE)), {"lstm": "rnn"}),
    "gru": (net_of(VECTORS, mxt.GRU(SIZE)), {"gru": ("rnn", 0)}),
    "bidirectional_rnn": (net_of(VECTORS, mxt.Bidirectional(mxt.BasicRecurrent(SIZE))), {"bidirectional": "rnn"}),
    "bidirectional_lstm": (
        net_of(VECTORS, mxt.Bidirectional(mxt.LSTM(SIZE)), mxt.Bidirectional(mxt.LSTM(SIZE))),
        {"bidirectional": "rnn", "bidirectional_2": ("rnn", 1)},
    ),
    "bidirectional_gru": (net_of(VECTORS, mxt.Bidirectional(mxt.GRU(SIZE))), {"bidirectional": "rnn"}),
    "linear": (net_of(VECTOR, mxt.Linear(SIZE)), {"linear": "linear"}),
    "linear_without_bias": (net_of(VECTOR, mxt.Linear(SIZE, biases=False)), {"linear": "linear"}),
    "embedding": (net_of(mxt.Sequence("t", mxt.Index(5)), mxt.Embedding(WIDTH)), {"embedding": "embedding"}),
    "convolution_1d": (
        net_of(mxt.Array((WIDTH, STEPS)), mxt.Convolution(SIZE, 3, padding=1)),
        {"convolution": "conv"},
    ),
    "convolution_2d": (net_of(mxt.Array((WIDTH, 4, 4)), mxt.Convolution(SIZE, (3, 2))), {"convolution": "conv"}),
    "batch_norm": (net_of(VECTOR, mxt.BatchNorm(epsilon=1e-5)), {"batchnorm": "norm"}),
    "batch_norm_without_affine": (net_of(VECTOR, mxt.BatchNorm(epsilon=1e-5)), {"batchnorm": "norm"}),
    "layer_norm": (net_of(VECTOR, mxt.LayerNorm()), {"layernorm": "norm"}),
}


def state_of(kind: str) -> dict[str, NDArray[Any]]:
    found = entries("torch", kind)
    return {name[len(STATE) :]: array for name, array in found.items() if name.startswith(STATE)}


def state_for(net: mxt.NetGraph, names: Any = None) -> dict[str, NDArray[Any]]:
    """A state dict of the right shapes."""
    return mxt.to_torch(filled(net), names)


class Tensor:
    """What numpy reads of a tensor: nothing, until it is detached."""

    def __init__(self, array: NDArray[Any], *, attached: bool = True) -> None:
        self._array, self._attached = array, attached

    def detach(self) -> Tensor:
        return Tensor(self._array, attached=False)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        if self._attached:
            raise RuntimeError("it has a gradient")
        return self._array


@pytest.mark.parametrize("kind", KINDS)
def test_net_computes_what_pytorch_computes(kind: str) -> None:
    net, names = KINDS[kind]
    found = entries("torch", kind)
    net = mxt.from_torch(net, state_of(kind), names)
    np.testing.assert_allclose(output_of(net, found["input"]), found["output"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_go_back_to_pytorch_as_they_came(kind: str) -> None:
    net, names = KINDS[kind]
    state = state_of(kind)
    written = mxt.to_torch(mxt.from_torch(net, state, names), names)
    for name, array in state.items():
        if not name.endswith("num_batches_tracked"):
            assert written[name].dtype == array.dtype
            np.testing.assert_array_equal(written.pop(name), array, err_msg=name)
    assert all((array == (1.0 if "weight" in name else 0.0)).all() for name, array in written.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_net_comes_back_from_pytorch_as_it_went(kind: str) -> None:
    net, names = KINDS[kind]
    assert mxt.from_torch(net, mxt.to_torch(filled(net), names), names) == filled(net)


def test_without_names_every_layer_is_called_as_its_path() -> None:
    encoder = mxt.NetChain([mxt.Embedding(3), mxt.LSTM(4)])
    net = mxt.NetChain({"encoder": encoder, "decoder": mxt.Linear(5)}, {"Input": mxt.Sequence("t", mxt.Index(6))})
    state = state_for(net)
    assert list(state) == [
        "encoder.embedding.weight",
        "encoder.lstm.weight_ih_l0",
        "encoder.lstm.weight_hh_l0",
        "encoder.lstm.bias_ih_l0",
        "encoder.lstm.bias_hh_l0",
        "decoder.weight",
        "decoder.bias",
    ]
    assert mxt.from_torch(net, state) == filled(net)


def test_layers_within_map_and_fold_have_names() -> None:
    net = net_of(
        VECTORS, mxt.Map(mxt.NetChain({"in": mxt.Linear(2), "out": mxt.Linear(2)}, share={"out.Biases": "in.Biases"}))
    )
    assert mxt.from_torch(net, state_for(net)) == filled(net)
    assert list(state_for(net)) == ["map.in.weight", "map.in.bias", "map.out.weight", "map.out.bias"]


def test_prefix_may_be_empty_and_other_layers_stay_as_they_are() -> None:
    net = filled(net_of(VECTORS, mxt.LSTM(2, initial="learned"), mxt.Linear(2)))
    state = {"weight": np.eye(2), "bias": np.ones(2)}
    again = mxt.from_torch(net, state, {"linear": ""})
    assert {path for path in net.arrays if not np.array_equal(net.arrays[path], again.arrays[path])} == {
        "linear.Weights",
        "linear.Biases",
    }
    assert not any("Initial" in name for name in mxt.to_torch(net))


def test_tensors_with_gradients_are_detached() -> None:
    net = net_of(VECTOR, mxt.Linear(2))
    state = state_for(net)
    assert mxt.from_torch(net, {name: Tensor(array) for name, array in state.items()}) == filled(net)


def test_what_is_written_is_a_copy_that_may_be_changed() -> None:
    net = filled(net_of(VECTOR, mxt.Linear(2)))
    mxt.to_torch(net)["linear.weight"][:] = 0.0
    assert net == filled(net)


def test_trained_net_goes_to_pytorch_with_what_its_forward_pass_moved() -> None:
    net = net_of(VECTOR, mxt.BatchNorm(), mxt.Linear(1), mxt.MeanSquaredLoss())
    with mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=2) as trainer:
        trainer.update({"Input": np.ones((2, 3)), "Target": np.zeros((2, 1))})
        state = mxt.to_torch(trainer.net())
    np.testing.assert_allclose(state["batchnorm.running_mean"], 0.1, rtol=1e-6)


# What does not fit


def problems_of(call: Any, *arguments: Any) -> list[str]:
    with pytest.raises(mxt.ArgumentError) as raised:
        call(*arguments)
    return str(raised.value).splitlines()


def test_all_mismatches_come_in_one_message() -> None:
    net = net_of(VECTORS, mxt.LSTM(4), mxt.Linear(2))
    state: dict[str, Any] = {**state_for(net), "rnn.weight_ih_l1": np.ones(3), "linear.scale": np.ones(3)}
    state["lstm.weight_ih_l0"] = np.ones((12, 3))
    del state["lstm.weight_hh_l0"]
    state["linear.bias"] = np.array(["x", "y"])
    assert problems_of(mxt.from_torch, net, state) == [
        "from_torch: the state dict does not fit the net:",
        '  "rnn.weight_ih_l1" is used by no layer; name a layer for it, or leave it out of the state dict',
        (
            '  "linear.scale" is used by no layer, also not by layer "linear" (Linear(2)), which has no such array; '
            "name a layer for it, or leave it out of the state dict"
        ),
        '  layer "lstm" (LSTM(4)): "lstm.weight_ih_l0", for "lstm.InputWeights", must be (16, 3), found (12, 3)',
        '  layer "lstm" (LSTM(4)): there is no "lstm.weight_hh_l0" (16, 4); did you mean "lstm.weight_ih_l0"?',
        '  layer "linear" (Linear(2)): "linear.bias" must hold real numbers that numpy has, found <U1; give float32',
    ]


def test_names_that_are_wrong_are_named() -> None:
    net = net_of(VECTORS, mxt.LSTM(4), mxt.Linear(2))
    wrong: Any = {"lsmt": "rnn", "lstm": ("rnn", -1), "linear": ("head", 1), 3: "x"}
    found = problems_of(mxt.to_torch, filled(net), wrong)
    assert found == [
        "to_torch: the net cannot be written as a state dict:",
        '  the net has no layer "lsmt" with arrays; did you mean "lstm"? It has lstm, linear',
        (
            '  layer "lstm" (LSTM(4)): its name must be a prefix in the state dict, or with a layer\'s number, as in '
            "(\"rnn\", 1), got ('rnn', -1)"
        ),
        '  layer "linear" (Linear(2)): only recurrent modules have layers with numbers; give "head", not (\'head\', 1)',
        '  the net has no layer "3" with arrays. It has lstm, linear',
    ]
    assert problems_of(mxt.from_torch, net, {}, {"lstm": ["rnn"]})[1].endswith("got ['rnn']")


def test_layer_without_a_counterpart_is_named() -> None:
    net = net_of(mxt.Scalar(), mxt.LearnedWeight())
    assert problems_of(mxt.to_torch, filled(net))[1:] == [
        '  layer "learnedweight" (LearnedWeight()) has no counterpart in PyTorch; give names= without it'
    ]
    assert mxt.to_torch(filled(net), {}) == {}


def test_layer_without_biases_has_no_array_for_them() -> None:
    net = net_of(VECTOR, mxt.Linear(2, biases=False))
    state = {"linear.weight": np.ones((2, 3)), "linear.bias": np.ones(2)}
    assert "also not by" in problems_of(mxt.from_torch, net, state)[1]


def test_shared_array_must_get_one_value() -> None:
    net = mxt.NetChain(
        {"embedding": mxt.Embedding(3), "linear": mxt.Linear(5, biases=False)},
        inputs={"Input": mxt.Index(5)},
        share={"linear.Weights": "embedding.Weights"},
    )
    state = state_for(net)
    np.testing.assert_array_equal(state["embedding.weight"], state["linear.weight"])
    assert list(mxt.from_torch(net, state).arrays) == ["embedding.Weights"]
    assert problems_of(mxt.from_torch, net, {**state, "linear.weight": np.zeros((5, 3), "float32")})[1:] == [
        '  "embedding.Weights" is shared, but "embedding.weight" and "linear.weight" differ; give both one value'
    ]


def test_two_layers_may_take_one_module_but_not_make_it() -> None:
    net = mxt.NetChain({"one": mxt.Linear(3), "two": mxt.Linear(3)}, inputs={"Input": VECTOR})
    names = {"one": "linear", "two": "linear"}
    assert len(mxt.from_torch(net, {"linear.weight": np.eye(3)}, names).arrays) == 4
    assert problems_of(mxt.to_torch, filled(net), names)[1:] == [
        '  layer "two" (Linear(3)): another layer has other values for "linear.weight"; map one of them',
        '  layer "two" (Linear(3)): another layer has other values for "linear.bias"; map one of them',
    ]


def test_arrays_without_values_or_of_other_shapes_are_not_written() -> None:
    net = net_of(VECTOR, mxt.Linear(2))
    assert problems_of(mxt.to_torch, net.with_arrays({"linear.Weights": np.ones((3, 2))}))[1:] == [
        '  layer "linear" (Linear(2)): "linear.Weights" must be (2, 3), found (3, 2)',
        (
            '  layer "linear" (Linear(2)): the net has no values for "linear.Biases"; take trainer.net(), or '
            "net.with_arrays(...)"
        ),
    ]


def test_tensor_that_numpy_cannot_read_is_named() -> None:
    class Elsewhere:
        def __array__(self, *arguments: Any, **keywords: Any) -> Any:
            raise TypeError("it is on the GPU")

    state: dict[str, Any] = {"linear.weight": Elsewhere()}
    assert problems_of(mxt.from_torch, net_of(VECTOR, mxt.Linear(2)), state)[1:] == [
        (
            '  layer "linear" (Linear(2)): "linear.weight" cannot be read by numpy: it is on the GPU; give '
            "float32, on the CPU"
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("net", {}), "must be a net, got 'net'"),
        ((net_of(VECTOR, mxt.Linear(2)), None), r"takes module.state_dict\(\), a mapping from names, got NoneType"),
        ((net_of(VECTOR, mxt.Linear(2)), {1: 2}), "a mapping from names, got dict"),
        ((net_of(VECTOR, mxt.Linear(2)), {}, "linear"), "names must map layers to names.*got 'linear'"),
    ],
)
def test_what_is_no_net_state_or_map_is_refused(arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.from_torch(*arguments)


def test_net_whose_types_are_not_determined_is_refused() -> None:
    with pytest.raises(mxt.NetError, match=r'layer "linear".*is not determined'):
        mxt.to_torch(mxt.NetChain([mxt.Linear(2)]))
