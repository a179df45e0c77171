"""The command line says what the library says, and ends with the exit code that a script expects."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import linear_batch, text_batch

import mxtrainer as mxt
from mxtrainer import values
from mxtrainer._mxnet import mx
from mxtrainer.engine.commands import main
from mxtrainer.engine.commands.checkup import finding, processor, software, training, variables
from mxtrainer.engine.commands.group import commands
from mxtrainer.engine.commands.imports import import_module_at
from mxtrainer.engine.commands.options import OPTIMIZERS
from mxtrainer.engine.commands.random_batches import random_batches
from mxtrainer.engine.commands.standard_nets import STANDARD
from mxtrainer.engine.resume import ResumeReport
from mxtrainer.executors.binding import MIRROR

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(one) for one in arguments])


def shown(*arguments: object) -> str:
    """Runs a command that succeeds; returns what it prints."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    """Runs a command that is refused; returns the message."""
    result = run(*arguments)
    assert (result.exit_code, "Traceback" in result.output) == (2, False), result.output
    assert isinstance(result.exception, SystemExit)
    return result.output.partition("Error: ")[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, linear_plan: mxt.Plan, text_plan: mxt.Plan) -> Path:
    """The files of a linear net and of a recurrent one: plans, a net, and checkpoints."""
    path = tmp_path_factory.mktemp("files")
    (path / "linear.json").write_text(linear_plan.to_json())
    (path / "text.json").write_text(text_plan.to_json())
    (path / "net.json").write_text(linear_plan.net.to_json())
    with mxt.Trainer(linear_plan, mxt.Adam(0.1), batch_size=4) as trainer:
        trainer.update(linear_batch())
        trainer.save(path / "linear.safetensors")
        mxt.to_safetensors(trainer.net(), path / "net.safetensors")
    with mxt.Trainer(
        text_plan, mxt.SGD(0.1, momentum=0.9), 3, buckets=mxt.buckets.Fixed([4, 6]), carry=True
    ) as trainer:
        trainer.update(text_batch(np.random.default_rng(0)))
        trainer.save(path / "text.safetensors")
    with mxt.Trainer(text_plan, mxt.SGD(lambda _step, _total: 0.1), 3) as trainer:
        trainer.update(text_batch(np.random.default_rng(0)))
        trainer.save(path / "function.safetensors")
    return path


# explain and memory


@pytest.mark.parametrize("file", ["linear.json", "net.json", "net.safetensors"])
def test_explain_shows_the_plan_of_every_kind_of_file(file: str, folder: Path, linear_plan: mxt.Plan) -> None:
    found = shown("explain", folder / file)
    assert str(linear_plan) in found
    assert "With --batch-size 32" in found


def test_explain_shows_the_layers_as_the_plan_does(folder: Path, text_plan: mxt.Plan) -> None:
    found = shown(
        "explain", folder / "text.json", "--batch-size", 2, "--lengths", "t=5", "--optimizer", "SGD(1, momentum=0.5)"
    )
    assert str(text_plan.explain(2, {"t": 5}, optimizer=mxt.SGD(1, momentum=0.5))) in found


def test_memory_is_that_of_the_plan(folder: Path, text_plan: mxt.Plan) -> None:
    found = shown("memory", folder / "text.json", "--batch-size", 2, "--lengths", "t=5", "--optimizer", "adamw")
    assert found.strip() == str(text_plan.memory(2, {"t": 5}, optimizer=mxt.AdamW()))


def test_memory_of_a_checkpoint_is_that_of_its_trainer(folder: Path, text_plan: mxt.Plan) -> None:
    like_it: dict[str, Any] = {"optimizer": mxt.SGD(0.1, momentum=0.9), "carry": True}
    whole = text_plan.memory(3, buckets=mxt.buckets.Fixed([4, 6]), **like_it)
    assert shown("memory", folder / "text.safetensors").strip() == str(whole)
    one = text_plan.memory(3, {"t": 5}, **like_it)
    assert shown("memory", folder / "text.safetensors", "--lengths", "t=5").strip() == str(one)


def test_memory_of_a_checkpoint_without_its_learning_rate_has_the_state_of_its_optimizer(folder: Path) -> None:
    found = shown("memory", folder / "function.safetensors", "--lengths", "t=5", "--batch-size", 7)
    assert "batch_size=7, t=5" in found
    with_momentum = shown("memory", folder / "text.safetensors", "--lengths", "t=5")
    assert ("optimizer" in found, "optimizer" in with_momentum) == (False, True)


def test_a_budget_shows_what_fits(folder: Path, text_plan: mxt.Plan) -> None:
    found = shown("memory", folder / "text.json", "--batch-size", 2, "--lengths", "t=5", "--budget", "32MB")
    rows, steps = (int(one.replace(",", "")) for one in re.findall(r"bytes: ([\d,]+)", found))
    for fits in (text_plan.memory(rows, {"t": 5}), text_plan.memory(2, {"t": steps})):
        assert fits.bytes_total <= 2**25
    for too_large in (text_plan.memory(rows + 1, {"t": 5}), text_plan.memory(2, {"t": steps + 1})):
        assert too_large.bytes_total > 2**25


def test_a_budget_needs_no_batch_size(folder: Path) -> None:
    found = shown("memory", folder / "linear.json", "--budget", "32MB")
    assert found.startswith("largest batch size within 33,554,432 bytes: ")


# verify-resume


def test_verify_resume_makes_batches_that_fit(folder: Path) -> None:
    before = (folder / "text.safetensors").read_bytes()
    found = shown("verify-resume", folder / "text.safetensors", "--steps", 2)
    assert found.splitlines()[0] == "random batches of 3 rows, t=6"
    assert "2 steps, a checkpoint, a new process, 2 steps" in found
    assert "bit for bit" in found
    assert (folder / "text.safetensors").read_bytes() == before


SCRIPT = """
import numpy as np

def batches():
    for number in range(100):
        yield {"Input": np.full(4, number % 3), "Target": np.ones(4)}

few = [{"Input": np.ones(4), "Target": np.ones(4)}]
number = 3
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "script_of_commands.py"
    path.write_text(SCRIPT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return path


def test_a_bit_that_differs_is_exit_code_1(folder: Path, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ResumeReport(1, 8, ("parameters/linear.Weights",))
    monkeypatch.setattr(mxt.Trainer, "verify_resume", lambda *_: other)
    result = run("verify-resume", folder / "linear.safetensors", "--batches", f"{script}:batches")
    assert result.exit_code == 1
    assert result.output.strip() == str(other)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ("{}", "expected a module or a file and a name"),
        ("{}:batch", 'has no name "batch"; did you mean "batches"?'),
        ("{}:number", "no iterable of batches, but of type int"),
        ("{}:few", "takes 4 batches, and there are 1"),
        ("nowhere_at_all:batches", "there is no module 'nowhere_at_all'"),
        ("nowhere.py:batches", "there is no file 'nowhere.py'"),
    ],
)
def test_batches_that_are_none_are_refused(batches: str, message: str, folder: Path, script: Path) -> None:
    given = batches.format(script)
    assert message in refused("verify-resume", folder / "linear.safetensors", "--steps", 2, "--batches", given)


def test_a_file_with_the_name_of_another_module_is_refused(folder: Path, script: Path) -> None:
    twin = script.with_name("json.py")
    twin.write_text(SCRIPT)
    assert 'another module of the name "json"' in refused(
        "verify-resume", folder / "linear.safetensors", "--batches", f"{twin}:batches"
    )


def test_a_checkpoint_whose_learning_rate_is_a_function_needs_an_optimizer(folder: Path) -> None:
    assert "was a function" in refused("verify-resume", folder / "function.safetensors", "--steps", 1)
    once = ("--lengths", "t=5", "--steps", 1, "--rounds", 1)
    assert "was a function" in refused("bench", folder / "function.safetensors", *once)
    assert "3, t=5" in shown("bench", folder / "function.safetensors", *once, "--optimizer", "sgd(0.1)")


# bench


def test_bench_times_a_plan(folder: Path) -> None:
    found = shown("bench", folder / "linear.json", "--batch-size", 4, "--steps", 5, "--rounds", 3)
    header, row = (re.split(r"\s{2,}", line) for line in found.strip().splitlines())
    cells = dict(zip(header, row))
    assert (cells["net"], cells["batch"]) == ("linear.json", "4")
    median, fastest, slowest = (float(cells[name].replace(",", "")) for name in ("ms a step", "fastest", "slowest"))
    assert 0 < fastest <= median <= slowest
    assert float(cells["steps/s"].replace(",", "")) == pytest.approx(1e3 / median, rel=0.02)
    assert float(cells["examples/s"].replace(",", "")) == pytest.approx(4e3 / median, rel=0.02)


def test_bench_takes_a_checkpoint_with_its_buckets(folder: Path) -> None:
    assert "3, t=6" in shown("bench", folder / "text.safetensors", "--steps", 2, "--rounds", 1)
    other = shown("bench", folder / "text.safetensors", "--lengths", "t=9", "--batch-size", 2, "--steps", 2)
    assert "2, t=9" in other


def test_bench_without_a_plan_times_standard_nets() -> None:
    assert re.search(r"^tiny +1, t=5 ", shown("bench", "--net", "tiny", "--steps", 2, "--rounds", 1), re.MULTILINE)


@pytest.mark.source
def test_standard_nets_have_the_sizes_of_the_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from workloads import WORKLOADS

    for name, net in STANDARD.items():
        known: Any = WORKLOADS[name]
        assert known.shapes() == {path: spec.shape for path, spec in net.make().parameters.items()}
        assert (known.rows, known.steps) == (net.rows, net.lengths["t"])


def test_random_batches_fit_all_types_of_ports() -> None:
    net = mxt.NetGraph(
        {
            "flat": mxt.Flatten(),
            "join": mxt.Catenate(),
            "linear": mxt.Linear(3),
            "loss": mxt.CrossEntropyLoss("index"),
        },
        [("Image", "flat"), (["flat", "State"], "join", "linear", "loss", "Loss")],
        inputs={"Image": mxt.Array((1, 2, 2), dtype="uint8"), "State": mxt.Vector(2, initial=0.0)},
    )
    plan = mxt.compile_plan(net, example_weights={"Loss": "Weight"})
    batches = random_batches(plan, 5, {})
    first, second = next(batches), next(batches)
    assert set(first) == {"Image", "Target", "Weight"}
    assert any((first[port] != second[port]).any() for port in first)
    with mxt.Trainer(plan, mxt.Adam(), batch_size=5) as trainer:
        trainer.update(first)
        assert np.isfinite(trainer.current_loss()["Loss"])


# doctor


def test_doctor_finds_this_machine_fit_to_train() -> None:
    data = json.loads(shown("doctor", "--json"))
    assert (data["format"], data["version"]) == ("mxtrainer-doctor", 1)
    states = {one["subject"]: one["state"] for one in data["findings"]}
    assert {states[subject] for subject in ("mxnet", "product", "training")} == {"ok"}
    assert all(bool(one["advice"]) == (one["state"] != "ok") for one in data["findings"])


def test_doctor_says_what_to_do_and_ends_with_1_where_training_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, "1")
    monkeypatch.setenv("MXNET_ENGINE_TYPE", "NaiveEngine")
    result = run("doctor")
    assert result.exit_code == 1
    assert re.search(rf"^problem +{MIRROR} +1$", result.output, re.MULTILINE)
    assert re.search(r"^warning +MXNET_ENGINE_TYPE +NaiveEngine$", result.output, re.MULTILINE)
    assert f"problem, {MIRROR}: " in result.output
    assert "problem, training: " in result.output
    assert result.output.strip().splitlines()[-1].startswith("2 problems, ")


def test_losses_that_are_not_the_known_ones_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "KNOWN", {50: 16.31, 79: 14.7113})
    (found,) = [one for one in training.look_at_training() if one.subject == "training"]
    assert found.state == finding.PROBLEM
    assert "report" in found.advice


def test_a_product_that_is_wrong_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    dot = mx.nd.dot
    monkeypatch.setattr(mx.nd, "dot", lambda left, right: dot(left, right) * 1.001)
    (found,) = [one for one in training.look_at_training() if one.subject == "product"]
    assert found.state == finding.PROBLEM


def test_kernels_that_do_not_load_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "usable", lambda _: False)
    (found,) = [one for one in training.look_at_training() if one.subject == "kernels"]
    assert found.state == finding.WARNING


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"_threads": lambda: 64}, "OMP_NUM_THREADS=1"),
        ({"_threads": lambda: 4, "_quota": lambda: 2.0}, "OMP_NUM_THREADS=2"),
        ({"IMPORTED_BEFORE": True}, "import mxtrainer first"),
    ],
)
def test_threads_that_do_not_suit_the_processors_are_a_warning(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, found in {"physical_cores": lambda: 1, **change}.items():
        monkeypatch.setattr(processor, name, found)
    (threads,) = [one for one in processor.look_at_processor() if one.subject == "threads"]
    assert threads.state == finding.WARNING
    assert words in threads.advice


@pytest.mark.parametrize(("busy", "state"), [(100.0, finding.WARNING), (0.0, finding.OK)])
def test_busy_processes_beside_several_threads_are_a_warning(
    busy: float, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "_threads", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("psutil.cpu_percent", lambda **_: busy)
    (found,) = [one for one in processor.look_at_processor() if one.subject == "other processes"]
    assert found.state == state


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"quota": "-1\n", "period": "100000\n"}, None),
        ({"quota": "50000\n", "period": "100000\n"}, 0.5),
        ({}, None),
    ],
)
def test_the_processor_time_of_a_container_is_read(
    files: dict[str, str], quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    names = ((str(tmp_path / "cpu.max"),), (str(tmp_path / "quota"), str(tmp_path / "period")))
    monkeypatch.setattr(processor, "QUOTAS", names)
    assert processor._quota() == quota


def test_a_build_that_lacks_a_feature_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "FEATURES", {"OPENMP": "slow", "CUDA": "no GPU is used"})
    (build,) = [one for one in software.look_at_software() if one.subject == "MXNet's build"]
    assert (build.found, build.state) == ("OPENMP", finding.WARNING)
    assert "without CUDA no GPU is used" in build.advice


def test_variables_that_are_set_as_usual_are_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, one in variables.VARIABLES.items():
        monkeypatch.setenv(name, max(one.usual))
    assert [one.state for one in variables.look_at_variables()] == [finding.OK]


@pytest.mark.source
def test_doctor_knows_the_extras_for_users() -> None:
    table = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))
    assert extras - {"all", "bench", "demo", "dev", "docs", "test"} <= set(software.EXTRAS)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain"], "Missing argument 'FILE'"),
        (["explain", "nowhere.json"], "does not exist"),
        (["explain", "."], "is a directory"),
        (["explian", "linear.json"], "No such command"),
        (["memory", "linear.json", "--batchsize", "3"], "No such option"),
        (["memory", "linear.json"], "give --batch-size 32, or other numbers"),
        (["memory", "text.json"], "give --batch-size 32 --lengths t=64, or other numbers"),
        (["memory", "linear.json", "--batch-size", "0"], "--batch-size"),
        (["memory", "linear.json", "--batch-size", "2", "--lengths", "t=3"], "has no sequences"),
        (["memory", "text.json", "--batch-size", "2", "--lengths", "u=3"], "give --lengths t=64"),
        (["memory", "text.json", "--batch-size", "2", "--lengths", "t"], "as in t=64, got 't'"),
        (["memory", "text.json", "--batch-size", "2", "--lengths", "t=0"], "as in t=64, got 't=0'"),
        (["memory", "linear.json", "--batch-size", "2", "--budget", "much"], 'text such as "512MB"'),
        (["memory", "linear.json", "--budget", "1KB"], "not even one row fits"),
        (["memory", "linear.json", "--batch-size", "2", "--optimizer", "adan"], 'did you mean "Adam"?'),
        (["memory", "linear.json", "--batch-size", "2", "--optimizer", "Adam(-1)"], "learning_rate"),
        (["memory", "linear.json", "--batch-size", "2", "--optimizer", "Adam(rate=1)"], "'rate'"),
        (["memory", "linear.json", "--batch-size", "2", "--optimizer", "Adam(exit())"], "expected an optimizer"),
        (["memory", "linear.json", "--batch-size", "2", "--optimizer", "os.remove('x')"], "expected an optimizer"),
        (["verify-resume", "linear.json"], "is no checkpoint of Trainer.save"),
        (["verify-resume", "net.safetensors"], "is no checkpoint of Trainer.save"),
        (["verify-resume", "text.safetensors", "--lengths", "t=7"], "more than the 6 of the largest bucket"),
        (["bench", "linear.json"], "give --batch-size"),
        (["bench", "text.json", "--batch-size", "2"], "give --lengths t=64"),
        (["bench", "linear.json", "--batch-size", "2", "--net", "tiny"], "leave out one of them"),
        (["bench", "--batch-size", "2"], "are for a FILE"),
        (["bench", "--net", "small"], "'small' is not one of"),
    ],
)
def test_what_does_not_fit_is_one_message(
    arguments: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert message in refused(*arguments)


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": "other"}', b'\xff{"a"', b'{"\xff": 1}', b"x" * 100])
def test_a_file_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    assert str(path) in refused("explain", path)


def test_a_file_of_arrays_alone_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "arrays.safetensors")
    assert "has arrays alone" in refused("explain", tmp_path / "arrays.safetensors")


OWN_LAYER = """
from dataclasses import dataclass
import mxtrainer as mxt
from mxtrainer.values import register

@register
@dataclass(frozen=True, repr=False)
class LinearOfCommands(mxt.Linear):
    pass
"""


def test_a_layer_of_ones_own_is_imported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "own_layer_of_commands.py"
    module.write_text(OWN_LAYER)
    monkeypatch.setattr(sys, "path", [*sys.path])
    layer = import_module_at(str(module)).LinearOfCommands(2)
    net = mxt.NetChain([layer, mxt.MeanSquaredLoss()], inputs={"Input": mxt.Vector(3)})
    (tmp_path / "own.json").write_text(mxt.compile_plan(net).to_json())
    del values._REGISTRY["LinearOfCommands"], sys.modules["own_layer_of_commands"]  # as in another process
    assert 'unknown type "LinearOfCommands"' in refused("explain", tmp_path / "own.json")
    assert "linearofcommands.Weights" in shown("explain", tmp_path / "own.json", "--import", module)


# The program


def test_the_optimizers_are_all_that_there_are() -> None:
    public = {name for name in mxt.__all__ if isinstance(getattr(mxt, name), type)}
    known = {name for name in public if issubclass(getattr(mxt, name), mxt.Optimizer)}
    assert set(OPTIMIZERS) == known - {"Optimizer"}


def test_the_program_runs_by_its_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mxtrainer", "doctor"], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^ok +training ", done.stdout, re.MULTILINE)


def test_without_click_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: the command line needs click")
    assert line.endswith('pip install "mxtrainer[cli]"')
