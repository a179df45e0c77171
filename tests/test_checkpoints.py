"""A training that is saved, and goes on in a new process, is the one that never stopped; and nothing of it is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import checkpoint_cases as cases
import numpy as np
import pytest
from conftest import values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from state_cases import assert_same_states, states_of

import mxtrainer as mxt
from mxtrainer import tensor_file
from mxtrainer.engine.checkpoint import KEY
from mxtrainer.tensor_file import TensorFile

Folder = Path
PLAN = cases.plan_of(0.3)


def checksums(path: Path) -> dict[str, int | None]:
    with TensorFile(path, "a checkpoint") as file:
        return {name: file.checksum(name) for name in sorted(file.names)}


def described(path: Path) -> dict[str, Any]:
    with TensorFile(path, "a checkpoint") as file:
        return dict(json.loads(file.metadata[KEY]))


def started(steps: int = 3, **options: Any) -> mxt.Trainer:
    """Return a trainer after some steps."""
    trainer = mxt.Trainer(PLAN, mxt.Adam(0.01), cases.ROWS, carry=True, **options)
    for number in range(steps):
        trainer.update(batch(number))
    return trainer


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def batch(number: int = 0, rows: int = cases.ROWS, steps: int = 5) -> dict[str, Any]:
    generator = np.random.default_rng(number)
    return {port: generator.normal(size=(rows, steps, cases.WIDTH)).astype("float32") for port in ("Input", "Target")}


def assert_go_on_alike(left: mxt.Trainer, right: mxt.Trainer, steps: int = 3) -> None:
    """Assert that two trainers take the same steps, bit for bit."""
    for number in range(100, 100 + steps):
        for trainer in (left, right):
            trainer.update(batch(number))
    assert left.step == right.step
    assert left.current_loss() == right.current_loss()
    found, expected = values_of(left.arrays), values_of(right.arrays)
    assert {path for path in found if found[path].tobytes() != expected[path].tobytes()} == set()
    assert_same_states(states_of(left), states_of(right))


# To the bit


@pytest.mark.slow
def test_trainings_go_on_in_a_new_process_as_if_they_had_not_stopped(tmp_path: Path) -> None:
    for cell in cases.CELLS:
        cases.begin(cell, tmp_path)
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, cases.__file__, str(tmp_path)], check=True, env={**os.environ, "PYTHONPATH": paths})
    differing = []
    for cell in cases.CELLS:
        whole, resumed = (tmp_path / f"{cell.name}.{kind}" for kind in ("whole", "resumed"))
        if checksums(whole) != checksums(resumed) or described(whole) != described(resumed):
            differing.append(cell.name)
    assert differing == []


def test_all_that_steps_depend_on_is_kept(tmp_path: Path) -> None:
    rules = {"lstm.*": mxt.Rule(learning_rate_multiplier=0.5), "linear.Biases": mxt.Rule(frozen=True)}
    optimizer = mxt.AdamW(mxt.schedules.cosine(0.1, steps=9), clip_norm=1.0, rules=rules)
    trainer = mxt.Trainer(PLAN, optimizer, 3, buckets=mxt.buckets.Multiple(4), carry=True, seed=7, depth=3, guard=2)
    trainer.update(batch(), streams=["a", "b", 3])
    trainer.update(mxt.Batch(batch(1), streams=["b", 3, "c"], position=(4, 2)))
    trainer.reset(streams=["b"])
    trainer.loss_weights["Loss"] = 0.5
    trainer.learning_rate = mxt.schedules.plateau(0.05).after(1.0)
    trainer.save(tmp_path / "run")
    other = mxt.Trainer.load(tmp_path / "run")
    assert (other.step, other.position, other.seed, dict(other.loss_weights)) == (2, (4, 2), 7, {"Loss": 0.5})
    assert other.optimizer == mxt.AdamW(mxt.schedules.plateau(0.05).after(1.0), clip_norm=1.0, rules=rules)
    assert other.learning_rate == trainer.learning_rate
    assert other.rules == trainer.rules
    assert other.buckets.policy == mxt.buckets.Multiple(4)
    assert list(other.state) == list(trainer.state)
    for each in (trainer, other):
        each.update(batch(2), streams=["b", "a", "new"])
    assert_go_on_alike(trainer, other)


def test_a_file_is_one_of_safetensors_with_an_array_by_path(tmp_path: Path) -> None:
    with started() as trainer:
        trainer.save(tmp_path / "run.safetensors")
        found = load_file(tmp_path / "run.safetensors")
        for path, array in values_of(trainer.arrays).items():
            np.testing.assert_array_equal(found[f"parameters/{path}"], array)
        assert found["optimizer 0/linear.Weights"].shape == (cases.WIDTH * cases.SIZE,)
        assert found["state/lstm.State"].shape == (cases.ROWS, cases.SIZE)
    about = described(tmp_path / "run.safetensors")
    assert (about["step"], about["versions"]["mxnet"]) == (3, "1.9.1")


def test_other_arguments_change_what_they_say_and_no_number(tmp_path: Path) -> None:
    with started() as trainer:
        trainer.save(tmp_path / "run")
        other = mxt.Trainer.load(tmp_path / "run", batch_size=8, lengths={"t": 12}, depth=1, on_nan="skip")
        assert (other.batch_size, other.buckets.policy.known(["t"])) == (8, ({"t": 12},))
        found, expected = values_of(other.arrays), values_of(trainer.arrays)
        assert all(found[path].tobytes() == array.tobytes() for path, array in expected.items())
        other.update(batch(9, rows=8, steps=11))
        plain = mxt.Trainer.load(tmp_path / "run", carry=False)
        with pytest.raises(mxt.Error, match="carries no state"):
            _ = plain.state
        rate = mxt.Trainer.load(tmp_path / "run", optimizer=mxt.Adam(0.5))
        assert rate.learning_rate == 0.5


def test_segments_and_budgets_go_on_too(tmp_path: Path) -> None:
    trainer = mxt.Trainer(PLAN, mxt.Adam(0.01), 3, segment=4, carry=True)
    trainer.update(batch(steps=10))
    trainer.save(tmp_path / "run")
    other = mxt.Trainer.load(tmp_path / "run", memory_budget="1GB")
    assert other.explain().segment == 4
    for each in (trainer, other):
        each.update(batch(1, steps=11))
    assert trainer.current_loss() == other.current_loss()


def test_saving_changes_nothing_of_the_training(tmp_path: Path) -> None:
    plain, saved = started(0), started(0)
    for number in range(4):
        for trainer in (plain, saved):
            trainer.update(batch(number))
        saved.save(tmp_path / "run", wait=number % 2 == 0)
    assert_go_on_alike(plain, saved)


def test_a_checkpoint_in_the_background_is_of_the_steps_queued_before_it(tmp_path: Path) -> None:
    trainer, other = started(), started()
    trainer.save(tmp_path / "run", wait=False)
    for number in range(50, 53):
        trainer.update(batch(number))
    trainer.close()  # waits for the file
    assert_go_on_alike(mxt.Trainer.load(tmp_path / "run"), other)


def test_positions_are_of_steps_and_not_of_batches_made_ahead(tmp_path: Path) -> None:
    trainer = started(0)
    assert trainer.position is None
    trainer.update(mxt.Batch(batch(), position=(0, 1)))
    trainer.stage(mxt.Batch(batch(), position=(0, 2)))
    assert trainer.position == (0, 1)
    trainer.update()
    assert trainer.position == (0, 2)
    trainer.accumulate(mxt.Batch(batch(), position=(0, 3)))
    assert trainer.position == (0, 3)
    trainer.discard()
    assert trainer.position == (0, 2)
    wrong = batch()
    wrong["Input"][0, 0, 0] = np.nan
    trainer.update(mxt.Batch(wrong, position=(0, 4)))
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    trainer.recover()
    assert trainer.position == (0, 2)
    trainer.save(tmp_path / "run")
    assert mxt.Trainer.load(tmp_path / "run").position == (0, 2)


def test_a_trainer_proves_that_it_resumes() -> None:
    with started() as trainer:
        before = values_of(trainer.arrays)
        report = trainer.verify_resume(2, [batch(number) for number in range(4)])
        assert (report.exact, report.steps, trainer.step) == (True, 2, 3)
        assert report.arrays > 20
        assert "all are the same, bit for bit" in str(report)
        assert all(found.tobytes() == before[path].tobytes() for path, found in values_of(trainer.arrays).items())
        with pytest.raises(mxt.ArgumentError, match="takes 4 batches, and there are 3"):
            trainer.verify_resume(2, [batch()] * 3)
        with pytest.raises(mxt.ArgumentError, match="takes an iterable of batches, got dict"):
            trainer.verify_resume(2, batch())  # type: ignore[arg-type]


# Nothing lost


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    with started() as trainer:
        trainer.save(path)
        before = path.read_bytes()
        trainer.update(batch())
        for call in ("open", "writelines", "flush", "fsync", "replace"):
            with monkeypatch.context() as patched:
                _fail(patched, call)
                with pytest.raises(mxt.ArgumentError, match=f"cannot be written: .*{call}"):
                    trainer.save(path)
            assert path.read_bytes() == before
        assert [found.name for found in tmp_path.iterdir()] == ["run"]
        trainer.save(path)
        assert path.read_bytes() != before
        with pytest.raises(mxt.ArgumentError, match="cannot be written"):
            trainer.save(tmp_path / "nowhere" / "run")
        trainer.save(tmp_path / "nowhere" / "run", wait=False)
        with pytest.raises(mxt.ArgumentError, match="cannot be written"):
            trainer.close()


def _fail(patched: pytest.MonkeyPatch, call: str) -> None:
    """Let one system call fail once, as on a full disk."""

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(28, f"No space left on device ({call})")

    if call == "fsync":
        patched.setattr(os, call, failing)
    elif call in {"replace", "open"}:
        patched.setattr(Path, call, failing)
    else:
        real = Path.open

        class File:
            def __init__(self, path: Path, mode: str) -> None:
                self.file = real(path, mode)

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def __getattr__(self, name: str) -> Any:
                return failing if name == call else getattr(self.file, name)

        def opened(path: Path, mode: str) -> File:  # a function, which becomes a method
            return File(path, mode)

        patched.setattr(Path, "open", opened)


KILLED = """
import sys, numpy as np, mxtrainer as mxt
sys.path.insert(0, sys.argv[2])
from test_checkpoints import batch, started
trainer = started(1)
print("ready", flush=True)
while True:
    trainer.update(batch())
    trainer.save(sys.argv[1], wait=trainer.step % 2 == 0)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_file(tmp_path: Path) -> None:
    path, here = tmp_path / "run", Path(__file__).parent
    with started(1) as trainer:
        trainer.save(path)
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(here)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    step = mxt.Trainer.load(path).step
    assert step > 1
    left = [found.name for found in tmp_path.iterdir() if found.name != "run"]
    assert len(left) <= 1
    with mxt.Trainer.load(path) as trainer:
        trainer.save(path)
    assert [found.name for found in tmp_path.iterdir()] == ["run"]


def test_a_step_that_failed_is_not_saved(tmp_path: Path) -> None:
    trainer = started()
    wrong = batch()
    wrong["Input"][0, 0, 0] = np.nan
    trainer.update(wrong)
    with pytest.raises(mxt.StepError):
        trainer.save(tmp_path / "run")
    trainer.recover()
    trainer.update(wrong)
    trainer.save(tmp_path / "run", wait=False)
    with pytest.raises(mxt.StepError):
        trainer.current_loss()
    trainer.recover()
    with pytest.raises(mxt.Error, match="a checkpoint has not been written: a step before it failed"):
        trainer.save(tmp_path / "run")
    trainer.save(tmp_path / "run")
    assert mxt.Trainer.load(tmp_path / "run").step == 3


def test_a_guard_of_every_nth_step_saves_nothing_that_is_not_finite(tmp_path: Path) -> None:
    wrong = batch()
    wrong["Input"][0, 0, 0] = np.nan
    with started(1, guard=5) as trainer:
        trainer.save(tmp_path / "run")
        trainer.update(wrong)
        with pytest.raises(mxt.Error, match="its parameters are not finite"):
            trainer.save(tmp_path / "run")
    assert mxt.Trainer.load(tmp_path / "run").step == 1


@pytest.mark.slow
def test_positions_are_right_however_far_a_training_goes_back() -> None:
    with started(0, guard=2000) as trainer:
        for number in range(1, 4):
            trainer.update(mxt.Batch(batch(), position=(0, number)))
        for number in range(4, 1100):
            trainer.accumulate(mxt.Batch(batch(steps=1, rows=1), position=(0, number)))
        trainer.discard()
        assert trainer.position == (0, 3)


def test_two_trainers_that_save_to_one_file_leave_one_of_theirs(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with started(1) as one, started(2) as other:
        for _ in range(10):
            one.save(path, wait=False)
            other.save(path)
            assert mxt.Trainer.load(path).step in {1, 2}


def test_a_relative_path_is_where_the_caller_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    with started(1) as trainer:
        monkeypatch.chdir(tmp_path / "here")
        checkpoints = mxt.Checkpoints("runs")
        trainer.save("run", wait=False)
        monkeypatch.chdir(tmp_path / "there")
        checkpoints.save(trainer)
    assert names_in(tmp_path / "here") == ["run", "runs"]
    assert names_in(tmp_path / "there") == []


def test_closing_tells_of_a_file_that_was_not_written_and_hides_no_other_error(tmp_path: Path) -> None:
    def leave(error: Exception | None) -> None:
        with started(1) as trainer:
            trainer.save(tmp_path / "nowhere" / "run", wait=False)
            if error is not None:
                raise error

    with pytest.raises(mxt.ArgumentError, match="cannot be written"):
        leave(None)
    with pytest.raises(KeyError):
        leave(KeyError("of the user"))


def test_states_may_be_carried_or_arrays_trained_from_the_checkpoint_on(tmp_path: Path) -> None:
    frozen = mxt.Adam(0.01, rules={"linear.*": mxt.Rule(frozen=True)})
    with mxt.Trainer(PLAN, frozen, cases.ROWS) as trainer:
        trainer.update(batch())
        trainer.save(tmp_path / "run")
        before = values_of(trainer.arrays)
    with mxt.Trainer.load(tmp_path / "run", carry=True, optimizer=mxt.Adam(0.01)) as trainer:
        trainer.update(batch(1))
        assert len(trainer.state) == cases.ROWS
        assert values_of(trainer.arrays)["linear.Weights"].tobytes() != before["linear.Weights"].tobytes()
    with started(1, state_capacity=1000) as trainer:
        trainer.save(tmp_path / "run")
        mxt.Trainer.load(tmp_path / "run", carry=False).close()


def test_ports_may_have_any_name_and_options_any_integers(tmp_path: Path) -> None:
    net = mxt.NetGraph(
        {"linear": mxt.Linear(2), "loss": mxt.MeanSquaredLoss()},
        [("Input", "linear", "loss"), ("loss", "type"), ("Target", "loss.Target")],
        inputs={"Input": mxt.Vector(2)},
    )
    with mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 2, total_steps=np.int64(9)) as trainer:  # type: ignore[arg-type]
        trainer.save(tmp_path / "run")
    assert mxt.Trainer.load(tmp_path / "run").loss_weights["type"] == 1.0


# Bad input


def test_what_cannot_be_saved_or_loaded_is_refused(tmp_path: Path) -> None:
    with started() as trainer:
        trainer.compute(batch())
        with pytest.raises(mxt.Error, match="save: step 4 was begun by compute"):
            trainer.save(tmp_path / "run")
        trainer.discard()
        for path in (None, 7, "", b"run"):
            with pytest.raises(mxt.ArgumentError, match="path must be the path of a file"):
                trainer.save(path)  # type: ignore[arg-type]
        trainer.save(tmp_path / "run")
        with pytest.raises(TypeError, match="wrong"):
            mxt.Trainer.load(tmp_path / "run", wrong=3)
        with pytest.raises(mxt.ArgumentError, match="batch_size must be a positive integer"):
            mxt.Trainer.load(tmp_path / "run", batch_size=0)
        for other in (_Three(0.1), mxt.RMSProp(0.1), mxt.SGD(0.1)):
            with pytest.raises(mxt.ArgumentError, match=r"has 2 states of Adam, which .* would read as its own"):
                mxt.Trainer.load(tmp_path / "run", optimizer=other)
        for name in ("plan", "seed", "arrays"):
            with pytest.raises(mxt.ArgumentError, match=f"{name}= comes from the file"):
                mxt.Trainer.load(tmp_path / "run", **{name: 3})
        for options, match in (
            ({"buckets": {"type": "Fixed", "steps": [10**40]}}, "cannot be made"),
            ({"wrong": 3}, "its options are others than"),
            ({"depth": "x"}, "depth must be"),
        ):
            _change_options(tmp_path / "run", tmp_path / "changed", options)
            with pytest.raises(mxt.Error, match=match):
                mxt.Trainer.load(tmp_path / "changed")
        with pytest.raises(mxt.FileFormatError, match="has 3 streams, and state_capacity= has room for 2"):
            mxt.Trainer.load(tmp_path / "run", batch_size=1, state_capacity=2 * 4 * 2 * cases.SIZE)
    with pytest.raises(mxt.FileFormatError, match="cannot be read as a checkpoint"):
        mxt.Trainer.load(tmp_path / "nothing")
    with mxt.Trainer(PLAN, mxt.SGD(lambda step, _: 0.1 / step), 3) as trainer:
        trainer.save(tmp_path / "function")
        with pytest.raises(mxt.ArgumentError, match=r"its learning rate was a function.*optimizer=mxt.Adam\(rate\)"):
            mxt.Trainer.load(tmp_path / "function")
        assert mxt.Trainer.load(tmp_path / "function", optimizer=mxt.SGD(0.3)).learning_rate == 0.3


def _change_options(path: Path, changed: Path, options: dict[str, Any]) -> None:
    arrays, about = load_file(path), described(path)
    about["options"].update(options)
    tensor_file.write(changed, arrays, {KEY: json.dumps(about)})


class _Three(mxt.Adam):
    """Adam with one state more."""

    @property
    def formula(self) -> Any:
        return super().formula._replace(states=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "run"
    with started() as trainer:
        trainer.save(path)
    return path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_with_other_bytes_is_refused_or_is_the_same(whole: bytes, data: st.DataObject) -> None:
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1) | st.integers(0, 200))
        kind = data.draw(st.sampled_from(["byte", "cut", "insert"]))
        if kind == "byte":
            changed[place % len(changed)] = data.draw(st.integers(0, 255))
        elif kind == "cut" and len(changed) > 1:
            del changed[place % len(changed) :][: data.draw(st.integers(1, 50))]
        else:
            changed[place % len(changed) : place % len(changed)] = data.draw(st.binary(max_size=20))
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"mxtrainer-fuzz-{os.getpid()}-{threading.get_ident()}"  # noqa: S108
    path.write_bytes(bytes(changed))
    try:
        mxt.Trainer.load(path).close()
    except mxt.Error:
        pass
    finally:
        path.unlink()


def test_a_damaged_array_is_named(whole: bytes, tmp_path: Path) -> None:
    changed = bytearray(whole)
    changed[-3] ^= 1  # in the last array
    (tmp_path / "run").write_bytes(bytes(changed))
    with pytest.raises(mxt.FileFormatError, match=r"'state/lstm.CellState' is damaged"):
        mxt.Trainer.load(tmp_path / "run")


def test_a_file_is_read_where_it_lies(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"large": np.zeros((1000, 1000), np.float32), "small": np.arange(3, dtype=np.int64)}
    tensor_file.write(tmp_path / "file", arrays, {"a": "b"})
    with TensorFile(tmp_path / "file", "a file") as file:
        assert (file.metadata["a"], set(file.names)) == ("b", {"large", "small"})
        np.testing.assert_array_equal(file.tensor("small", (3,), "int64"), [0, 1, 2])
        with pytest.raises(mxt.FileFormatError, match=r"'small': expected \(4,\) I64, found"):
            file.tensor("small", (4,), "int64")


def test_plans_without_states_are_saved_too(tmp_path: Path) -> None:
    net = mxt.NetChain([mxt.Linear(2), mxt.BatchNorm(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(2)})
    trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 4)
    given = {port: np.random.default_rng(0).normal(size=(4, 2)) for port in ("Input", "Target")}
    trainer.update(given)
    trainer.save(tmp_path / "run")
    other = mxt.Trainer.load(tmp_path / "run")
    for each in (trainer, other):
        each.update(given)
    found, expected = values_of(other.arrays), values_of(trainer.arrays)
    assert all(found[path].tobytes() == array.tobytes() for path, array in expected.items())
