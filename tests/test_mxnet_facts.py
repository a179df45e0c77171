"""What the engine takes for granted about MXNet 1.9.1: if one of these fails, something must be built differently."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from mxtrainer import _mxnet
from mxtrainer._mxnet import mx


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=True)


def test_views_of_a_flat_array_share_its_memory() -> None:
    flat = mx.nd.zeros((12,))
    view = flat[4:10].reshape((2, 3))
    view[:] = 5
    np.testing.assert_array_equal(flat.asnumpy(), [0] * 4 + [5] * 6 + [0] * 2)


def test_an_extent_of_zeros_is_inferred_from_what_it_meets() -> None:
    symbol = mx.sym.zeros(shape=(1, 0, 4)) + mx.sym.var("x")
    assert symbol.infer_shape(x=(1, 7, 4))[1] == [(1, 7, 4)]


def test_a_blocked_head_takes_no_gradient_and_needs_none() -> None:
    weight, blocked, gradient = mx.nd.array([0.0]), mx.nd.zeros((3,)), mx.nd.array([7.0])
    symbol = mx.sym.Group([mx.sym.BlockGrad(mx.sym.sqrt(mx.sym.var("w"))), mx.sym.identity(mx.sym.var("w"))])
    executor = symbol.bind(mx.cpu(), {"w": weight}, args_grad={"w": gradient})
    executor.forward(is_train=True)
    executor.backward([blocked, mx.nd.ones((1,))])
    assert gradient.asnumpy() == 1.0


def test_a_factor_of_0_would_let_an_infinite_slope_through() -> None:
    weight, gradient = mx.nd.array([0.0]), mx.nd.array([7.0])
    symbol = mx.sym.identity(mx.sym.sqrt(mx.sym.var("w")) * 0)
    executor = symbol.bind(mx.cpu(), {"w": weight}, args_grad={"w": gradient})
    executor.forward(is_train=True)
    executor.backward([mx.nd.ones((1,))])
    assert np.isnan(gradient.asnumpy())


def test_an_error_of_the_device_is_told_once_and_then_forgotten() -> None:
    bad = mx.nd.linalg.potrf(mx.nd.array([[[-1.0]]]))
    with pytest.raises(mx.MXNetError):
        bad.asnumpy()
    bad.asnumpy()


def test_embedding_clips_indices_without_a_word() -> None:
    found = mx.nd.Embedding(mx.nd.array([-1, 99]), mx.nd.array([[1.0], [2.0]]), input_dim=2, output_dim=1)
    np.testing.assert_array_equal(found.asnumpy(), [[1.0], [2.0]])


def test_a_host_slot_is_read_when_the_copy_runs_and_from_numpy_copies_nothing() -> None:
    host = np.zeros(4, np.float32)
    wrapped = mx.nd.from_numpy(host[:], zero_copy=True)
    host[:] = 3
    np.testing.assert_array_equal(wrapped.asnumpy(), 3)
    assert host.flags.writeable


def test_binding_says_nothing_and_importing_is_possible_where_warnings_are_errors() -> None:
    done = _run("from mxtrainer._mxnet import mx; mx.sym.var('x').bind(mx.cpu(), {'x': mx.nd.ones((1,))}).forward()")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.slow
def test_threads_are_the_physical_cores_unless_the_user_has_chosen() -> None:
    code = "import os, mxtrainer; print(os.environ['OMP_NUM_THREADS'])"
    assert _run(code, OMP_NUM_THREADS="3").stdout == "3\n"
    unset = "import os; os.environ.pop('OMP_NUM_THREADS', None); " + code
    assert int(_run(unset).stdout) == _mxnet.physical_cores() >= 1


def test_cores_are_counted_by_processor_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mxnet, "_TOPOLOGY", "/nonexistent/{}/{}")
    assert _mxnet.physical_cores() >= 1


def test_importing_mxnet_first_is_warned_of() -> None:
    code = (
        "import warnings, numpy as np; np.bool = np.bool_; warnings.simplefilter('ignore'); import mxnet; "
        "warnings.simplefilter('always'); import mxtrainer"
    )
    assert "Import mxtrainer first" in _run(code).stderr
