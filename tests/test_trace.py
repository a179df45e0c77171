"""The timeline of a training, as a file that other programs read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import linear_batch
from fault_cases import FAULTS, good_batch, plan_of

import mxtrainer as mxt


def events_of(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return found


@pytest.fixture
def trainer(linear_plan: mxt.Plan) -> mxt.Trainer:
    return mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4)


def test_a_trace_has_the_spans_of_host_steps_and_operators(trainer: mxt.Trainer, tmp_path: Path) -> None:
    for name, count in (("first.json", 3), ("second.json", 2)):  # MXNet writes parts of one file
        before = trainer.step
        with trainer.trace(tmp_path / name):
            for _ in range(count):
                trainer.update(linear_batch())
        events = events_of(tmp_path / name)
        host = [event for event in events if event["pid"] == 1 and event["ph"] == "X"]
        steps = [event for event in events if event["pid"] == 2 and event["ph"] == "X"]
        operators = [event for event in events if event["pid"] == 3 and event["ph"] in "BE"]
        assert {event["name"] for event in host} == {"check", "copy", "wait for a free place", "queue", "wait"}
        assert [event["args"]["step"] for event in steps] == list(range(before + 1, before + count + 1))
        assert sum(event["name"] == "judge, move, copy" for event in operators) == 2 * count
        begin = min(event["ts"] for event in host)
        end = max(event["ts"] + event["dur"] for event in [*host, *steps])
        slack = 1e5  # microseconds: two clocks
        assert all(begin - slack < event["ts"] < end + slack for event in operators)
        assert all(event["dur"] >= 0 for event in [*host, *steps])


def test_a_trace_of_a_step_that_fails_is_written(tmp_path: Path) -> None:
    trainer = mxt.Trainer(plan_of("cholesky"), mxt.SGD(0.1), batch_size=4)
    with pytest.raises(mxt.StepError, match="step 1"), trainer.trace(tmp_path / "trace.json"):
        trainer.update(FAULTS[0].spoil(good_batch()))
    assert events_of(tmp_path / "trace.json")
    trainer.recover()
    with trainer.trace(tmp_path / "again.json"):
        trainer.update(good_batch())


BESIDE = """
import sys
import mxtrainer as mxt
from mxtrainer.engine import waiting
from mxnet import nd

net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
matrix = nd.ones((1000, 1000))
for _ in range(10):
    product = nd.dot(matrix, matrix)
waiting._idle.ask()
with trainer.trace(sys.argv[1]):
    trainer.update({"Input": [1.0], "Target": [1.0]})
"""


def test_a_trace_may_begin_while_mxnet_is_asked_for_a_moment_without_work(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BESIDE, str(tmp_path / "trace.json")], check=True, timeout=100)
    assert events_of(tmp_path / "trace.json")


def test_an_error_in_the_block_is_kept(trainer: mxt.Trainer, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), trainer.trace(str(tmp_path / "trace.json")):
        _ = trainer.step / 0
    assert events_of(tmp_path / "trace.json")


def test_one_trace_at_a_time(trainer: mxt.Trainer, linear_plan: mxt.Plan, tmp_path: Path) -> None:
    other = mxt.Trainer(linear_plan, mxt.SGD(0.1), batch_size=4)
    with trainer.trace(tmp_path / "trace.json"):
        with pytest.raises(mxt.Error, match="one at a time"), other.trace(tmp_path / "other.json"):
            pass
        trainer.update(linear_batch())
    with other.trace(tmp_path / "other.json"):
        other.update(linear_batch())


@pytest.mark.parametrize(
    ("path", "text"),
    [("no/such/folder/trace.json", "cannot be written"), (".", "cannot be written"), (3, "takes the path.*got 3")],
)
def test_a_file_that_cannot_be_written_is_refused_at_once(trainer: mxt.Trainer, path: Any, text: str) -> None:
    with pytest.raises(mxt.ArgumentError, match=text), trainer.trace(path):
        trainer.update(linear_batch())
    assert trainer.step == 0


def test_a_process_that_has_traced_ends_quietly(tmp_path: Path) -> None:
    program = """
import sys, mxtrainer as mxt
net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), batch_size=1)
with trainer.trace(sys.argv[1]):
    trainer.update({"Input": [1.0], "Target": [1.0]})
"""
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "trace.json")], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert events_of(tmp_path / "trace.json")
