"""Several workers train as one would with all of their rows, and go on from checkpoints together."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launched import SCRIPT, Launcher
from worker_cases import NET, STEPS, alone, apart, shown

import mxtrainer as mxt


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 1), (4, 2)])
def test_workers_have_the_arrays_of_one_that_has_all_rows(launcher: Launcher, workers: int, servers: int) -> None:
    found = shown(launcher.run(workers, NET + STEPS % {"steps": 20}, "-s", servers), workers)
    for other in found:
        assert other["arrays"] == found[0]["arrays"]
    assert apart(found[0], alone(STEPS % {"steps": 20})) < 1e-6


@pytest.mark.parametrize("average", ["examples", "steps"])
def test_parts_of_steps_are_summed_when_they_move(launcher: Launcher, average: str) -> None:
    script = """
net = mxt.NetChain([mxt.GRU(3), mxt.Linear(()), mxt.MeanSquaredLoss(average="AVERAGE")],
    inputs={"Input": mxt.Sequence("t", mxt.Scalar())})
plan = mxt.compile_plan(net)
trainer = trained(optimizer=mxt.SGD(0.1, momentum=0.9))
for step in range(0, 6, 2):
    if trainer.workers == 1:
        for number in range(2):
            for rank in range(2):
                trainer.accumulate(rows(step + number, rank, 2))
    else:
        for number in range(2):
            trainer.accumulate(rows(step + number, trainer.rank, 2))
    trainer.apply()
trainer.compute(rows(9, trainer.rank, trainer.workers))
trainer.apply()
show(trainer)
""".replace("AVERAGE", average)
    first, second = shown(launcher.run(2, NET + script), 2)
    assert first["arrays"] == second["arrays"]
    assert apart(first, alone(script)) < 1e-6


def test_a_seed_that_is_drawn_is_that_of_worker_0_and_random_nodes_differ(launcher: Launcher) -> None:
    script = """
net = mxt.NetGraph({"drop": mxt.Dropout(0.5), "linear": mxt.Linear(), "loss": mxt.MeanSquaredLoss()},
    [("Input", "drop", "linear", "loss", "Loss"), ("drop", "Dropped")],
    inputs={"Input": mxt.Vector(32), "Target": mxt.Scalar()})
trainer = mxt.Trainer(mxt.compile_plan(net, losses={"Dropped": 0.0}), mxt.SGD(0.1), 1, seed=None, distributed="sync")
start = trainer.arrays["linear.Weights"][:].tolist()
trainer.update({"Input": np.ones((1, 32)), "Target": [0.0]})
show(trainer, seed=trainer.seed, dropped=trainer.outputs["Dropped"][:].tolist(), start=start)
"""
    first, second = shown(launcher.run(2, NET + script), 2)
    assert (first["seed"], first["start"]) == (second["seed"], second["start"])
    assert first["dropped"] != second["dropped"]
    assert first["arrays"] == second["arrays"]


def test_moving_statistics_are_the_mean_of_those_of_the_workers_by_rows(launcher: Launcher) -> None:
    script = """
net = mxt.NetChain([mxt.BatchNorm(), mxt.Linear(), mxt.MeanSquaredLoss()],
    inputs={"Input": mxt.Vector(3), "Target": mxt.Scalar()})
drawn = np.random.default_rng(0).normal(size=(5, 3))
mine = drawn[:3] if trained_by == 0 else drawn[3:]
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 5, distributed=MODE)
if MODE is not None:
    mine = drawn[:3] if trainer.rank == 0 else drawn[3:]
trainer.update({"Input": mine, "Target": np.zeros(len(mine))})
trainer.current_loss()
show(trainer)
"""
    found = shown(launcher.run(2, NET + "trained_by = 0\n" + script.replace("MODE", '"sync"')), 2)
    assert found[0]["arrays"] == found[1]["arrays"]
    own = [alone(f"trained_by = {rank}\n" + script.replace("MODE", "None")) for rank in range(2)]
    for path in ("batchnorm.MovingMean", "batchnorm.MovingVariance"):
        expected = (3 * np.array(own[0]["arrays"][path]) + 2 * np.array(own[1]["arrays"][path])) / 5
        np.testing.assert_allclose(found[0]["arrays"][path], expected, rtol=1e-5)


def test_moving_statistics_are_the_same_in_all_workers_also_after_steps_in_parts(launcher: Launcher) -> None:
    script = """
net = mxt.NetChain([mxt.BatchNorm(), mxt.Linear(), mxt.MeanSquaredLoss()],
    inputs={"Input": mxt.Vector(3), "Target": mxt.Scalar()})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 4, distributed="sync")
generator = np.random.default_rng(trainer.rank)
for step in range(3):
    for part in range(2):
        trainer.accumulate({"Input": generator.normal(size=(4, 3)), "Target": np.zeros(4)})
    trainer.apply()
trainer.current_loss()
show(trainer)
"""
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0]["arrays"] == found[1]["arrays"]


def test_a_learning_rate_may_be_a_function(launcher: Launcher) -> None:
    script = """
padding = [object() for _ in range(int(os.environ["PORT"]) % 97)]        # so that addresses differ
trainer = trained(optimizer=mxt.SGD(lambda step, total: 0.1 / step))
trainer.update(rows(0, trainer.rank, trainer.workers))
show(trainer)
"""
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0]["arrays"] == found[1]["arrays"]


def test_the_ready_loop_stops_all_workers_alike_and_worker_0_alone_logs(launcher: Launcher, tmp_path: Path) -> None:
    script = f"""
trainer = trained()
data = {{"Input": EXAMPLES, "Target": [np.cumsum(one) for one in EXAMPLES]}}
shard = trainer.rank, trainer.workers
batches = mxt.Batches(data, batch_size=6, buckets=mxt.buckets.Multiple(4), shard=shard)
log = mxt.loggers.CSV({str(tmp_path / "log.csv")!r})
result = mxt.train(trainer, batches, rounds=4, validation=data, patience=2, loggers=[log],
    checkpoint={str(tmp_path / "run.safetensors")!r}, progress=False)
show(trainer, reason=result.reason, best=result.best_loss)
try:
    mxt.train(trainer, batches, rounds=9, seconds=5)
except mxt.ArgumentError as error:
    print(json.dumps(str(error)), file=sys.stderr)
"""
    job = launcher.run(2, NET + script)
    found = shown(job, 2)
    assert found[0] == found[1]
    assert found[0]["reason"] == "rounds"
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1 + 4
    assert mxt.Trainer.load(tmp_path / "run.safetensors").step == found[0]["step"]
    assert job.errors.count("seconds= goes with one worker, and there are 2") == 2


# Files


def test_worker_0_writes_checkpoints_and_a_job_that_was_killed_goes_on_to_the_bit(
    launcher: Launcher, tmp_path: Path
) -> None:
    script = f"""
checkpoints = mxt.Checkpoints({str(tmp_path)!r}, every=5, keep=9)
newest = checkpoints.newest()
trainer = trained(load=newest)
for step in range(trainer.step, 20):
    trainer.update(rows(step, trainer.rank, trainer.workers))
    checkpoints.step(trainer)
    if step == 12 and newest is None and trainer.rank == 1 and "die" in sys.argv:
        trainer.current_loss()
        os.kill(os.getpid(), 9)
trainer.current_loss()
show(trainer, begun=None if newest is None else newest.name)
trainer.close()
"""
    whole = shown(launcher.run(2, NET + STEPS % {"steps": 20}), 2)
    died = launcher.start("-n", 2, SCRIPT, "die", script=NET + script)
    assert died.wait() == 128 + signal.SIGKILL
    assert "worker 1" in died.errors
    assert "killed by signal 9" in died.errors
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "step-0000000005.safetensors", "step-0000000010.safetensors",
    ]  # fmt: skip
    again = shown(launcher.run(2, NET + script), 2)
    assert [one["begun"] for one in again] == ["step-0000000010.safetensors"] * 2
    assert [one["arrays"] for one in again] == [one["arrays"] for one in whole]


def test_a_checkpoint_goes_on_with_another_number_of_workers(launcher: Launcher, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    save = STEPS % {"steps": 6} + f"trainer.save({str(path)!r})\n"
    shown(launcher.run(2, NET + save), 2)
    resume = f"""
trainer = trained(load={str(path)!r})
for step in range(6, 12):
    trainer.update(rows(step, trainer.rank, trainer.workers))
trainer.current_loss()
show(trainer)
"""
    four = shown(launcher.run(4, NET + resume), 4)
    assert all(one["arrays"] == four[0]["arrays"] for one in four)
    assert apart(four[0], alone(STEPS % {"steps": 12})) < 1e-6
    assert mxt.Trainer.load(path).step == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_leaves_a_checkpoint_of_one_step(
    launcher: Launcher, tmp_path: Path, number: signal.Signals
) -> None:
    script = f"""
checkpoints = mxt.Checkpoints({str(tmp_path)!r})
trainer = trained()
with checkpoints.on_signals(trainer):
    for step in range(10**6):
        trainer.update(rows(step, trainer.rank, trainer.workers))
        checkpoints.step(trainer)
        if step == 5:
            print("going", flush=True)
"""
    job = launcher.start("-n", 2, SCRIPT, script=NET + script)
    job.until(lambda: len(job.output) == 2)
    job.send_launcher(number)
    assert job.wait() == 128 + number, job.errors
    (path,) = tmp_path.iterdir()
    stopped = mxt.Trainer.load(path)
    arrays = {"arrays": {name: array[:] for name, array in stopped.arrays.items()}}
    assert apart(arrays, alone(STEPS % {"steps": stopped.step})) < 1e-5


def test_shards_of_a_data_set_are_disjoint_and_give_as_many_steps(launcher: Launcher) -> None:
    script = """
trainer = trained()
data = {"Input": EXAMPLES, "Target": [np.cumsum(one) for one in EXAMPLES]}
shard = trainer.rank, trainer.workers
batches = mxt.Batches(data, batch_size=6, buckets=mxt.buckets.Multiple(4), shard=shard)
seen = []
for batch in batches:
    trainer.update(batch)
    seen += [float(one[0]) for one in batch["Input"]]
show(trainer, seen=seen)
"""
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0]["step"] == found[1]["step"]
    assert not set(found[0]["seen"]) & set(found[1]["seen"])
    assert len(found[0]["seen"]) + len(found[1]["seen"]) == 64


# Asynchronous


def test_asynchronous_workers_add_all_of_their_moves(launcher: Launcher) -> None:
    script = """
net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
plan = mxt.compile_plan(net)
trainer = mxt.Trainer(plan, mxt.SGD(0.5), 1, arrays={"linear.Weights": [[0.0]]}, distributed="async")
for step in range(8):                       # the gradient is -2 whatever the arrays are: weights move by 1 a step
    trainer.compute({"Input": [1.0], "Target": [0.0]})
    trainer.gradients["linear.Weights"] = [[-2.0 ** -trainer.rank]]
    trainer.gradients["linear.Biases"] = [0.0]
    trainer.apply()
trainer.current_loss()
trainer._steps._exchange._group.barrier()
trainer.compute({"Input": [1.0], "Target": [0.0]})
for name in trainer.gradients:
    trainer.gradients[name] = np.zeros(trainer.gradients[name].shape)
trainer.apply()
show(trainer)
"""
    for one in shown(launcher.run(2, NET + script), 2):
        assert one["arrays"]["linear.Weights"] == [[8 * 0.5 + 8 * 0.25]]


def test_asynchronous_workers_learn(launcher: Launcher) -> None:
    script = """
trainer = trained("async")
whole = {"Input": EXAMPLES, "Target": [np.cumsum(one) for one in EXAMPLES]}
for step in range(150):
    if step in (0, 149):
        print(json.dumps({"loss": trainer.evaluate(whole, outputs=[]).losses["Loss"]}), flush=True)
    trainer.update(rows(step, trainer.rank, trainer.workers))
"""
    job = launcher.run(2, NET + script)
    assert job.code == 0, job.errors
    for rank in (0, 1):
        first, last = (json.loads(line)["loss"] for line in job.of_rank(rank))
        assert last < first / 2


# Bad input


def test_without_a_launcher_distributed_says_how_to_start(linear_plan: mxt.Plan) -> None:
    with pytest.raises(mxt.Error, match=r"python -m mxtrainer\.launch"):
        mxt.Trainer(linear_plan, mxt.SGD(0.1), 4, distributed="sync")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distributed": "both"}, 'distributed must be "sync" or "async", got \'both\''),
        ({"distributed": "sync", "guard": False}, 'distributed="sync" needs guard=True'),
        ({"distributed": "sync", "on_nan": "ignore"}, 'distributed="sync" needs guard=True'),
        ({"distributed": "async", "guard": 5}, "guard=5 goes with one worker"),
    ],
)
def test_arguments_that_do_not_go_with_several_workers_are_refused(
    linear_plan: mxt.Plan, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(mxt.ArgumentError, match=message):
        mxt.Trainer(linear_plan, mxt.SGD(0.1), 4, **options)


def test_a_plan_in_float64_is_refused() -> None:
    net = mxt.NetChain([mxt.Linear(), mxt.MeanSquaredLoss()], inputs={"Input": mxt.Scalar(), "Target": mxt.Scalar()})
    with pytest.raises(mxt.ArgumentError, match="takes plans in float32, as servers do, got one in float64"):
        mxt.Trainer(mxt.compile_plan(net, dtype="float64"), mxt.SGD(0.1), 4, distributed="sync")


def test_workers_that_differ_are_told_in_what(launcher: Launcher) -> None:
    script = """
from mxtrainer.engine.launch.channel import current
trainer = trained(optimizer=mxt.Adam(0.1 + current().rank))
"""
    job = launcher.run(2, NET + script)
    assert job.code == 1
    assert "the workers differ in the optimizer" in job.errors
    assert "Adam(0.1" in job.errors
    assert "Adam(1.1" in job.errors
