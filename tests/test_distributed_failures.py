"""A step that fails in one worker fails in all, for this very step, and all of them can go on."""

from __future__ import annotations

import pytest
from launched import Launcher
from worker_cases import NET, STEPS, alone, apart, shown


@pytest.mark.parametrize("bad", [0, 1])
def test_a_step_that_is_not_finite_in_one_worker_moves_nothing_in_any_and_all_recover(
    launcher: Launcher, bad: int
) -> None:
    script = """
trainer = trained(depth=3)
failed = ""
step = 0
while step < 8:
    batch = rows(step, trainer.rank, trainer.workers)
    if step == 4 and trainer.rank == BAD and not failed:
        batch["Input"][0] = batch["Input"][0] * np.nan
    try:
        trainer.update(batch)
        if trainer.rank and step % 2:
            trainer.losses()                       # looks, and so may see a failure before the other worker does
        if step == 7:
            trainer.current_loss()
        step += 1
    except mxt.StepError as error:
        failed = str(error)
        trainer.recover()
        step = trainer.step
show(trainer, failed=failed)
""".replace("BAD", str(bad))
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0]["arrays"] == found[1]["arrays"]
    assert all(one["failed"].startswith("step 5 gave losses or gradients that are not finite") for one in found)
    assert 'input port "Input" of its batch is not finite' in found[bad]["failed"]
    assert f"on worker {bad}, which says more" in found[1 - bad]["failed"]
    assert apart(found[0], alone(STEPS % {"steps": 8})) < 1e-6


def test_a_step_that_one_worker_skips_is_skipped_by_all(launcher: Launcher) -> None:
    script = """
trainer = trained(on_nan="skip")
for step in range(6):
    batch = rows(step, trainer.rank, trainer.workers)
    if step == 2 and trainer.rank == 1:
        batch["Target"][0][0] = np.inf
    trainer.update(batch)
trainer.current_loss()
show(trainer, skipped=trainer.stats().skipped)
"""
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0]["arrays"] == found[1]["arrays"]
    assert [one["skipped"] for one in found] == [[3], [3]]


def test_an_operator_that_fails_in_one_worker_ends_the_job_with_its_error(launcher: Launcher) -> None:
    script = """
from fault_cases import Fault
net = mxt.NetGraph({"linear": mxt.Linear(2), "fault": Fault("raises"), "loss": mxt.MeanSquaredLoss()},
    [("Input", "linear", "fault", "loss", "Loss"), ("Bad", "fault.Trigger")],
    inputs={"Input": mxt.Vector(2), "Bad": mxt.Scalar()})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 1, distributed="sync")
for step in range(6):
    sign = -1.0 if step == 2 and trainer.rank == 1 else 1.0
    try:
        trainer.update({"Input": np.ones((1, 2)), "Bad": [sign], "Target": np.zeros((1, 2))})
        trainer.current_loss()
    except mxt.StepError:
        trainer.recover()
"""
    job = launcher.run(2, NET + script)
    assert job.code == 1
    assert "an operator failed before its gradients went to the other workers" in job.errors
    assert "worker 1" in job.errors


def test_a_wrong_index_in_one_worker_holds_all_and_is_named_there(launcher: Launcher) -> None:
    script = """
net = mxt.NetChain([mxt.Embedding(2), mxt.Linear(), mxt.MeanSquaredLoss()],
    inputs={"Input": mxt.Index(3), "Target": mxt.Scalar()})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 2, distributed="sync")
failed = ""
for step in range(3):
    index = 7 if step == 1 and trainer.rank == 0 and not failed else 1
    trainer.update({"Input": mx.nd.array([index, 1], dtype="int32"), "Target": np.ones(2)})
    try:
        trainer.current_loss()
    except mxt.StepError as error:
        failed = str(error)
        trainer.recover()
show(trainer, failed=failed)
"""
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0]["arrays"] == found[1]["arrays"]
    assert found[0]["step"] == found[1]["step"] == 2
    assert 'port "Input": expected indices from 0 to 2' in found[0]["failed"]
    assert "on worker 0" in found[1]["failed"]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("way", ["update", "accumulate"])
def test_workers_recover_wherever_each_of_them_looks(launcher: Launcher, way: str, depth: int) -> None:
    script = f"""
trainer = trained(depth={depth})
failures = 0
step = 0
while step < 12:
    batch = rows(step, trainer.rank, trainer.workers)
    if step in (4, 11) and trainer.rank == 0 and failures == (step == 11):
        batch["Target"][0][0] = np.nan
    try:
        if "{way}" == "update":
            trainer.update(batch)
        else:
            trainer.accumulate(batch)
            trainer.apply()
        if trainer.rank == 0 or step == 11:         # worker 0 looks at each step, and the other one only at the end
            trainer.current_loss()
        step += 1
    except mxt.StepError as error:
        failures += 1
        trainer.recover()
        step = trainer.step
show(trainer, failures=failures)
"""
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0]["arrays"] == found[1]["arrays"]
    assert [(one["step"], one["failures"]) for one in found] == [(12, 2)] * 2
    assert apart(found[0], alone(STEPS % {"steps": 12})) < 1e-6


def test_a_wrong_index_fails_in_all_workers_also_where_they_skip(launcher: Launcher) -> None:
    script = """
net = mxt.NetChain([mxt.Embedding(2), mxt.Linear(), mxt.MeanSquaredLoss()],
    inputs={"Input": mxt.Index(3), "Target": mxt.Scalar()})
trainer = mxt.Trainer(mxt.compile_plan(net), mxt.SGD(0.1), 2, distributed="sync", on_nan="skip")
failed = []
step = 0
while step < 6:
    index = 7 if step == 2 and trainer.rank == 0 and not failed else 1
    try:
        trainer.update({"Input": mx.nd.array([index, 1], dtype="int32"), "Target": np.ones(2)})
        if trainer.rank == 0 or step == 5:
            trainer.current_loss()
        step += 1
    except mxt.StepError as error:
        failed.append(error.step)
        trainer.recover()
        step = trainer.step
show(trainer, failed=failed, skipped=trainer.stats().skipped)
"""
    found = shown(launcher.run(2, NET + script), 2)
    assert found[0] == found[1]
    assert (found[0]["step"], found[0]["failed"], found[0]["skipped"]) == (6, [3], [])


def test_a_failure_that_a_script_has_not_looked_at_is_told_at_its_end(launcher: Launcher) -> None:
    script = """
trainer = trained()
for step in range(4):
    batch = rows(step, trainer.rank, trainer.workers)
    if step == 3 and trainer.rank == 0:
        batch["Target"][0][0] = np.nan
    trainer.update(batch)
if trainer.rank == 0:
    trainer.current_loss()
"""
    job = launcher.run(2, NET + script)
    assert job.code == 1
    assert "[0] mxtrainer.errors.StepError: step 4 gave losses or gradients that are not finite" in job.errors
