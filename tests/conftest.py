"""What several tests use: small nets, plans and batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import extra_layers
import numpy as np
import pytest
from launched import Launcher
from numpy.typing import NDArray

import mxtrainer as mxt
from mxtrainer.executors.guard import Guard
from mxtrainer.plans.layers import scan

collect_ignore_glob = ["data/*", "*_server.py", "fake_ssh.py"]  # programs, some of which need other libraries

Batch = dict[str, Any]
OnMove = Callable[[Callable[[int], None]], None]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """What launches jobs of several processes."""
    made = Launcher(tmp_path_factory.mktemp("jobs"))
    yield made
    made.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """A closed gate, opened at the end whatever happens."""
    extra_layers.OPEN.clear()
    yield extra_layers.OPEN
    extra_layers.OPEN.set()


@pytest.fixture(params=["unrolled", "looped"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with folds unrolled, and again with folds that are one operator."""
    monkeypatch.setattr(scan, "LARGEST_UNROLLED", 0 if request.param == "looped" else 10**9)


@pytest.fixture(scope="session")
def gated_plan() -> mxt.Plan:
    net = mxt.NetChain(
        [extra_layers.Gate(), mxt.Linear(), mxt.MeanSquaredLoss()],
        inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()},
    )
    return mxt.compile_plan(net)


@pytest.fixture(scope="session")
def linear_plan() -> mxt.Plan:
    """One linear unit from a Scalar to a Scalar."""
    net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
    return mxt.compile_plan(net)


@pytest.fixture(scope="session")
def state_plan() -> mxt.Plan:
    """The toy state net: plus, linear, absolute loss; StateOut is kept alive with weight 0."""
    net = mxt.NetGraph(
        {"add": mxt.Threading("plus"), "linear": mxt.Linear(), "mae": mxt.MeanAbsoluteLoss()},
        [(["Input", "StateIn"], "add", "linear", "mae", "Loss"), ("linear", "StateOut")],
        inputs={"Input": mxt.Scalar(), "StateIn": mxt.Scalar(), "Target": mxt.Scalar()},
    )
    return mxt.compile_plan(net, losses={"Loss": 1.0, "StateOut": 0.0})


@pytest.fixture(scope="session")
def text_plan() -> mxt.Plan:
    """A stateful character model of 11 characters."""
    net = mxt.NetChain(
        [mxt.Embedding(6), mxt.LSTM(8), mxt.Linear(11), mxt.CrossEntropyLoss("index")],
        inputs={"Input": mxt.Sequence("t", mxt.Index(11))},
    )
    return mxt.compile_plan(net.with_states())


def text_batch(rng: np.random.Generator, rows: int = 3, steps: int = 5) -> Batch:
    tokens = rng.integers(0, 11, (rows, steps + 1))
    return {"Input": tokens[:, :-1], "Target": tokens[:, 1:]}


def linear_batch() -> Batch:
    return {"Input": np.array([1.0, 2.0, 3.0, 4.0]), "Target": np.array([1.9, 4.1, 6.0, 8.1])}


def values_of(arrays: Any) -> dict[str, NDArray[Any]]:
    """Return copies of all arrays of a trainer or an executor."""
    return {path: handle.asnumpy() for path, handle in arrays.items()}


def assert_same(left: dict[str, NDArray[Any]], right: dict[str, NDArray[Any]]) -> None:
    """Assert that two sets of arrays are equal, bit for bit."""
    assert left.keys() == right.keys()
    for path, found in left.items():
        assert found.tobytes() == right[path].tobytes(), path


def drawn_batch(number: int) -> dict[str, Any]:
    """Return another linear batch for each number."""
    generator = np.random.default_rng(number)
    return {"Input": generator.normal(size=4), "Target": generator.normal(size=4)}


@pytest.fixture
def trainer(linear_plan: mxt.Plan) -> Iterator[mxt.Trainer]:
    with mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4) as made:
        yield made


@pytest.fixture
def on_move(monkeypatch: pytest.MonkeyPatch) -> OnMove:
    """Return what lets a function be called, with the number of the move, whenever a move is queued."""

    def install(hook: Callable[[int], None]) -> None:
        queue, numbers = Guard.queue, count(1)

        def hooked(self: Guard, *arguments: Any) -> None:
            if self.moves:
                hook(next(numbers))
            queue(self, *arguments)

        monkeypatch.setattr(Guard, "queue", hooked)

    return install
