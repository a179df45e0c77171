"""Nets go to MXNet's files and Gluon's blocks and come back, and give there what they give here."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_cases import NETS, ROWS, SEQUENCE, STEPS, data_of, engine_output, lengths_of, with_values

import mxtrainer as mxt
from mxtrainer._mxnet import mx
from mxtrainer.plans.formats.params_file import read_params, write_params


@pytest.mark.parametrize("kind", NETS)
def test_mxnets_module_gives_what_the_net_gives_at_any_batch_size(kind: str, tmp_path: Path) -> None:
    net = with_values(NETS[kind])
    mxt.to_mxnet(net, tmp_path / "net", lengths=lengths_of(net))
    symbol, arguments, auxiliary = mx.model.load_checkpoint(str(tmp_path / "net"), 0)
    for rows in (ROWS, 1):
        data = data_of(net, rows)
        module = mx.mod.Module(symbol, data_names=["Input"], label_names=None)
        module.bind([("Input", data.shape)], for_training=False)
        module.set_params(arguments, auxiliary)
        module.forward(mx.io.DataBatch([mx.nd.array(data)]))
        found = module.get_outputs()[0].asnumpy()
        np.testing.assert_allclose(found, engine_output(net, data), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", NETS)
def test_a_net_comes_back_from_its_files(kind: str, tmp_path: Path) -> None:
    net = with_values(NETS[kind])
    mxt.to_mxnet(net, tmp_path / "net", lengths=lengths_of(net), epoch=7)
    again = mxt.from_mxnet(tmp_path / "net", epoch=7)
    data = data_of(net)
    found = engine_output(again, data, "Output_output")
    np.testing.assert_allclose(found, engine_output(net, data), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", NETS)
def test_a_gluon_block_gives_what_the_net_gives(kind: str) -> None:
    net = with_values(NETS[kind])
    block = mxt.to_gluon(net, lengths=lengths_of(net))
    data = data_of(net)
    found = block(mx.nd.array(data)).asnumpy()
    np.testing.assert_allclose(found, engine_output(net, data), rtol=1e-6, atol=1e-7)


def test_states_are_inputs_and_outputs_of_a_block() -> None:
    net = with_values(NETS["lstm"].with_states())
    block = mxt.to_gluon(net, lengths={"t": STEPS})
    data, zeros = mx.nd.array(data_of(net)), mx.nd.zeros((ROWS, 3))
    output, state, cell = block(data, zeros, zeros)
    shorter = mxt.to_gluon(net, lengths={"t": 2})
    later = mxt.to_gluon(net, lengths={"t": STEPS - 2})
    _, *between = shorter(data[:, :2], zeros, zeros)
    end, *last = later(data[:, 2:], *between)
    np.testing.assert_allclose(end.asnumpy(), output[:, 2:].asnumpy(), rtol=1e-6)
    for found, wanted in zip(last, (state, cell)):
        np.testing.assert_allclose(found.asnumpy(), wanted.asnumpy(), rtol=1e-6)


def dense() -> Any:
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Dense(6, activation="tanh"), mx.gluon.nn.Dropout(0.3), mx.gluon.nn.Dense(3))
    return block


def images() -> Any:
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Conv2D(4, 3), mx.gluon.nn.BatchNorm(), mx.gluon.nn.Activation("relu"))
    block.add(mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Dense(3))
    return block


BLOCKS: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "dense": (dense, mxt.Vector(4), "NTC"),
    "images": (images, mxt.Array((2, 6, 6)), "NTC"),
    "lstm": (lambda: mx.gluon.rnn.LSTM(3, num_layers=2, dropout=0.2), SEQUENCE["Input"], "TNC"),
    "gru": (lambda: mx.gluon.rnn.GRU(3, layout="NTC", bidirectional=True), SEQUENCE["Input"], "NTC"),
    "rnn": (lambda: mx.gluon.rnn.RNN(3), SEQUENCE["Input"], "TNC"),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_net_of_a_block_gives_what_the_block_gives(kind: str) -> None:
    make, port, layout = BLOCKS[kind]
    block = make()
    block.initialize(mx.init.Uniform(0.5))
    data = data_of(mxt.NetChain([mxt.Elementwise("tanh")], inputs={"Input": port}))
    axes = [1, 0, 2] if layout == "TNC" else list(range(data.ndim))
    wanted = block(mx.nd.array(data.transpose(axes))).asnumpy()
    wanted = wanted.transpose(axes[: wanted.ndim])
    net = mxt.from_gluon(block, {"Input": port}, layout=layout)
    found = engine_output(net, data, next(iter(net.outputs)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_block_that_has_no_values_yet_gives_a_net_without() -> None:
    block = dense()
    net = mxt.from_gluon(block, {"Input": mxt.Vector(4)})
    assert not net.arrays
    assert len(mxt.compile_plan(net, dict.fromkeys(net.outputs, 0.0)).parameters) == 4


def test_a_net_of_a_block_can_be_trained() -> None:
    net = mxt.from_gluon(dense(), {"Input": mxt.Vector(4)})
    port = next(iter(net.outputs))
    whole = mxt.NetGraph(
        {"block": net, "loss": mxt.MeanSquaredLoss()}, [("block", "loss", "Loss")], inputs={"Target": mxt.Vector(3)}
    )
    assert port not in whole.outputs
    trainer = mxt.Trainer(mxt.compile_plan(whole), mxt.Adam(0.05), ROWS, seed=0)
    batch = {"Input": np.ones((ROWS, 4)), "Target": np.ones((ROWS, 3))}
    trainer.update(batch)
    first = trainer.current_loss().total
    for _ in range(100):
        trainer.update(batch)
    assert trainer.evaluate(batch).losses.total < first / 10


class Scaled(mx.gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """A block with a constant and an array that it does not train."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.factor = self.params.get_constant("factor", mx.nd.array([2.0, 3.0]))
            self.shift = self.params.get("shift", shape=(2,), init="ones", grad_req="null")
            self.weight = self.params.get("weight", shape=(2,), init="ones")

    def hybrid_forward(self, F: Any, x: Any, **arrays: Any) -> Any:  # noqa: N803 - the name that Gluon gives it
        shifted = F.broadcast_add(F.broadcast_mul(x, arrays["factor"]), arrays["shift"])
        return F.broadcast_mul(shifted, arrays["weight"])


@pytest.mark.parametrize(
    ("make", "trained"),
    [
        (Scaled, ["weight"]),
        (lambda: mx.gluon.nn.BatchNorm(center=False, scale=False), []),
        (lambda: mx.gluon.nn.LayerNorm(center=False), ["gamma"]),
    ],
    ids=["constant", "batch norm", "layer norm"],
)
def test_what_gluon_does_not_train_nothing_trains(make: Callable[[], Any], trained: list[str]) -> None:
    block = make()
    block.initialize()
    block(mx.nd.ones((2, 2)))
    net = mxt.from_gluon(block, {"Input": mxt.Vector(2)})
    plan = mxt.compile_plan(net, dict.fromkeys(net.outputs, 1.0))
    assert [path.rpartition("_")[2] for path in plan.parameters] == trained


def test_the_layout_of_a_recurrent_layer_of_gluon_is_known() -> None:
    for layout in ("TNC", "NTC"):
        block = mx.gluon.nn.HybridSequential()
        block.add(mx.gluon.rnn.LSTM(3, input_size=4, layout=layout))
        block.initialize(mx.init.Uniform(0.5))
        net = mxt.from_gluon(block, SEQUENCE)
        assert net.layers["block"].layout == layout  # type: ignore[attr-defined]  # it is a SymbolLayer


def test_nets_of_float64_go_there_and_back(tmp_path: Path) -> None:
    net = with_values(NETS["lstm"])
    wide = net.with_arrays({path: array.astype(np.float64) for path, array in net.arrays.items()})
    mxt.to_mxnet(wide, tmp_path / "net", lengths={"t": STEPS})
    again = mxt.from_mxnet(tmp_path / "net")
    assert {array.dtype.name for array in again.arrays.values()} == {"float64"}
    plans = [mxt.compile_plan(found, dict.fromkeys(found.outputs, 0.0), dtype="float64") for found in (wide, again)]
    executors = [
        mxt.instantiate(plan, ROWS, dict.fromkeys(plan.lengths, STEPS), arrays=found.arrays, training=False)
        for plan, found in zip(plans, (wide, again))
    ]
    for executor in executors:
        executor.forward({"Input": data_of(net)})
    given, found = (next(iter(executor.outputs.values())).asnumpy() for executor in executors)
    np.testing.assert_array_equal(found, given)


@pytest.mark.parametrize(
    "make",
    [mx.gluon.nn.PReLU, lambda: mx.gluon.nn.Embedding(9, 3, sparse_grad=True)],
    ids=["prelu", "sparse embedding"],
)
def test_blocks_whose_shapes_or_gradients_are_odd_are_taken(make: Callable[[], Any]) -> None:
    block = make()
    block.initialize()
    data = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
    wanted = block(mx.nd.array(data)).asnumpy()
    net = mxt.from_gluon(block, {"Input": mxt.Vector(3)})
    np.testing.assert_allclose(engine_output(net, data, next(iter(net.outputs))), wanted, rtol=1e-6)
    whole = mxt.NetGraph({"block": net, "loss": mxt.MeanSquaredLoss()}, [("block", "loss", "Loss")])
    trainer = mxt.Trainer(mxt.compile_plan(whole), mxt.SGD(0.1), 2)
    trainer.update({"Input": data, "Target": np.ones_like(wanted)})
    assert np.isfinite(trainer.current_loss().total)


def test_moving_statistics_come_back_as_what_nothing_trains(tmp_path: Path) -> None:
    mxt.to_mxnet(with_values(NETS["convolution"]), tmp_path / "net")
    again = mxt.from_mxnet(tmp_path / "net")
    plan = mxt.compile_plan(again, dict.fromkeys(again.outputs, 1.0))
    assert set(plan.auxiliary) == {"symbol.batchnorm.MovingMean", "symbol.batchnorm.MovingVariance"}
    symbol, arguments, _ = mx.model.load_checkpoint(str(tmp_path / "net"), 0)
    values = {**arguments, "Input": mx.nd.array(data_of(NETS["convolution"]))}
    gradients = {name: mx.nd.ones(array.shape) for name, array in values.items()}
    executor = symbol.bind(mx.cpu(), values, gradients)
    executor.forward(is_train=True)
    executor.backward(mx.nd.ones((ROWS, 3)))
    assert not gradients["batchnorm.MovingMean"].asnumpy().any()
    assert gradients["batchnorm.Scaling"].asnumpy().any()


def test_arrays_of_a_symbol_go_back_into_it(tmp_path: Path) -> None:
    symbol = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, name="fc")
    net = mxt.from_symbol(symbol, {"data": mxt.Vector(3)}, arrays={"fc_weight": np.ones((2, 3)), "fc_bias": [1, 2]})
    mxt.to_mxnet(net, tmp_path / "net")
    _, arguments, _ = mx.model.load_checkpoint(str(tmp_path / "net"), 0)
    assert set(arguments) == set(symbol.list_arguments()) - {"data"}


# Files


def test_params_files_are_mxnets_own(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        f"arg:{dtype}é": (generator.random((2, 3)) * 9).astype(dtype)
        for dtype in ("float32", "float64", "float16", "uint8", "int32", "int8", "int64")
    }
    write_params(tmp_path / "ours", arrays)
    loaded = mx.nd.load(str(tmp_path / "ours"))
    mx.nd.save(
        str(tmp_path / "theirs"), {name: mx.nd.array(array, dtype=array.dtype) for name, array in arrays.items()}
    )
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name].asnumpy(), array)
        for found in (read_params(tmp_path / "ours")[name], read_params(tmp_path / "theirs")[name]):
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype


def test_params_files_of_older_versions_are_read(tmp_path: Path) -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    ends = struct.pack("<iii", 1, 0, 0) + data.tobytes()
    name = struct.pack("<QQ", 1, 1) + b"a"
    for head in (struct.pack("<III", 2, 2, 3), struct.pack("<IIqq", 0xF993FAC8, 2, 2, 3)):
        (tmp_path / "old").write_bytes(struct.pack("<QQQ", 0x112, 0, 1) + head + ends + name)
        np.testing.assert_array_equal(mx.nd.load(str(tmp_path / "old"))["a"].asnumpy(), data)
        np.testing.assert_array_equal(read_params(tmp_path / "old")["a"], data)


def params_with(tmp_path: Path, **fields: int) -> Path:
    """Write a file of one array of two numbers, with these fields."""
    number = {"magic": 0x112, "count": 1, "version": 0xF993FAC9, "storage": 0, "axes": 1, "extent": 2, "dtype": 0}
    number |= {"names": 1, "size": 1} | fields
    text = struct.pack("<QQQ", number["magic"], 0, number["count"])
    text += struct.pack("<Iii", number["version"], number["storage"], number["axes"])
    text += struct.pack("<qiii", number["extent"], 1, 0, number["dtype"]) + bytes(8)
    text += struct.pack("<QQ", number["names"], number["size"]) + b"a"
    (tmp_path / "file").write_bytes(text)
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"magic": 1}, "no file of MXNet's arrays"),
        ({"count": 2**60}, "and .* are left"),
        ({"storage": 1}, "sparse"),
        ({"axes": -1}, "-1 axes"),
        ({"axes": 33}, "33 axes"),
        ({"extent": -2}, r"shape \(-2,\)"),
        ({"extent": 2**30}, "takes 4,294,967,296 bytes"),
        ({"extent": 2**40}, r"shape \(1099511627776,\)"),
        ({"dtype": 9}, "no dtype 9"),
        ({"names": 0}, "after the end"),
        ({"size": 2**31}, "a name takes"),
    ],
)
def test_damaged_params_files_are_refused_and_allocate_nothing(
    fields: dict[str, int], text: str, tmp_path: Path
) -> None:
    assert read_params(params_with(tmp_path))["a"].shape == (2,)
    with pytest.raises(mxt.FileFormatError, match=text):
        read_params(params_with(tmp_path, **fields))


def test_truncated_params_files_are_refused(tmp_path: Path) -> None:
    whole = params_with(tmp_path).read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(mxt.FileFormatError):
            read_params(tmp_path / "cut")


def written(tmp_path: Path) -> Path:
    mxt.to_mxnet(with_values(NETS["mlp"]), tmp_path / "net")
    return tmp_path / "net"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda graph: graph["heads"][0].__setitem__(1, 7), "takes output 7"),
        (lambda graph: graph["heads"][0].__setitem__(0, -1), "takes node -1"),
        (lambda graph: graph["nodes"][-1]["inputs"][0].__setitem__(1, 2**31), "takes output 2147483648"),
        (lambda graph: graph["nodes"][3]["inputs"].pop(), r'"linear.*takes 3 inputs, found 2'),
        (lambda graph: graph["nodes"][3].update(op="_contrib_MultiBoxTarget"), "cannot be taken over"),
        (lambda graph: graph["nodes"][3].update(op="Custom"), "cannot be taken over"),
        (lambda graph: graph["nodes"][3]["attrs"].update(num_hidden="-x"), "num_hidden"),
        (lambda graph: graph["nodes"][3]["attrs"].update(surprise="1"), "surprise"),
        (lambda graph: graph["nodes"][3].update(attrs={"num_hidden": 3}), "no text"),
        (lambda graph: graph.pop("nodes"), "no graph of MXNet"),
        (lambda graph: graph.update(heads=[]), "no output"),
    ],
)
def test_damaged_symbol_files_are_refused_by_the_node(change: Callable[[Any], Any], text: str, tmp_path: Path) -> None:
    prefix = written(tmp_path)
    path = Path(f"{prefix}-symbol.json")
    graph = json.loads(path.read_text())
    change(graph)
    path.write_text(json.dumps(graph))
    with pytest.raises(mxt.FileFormatError, match=text):
        mxt.from_mxnet(prefix)


@pytest.mark.parametrize("end", ["-symbol.json", "-0000.params"])
def test_files_that_are_not_there_are_named(end: str, tmp_path: Path) -> None:
    prefix = written(tmp_path)
    Path(f"{prefix}{end}").unlink()
    with pytest.raises(mxt.FileFormatError, match=f"net{end}"):
        mxt.from_mxnet(prefix)


def test_an_input_without_a_type_is_named(tmp_path: Path) -> None:
    symbol = mx.sym.FullyConnected(mx.sym.var("data"), num_hidden=2, no_bias=True, name="fc")
    symbol.save(str(tmp_path / "net-symbol.json"))
    mx.nd.save(str(tmp_path / "net-0000.params"), {"arg:fc_weight": mx.nd.ones((2, 3))})
    with pytest.raises(mxt.NetError, match=r'"data".*give its type'):
        mxt.from_mxnet(tmp_path / "net")
    assert mxt.from_mxnet(tmp_path / "net", {"data": mxt.Vector(3)}).inputs["data"] == mxt.Vector(3)
    with pytest.raises(mxt.NetError, match=r'"fc_weight" has the shape \(2, 3\), and the net needs \(2, 4\)'):
        mxt.from_mxnet(tmp_path / "net", {"data": mxt.Vector(4)})


@pytest.mark.parametrize("call", [mxt.to_gluon, lambda net, **options: mxt.to_mxnet(net, "nowhere", **options)])
def test_nets_that_cannot_be_written_are_refused_by_name(call: Callable[..., Any]) -> None:
    net = NETS["lstm"]
    with pytest.raises(mxt.NetError, match=r'no values for "lstm.InputWeights"'):
        call(net, lengths={"t": 3})
    with pytest.raises(mxt.ArgumentError, match='number of steps of "t" is missing'):
        call(with_values(net))
    with pytest.raises(mxt.ArgumentError, match="takes a net with arrays"):
        call("net")
    with pytest.raises(mxt.UnknownNameError, match='"liner"; did you mean "linear"'):
        call(with_values(net), lengths={"t": 3}, outputs=["liner"])
    with pytest.raises(mxt.NetError, match=r'"gru.State" is learned and a port'):
        call(with_values(NETS["gru"].with_states()), lengths={"t": 3})


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(mxt.ArgumentError, match="nowhere"):
        mxt.to_mxnet(with_values(NETS["mlp"]), tmp_path / "nowhere" / "net")


@pytest.mark.parametrize("block", [None, mx.gluon.nn.Sequential()])
def test_what_is_no_hybrid_block_is_refused(block: Any) -> None:
    with pytest.raises(mxt.ArgumentError, match="takes a HybridBlock"):
        mxt.from_gluon(block, {"Input": mxt.Vector(2)})


class Named(mx.gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """A block that gives what is no list of arrays."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:  # noqa: N803 - Gluon calls it so
        return {"x": x}


def test_a_block_that_gives_something_else_is_refused() -> None:
    with pytest.raises(mxt.ArgumentError, match="Named must give arrays or lists of them"):
        mxt.from_gluon(Named(), {"Input": mxt.Vector(2)})


def test_a_prefix_that_is_a_whole_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mxt.ArgumentError, match=r'prefix is what comes before "-symbol\.json"'):
        mxt.from_mxnet(f"{written(tmp_path)}-symbol.json")


def test_a_block_that_takes_other_inputs_is_refused() -> None:
    with pytest.raises(mxt.ArgumentError, match="HybridSequential does not run on symbols of a, b"):
        mxt.from_gluon(dense(), {"a": mxt.Vector(2), "b": mxt.Vector(2)})
    with pytest.raises(mxt.ArgumentError, match="inputs must map"):
        mxt.from_gluon(dense(), {})
