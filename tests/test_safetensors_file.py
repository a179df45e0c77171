"""A net and its arrays go to a safetensors file and come back, and others' files are read by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mxtrainer as mxt

NET = mxt.NetChain(
    [mxt.LSTM(3), mxt.Linear(2), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Sequence("t", mxt.Vector(4))}
)


def trained() -> mxt.NetGraph:
    with mxt.Trainer(mxt.compile_plan(NET), mxt.SGD(), 2, seed=0) as trainer:
        return trainer.net()


def test_a_net_comes_back_bit_for_bit(tmp_path: Path) -> None:
    net = trained()
    mxt.to_safetensors(net, tmp_path / "net")
    assert mxt.from_safetensors(tmp_path / "net") == net


def test_other_libraries_read_the_arrays_by_their_paths(tmp_path: Path) -> None:
    net = trained()
    mxt.to_safetensors(net, tmp_path / "net")
    found = load_file(tmp_path / "net")
    assert set(found) == set(net.arrays)
    for path, array in net.arrays.items():
        np.testing.assert_array_equal(found[path], array)


def test_a_part_of_the_arrays_is_enough(tmp_path: Path) -> None:
    net = trained()
    save_file({"linear.Biases": np.array([1, 2], np.float32)}, tmp_path / "part")
    found = mxt.from_safetensors(tmp_path / "part", net)
    np.testing.assert_array_equal(found.arrays["linear.Biases"], [1, 2])
    np.testing.assert_array_equal(found.arrays["linear.Weights"], net.arrays["linear.Weights"])


@pytest.mark.parametrize(
    ("tensors", "error", "text"),
    [
        ({"linear.Bias": np.array([1], np.float32)}, mxt.NetError, "no array 'linear.Bias'; it has lstm.InputWeights"),
        ({"linear.Biases": np.array([1], np.float32)}, mxt.NetError, r"\(1,\), and the net needs \(2,\)"),
        ({"linear.Biases": np.array([1, 2], np.float16)}, mxt.FileFormatError, "dtype F16, which is not read"),
        ({"linear.Biases": np.array([True, False])}, mxt.FileFormatError, "dtype BOOL, which is not read"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(
    tensors: dict[str, Any], error: type[Exception], text: str, tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "other")
    with pytest.raises(error, match=text):
        mxt.from_safetensors(tmp_path / "other", NET)


def test_a_file_without_a_net_asks_for_one(tmp_path: Path) -> None:
    save_file({"linear.Biases": np.array([1, 2], np.float32)}, tmp_path / "other")
    with pytest.raises(mxt.FileFormatError, match="no description of a net"):
        mxt.from_safetensors(tmp_path / "other")


def test_changed_bytes_are_found(tmp_path: Path) -> None:
    mxt.to_safetensors(trained(), tmp_path / "net")
    content = bytearray((tmp_path / "net").read_bytes())
    content[-1] ^= 1
    (tmp_path / "net").write_bytes(content)
    with pytest.raises(mxt.FileFormatError, match="is damaged"):
        mxt.from_safetensors(tmp_path / "net")


def test_what_is_no_net_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(mxt.ArgumentError, match="takes a net"):
        mxt.to_safetensors("net", tmp_path / "net")  # type: ignore[arg-type]
    with pytest.raises(mxt.NetError, match="has no arrays"):
        mxt.to_safetensors(NET, tmp_path / "net")
    with pytest.raises(mxt.ArgumentError, match="must be a net"):
        mxt.from_safetensors(tmp_path / "net", "net")  # type: ignore[arg-type]
    with pytest.raises(mxt.FileFormatError, match="nowhere"):
        mxt.from_safetensors(tmp_path / "nowhere")
