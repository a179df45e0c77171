"""Arrays from Keras compute what Keras computes, and go back as they were; what does not fit is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from weight_cases import SIZE, VECTORS, WIDTH, entries, filled, net_of, output_of

import mxtrainer as mxt

Weights = dict[str, list[NDArray[Any]]]
VECTOR = mxt.Vector(WIDTH)
KINDS: dict[str, tuple[mxt.NetGraph, dict[str, str]]] = {
    "simple_rnn": (net_of(VECTORS, mxt.BasicRecurrent(SIZE)), {"basicrecurrent": "rnn"}),
    "lstm": (net_of(VECTORS, mxt.LSTM(SIZE), mxt.LSTM(SIZE)), {"lstm": "one", "lstm_2": "two"}),
    "lstm_without_bias": (net_of(VECTORS, mxt.LSTM(SIZE)), {"lstm": "rnn"}),
    "gru": (net_of(VECTORS, mxt.GRU(SIZE)), {"gru": "rnn"}),
    "gru_without_bias": (net_of(VECTORS, mxt.GRU(SIZE)), {"gru": "rnn"}),
    "bidirectional_rnn": (net_of(VECTORS, mxt.Bidirectional(mxt.BasicRecurrent(SIZE))), {"bidirectional": "both"}),
    "bidirectional_lstm": (net_of(VECTORS, mxt.Bidirectional(mxt.LSTM(SIZE))), {"bidirectional": "both"}),
    "bidirectional_gru": (net_of(VECTORS, mxt.Bidirectional(mxt.GRU(SIZE))), {"bidirectional": "both"}),
    "dense": (net_of(VECTOR, mxt.Linear(SIZE)), {"linear": "dense"}),
    "dense_without_bias": (net_of(VECTOR, mxt.Linear(SIZE, biases=False)), {"linear": "dense"}),
    "embedding": (net_of(mxt.Sequence("t", mxt.Index(5)), mxt.Embedding(WIDTH)), {"embedding": "embedding"}),
    "conv_1d": (net_of(VECTORS, mxt.Convolution(SIZE, 3, padding=1)), {"convolution": "conv"}),
    "conv_2d": (net_of(mxt.Array((WIDTH, 4, 4)), mxt.Convolution(SIZE, (3, 2))), {"convolution": "conv"}),
    "batch_norm": (net_of(VECTOR, mxt.BatchNorm()), {"batchnorm": "norm"}),
    "layer_norm": (net_of(VECTOR, mxt.LayerNorm(1e-3)), {"layernorm": "norm"}),
}
WITHOUT_BIAS = {"lstm_without_bias", "gru_without_bias"}
ONE_BIAS = {"simple_rnn", "lstm", "lstm_without_bias", "bidirectional_rnn", "bidirectional_lstm"}


def weights_of(kind: str) -> Weights:
    found: Weights = {}
    for name, array in entries("keras", kind).items():
        if name.startswith("weights/"):
            found.setdefault(name.split("/")[1], []).append(array)
    return found


def channels_first(images: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(images, -1, 1) if images.ndim == 4 else images


@pytest.mark.parametrize("kind", KINDS)
def test_net_computes_what_keras_computes(kind: str) -> None:
    net, names = KINDS[kind]
    found = entries("keras", kind)
    output = output_of(mxt.from_keras(net, weights_of(kind), names), channels_first(found["input"]))
    np.testing.assert_allclose(output, channels_first(found["output"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_go_back_to_keras_as_they_came(kind: str) -> None:
    net, names = KINDS[kind]
    weights = weights_of(kind)
    written = mxt.to_keras(mxt.from_keras(net, weights, names), names)
    assert list(written) == list(weights)
    for name, listed in weights.items():
        if kind in WITHOUT_BIAS:
            assert not written[name].pop().any()
        assert len(written[name]) == len(listed)
        for left, right in zip(written[name], listed):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", KINDS)
def test_a_net_comes_back_from_keras_as_it_went(kind: str) -> None:
    net, names = KINDS[kind]
    arrays = dict(filled(net).arrays)
    again = mxt.from_keras(net, mxt.to_keras(net.with_arrays(arrays), names), names)
    for path, biases in filled(net).arrays.items():
        if path.endswith("StateBiases") and kind in ONE_BIAS:
            total = path.replace("State", "Input")
            arrays.update({total: arrays[total] + biases, path: np.zeros_like(biases)})
    assert again == net.with_arrays(arrays)


def test_without_names_every_layer_is_called_as_its_path_and_empty_lists_are_no_matter() -> None:
    net = net_of(VECTORS, mxt.GRU(2), mxt.Dropout(), mxt.Linear(1))
    weights = mxt.to_keras(filled(net))
    assert list(weights) == ["gru", "linear"]
    assert mxt.from_keras(net, {"input": [], **weights, "dropout": []}) == filled(net)


def test_weights_may_be_any_dtype_and_are_kept_in_it() -> None:
    net = mxt.from_keras(net_of(VECTORS, mxt.LSTM(1)), {"lstm": [np.ones((3, 4)), np.ones((1, 4))]})
    assert {array.dtype.name for array in net.arrays.values()} == {"float64"}


# What does not fit


def problems_of(call: Any, *arguments: Any) -> list[str]:
    with pytest.raises(mxt.ArgumentError) as raised:
        call(*arguments)
    return str(raised.value).splitlines()


def test_gru_that_resets_before_the_product_is_refused() -> None:
    net = net_of(VECTORS, mxt.GRU(SIZE))
    assert problems_of(mxt.from_keras, net, weights_of("gru_reset_before"), {"gru": "rnn"}) == [
        "from_keras: the weights do not fit the net:",
        (
            '  layer "gru" (GRU(2)): "rnn.bias", for "gru.InputBiases" and "gru.StateBiases", must be (2, 6), found '
            "(6,); one of (3 * units,) is that of reset_after=False, which no layer here computes: train with "
            "reset_after=True, the default of Keras"
        ),
    ]


def test_all_mismatches_come_in_one_message() -> None:
    layers = {"lstm": mxt.LSTM(4), "norm": mxt.LayerNorm(), "linear": mxt.Linear(()), "weight": mxt.LearnedWeight()}
    net = mxt.NetChain(layers, inputs={"Input": VECTORS})
    weights = {
        "lstm": [np.ones((3, 16)), np.ones((16, 4))],
        "norm": [np.ones(4)],
        "dense": [np.ones((4, 1)), np.ones(1)],
    }
    assert problems_of(mxt.from_keras, net, weights) == [
        "from_keras: the weights do not fit the net:",
        '  layer "weight" (LearnedWeight()) has no counterpart in Keras; give names= without it',
        '  the weights of "dense" are used by no layer; name a layer for them, or leave them out',
        '  layer "norm" (LayerNorm()): needs norm.gamma (4,), norm.beta (4,), found shapes [(4,)]',
        '  layer "linear" (Linear(())): there is no layer "linear"',
        '  layer "lstm" (LSTM(4)): "lstm.recurrent_kernel", for "lstm.StateWeights", must be (4, 16), found (16, 4)',
    ]


def test_names_that_are_wrong_are_named() -> None:
    net = filled(net_of(VECTORS, mxt.LSTM(4), mxt.Linear(2)))
    names: Any = {"lsmt": "lstm_1", "linear": ("dense", 0)}
    assert problems_of(mxt.to_keras, net, names) == [
        "to_keras: the net cannot be written as weights of Keras:",
        '  the net has no layer "lsmt" with arrays; did you mean "lstm"? It has lstm, linear',
        "  layer \"linear\" (Linear(2)): its name must be that of a Keras layer, got ('dense', 0)",
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("net", {}), "must be a net, got 'net'"),
        ((net_of(VECTOR, mxt.Linear(2)), [np.ones(2)]), "for layer in model.layers}, got list"),
        ((net_of(VECTOR, mxt.Linear(2)), {"linear": np.ones(2)}), r'"linear" must be the list.*got ndarray'),
        ((net_of(VECTOR, mxt.Linear(2)), {}, ["linear"]), r"names must map layers to names.*got \['linear'\]"),
    ],
)
def test_what_is_no_net_weights_or_map_is_refused(arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text):
        mxt.from_keras(*arguments)
