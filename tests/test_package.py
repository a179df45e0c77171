"""What is distributed and imported is what the checkout holds."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mxtrainer as mxt

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("plans", "executors", "engine")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs another process of this Python."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120)


def python_files(folder: Path, name: str) -> list[str]:
    """Lists the modules in a folder of the checkout, as paths under another name; follows no link."""
    return [f"{name}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.py") if path.is_file()]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the sdist, and the wheel from the sdist."""
    pytest.importorskip("build", reason="building needs the extra dev")
    folder = tmp_path_factory.mktemp("dist")
    built = run_python("-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.slow
@pytest.mark.source
def test_wheel_holds_each_module_once(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    expected = [f"mxtrainer/{path.name}" for path in (ROOT / "mxtrainer").glob("*.py")]
    for room in ROOMS:
        expected += python_files(ROOT / room, f"mxtrainer/{room}")
    assert sorted(names) == sorted([*expected, "mxtrainer/py.typed"])


@pytest.mark.slow
@pytest.mark.source
def test_sdist_holds_each_module_once(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [member.name.split("/", 1)[1] for member in archive if member.name.endswith(".py")]
    expected = [f"mxtrainer/{path.name}" for path in (ROOT / "mxtrainer").glob("*.py")]
    for room in ROOMS:
        expected += python_files(ROOT / room, room)
    assert sorted(name for name in names if name.startswith(("mxtrainer/", *ROOMS))) == sorted(expected)


@pytest.mark.slow
@pytest.mark.source
def test_sdist_holds_the_tests_the_pages_and_nothing_that_was_made(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = [member for member in archive if not member.isdir()]
    names = {member.name.split("/", 1)[1] for member in members}
    assert all(member.isfile() for member in members)  # no links
    for folder in (".ci", "benchmarks", "docs", "examples", "tests"):
        kept = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
        assert {path.relative_to(ROOT).as_posix() for path in kept} <= names
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "SECURITY.md", "mkdocs.yml", "setup.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", ".git", "build", "dist"))]


@pytest.mark.source
def test_version_is_the_same_wherever_it_is_written() -> None:
    newest = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert newest is not None
    assert cited is not None
    assert (newest[1], cited[1]) == (mxt.__version__, mxt.__version__)


def test_public_namespace_is_what_all_lists() -> None:
    inner = {name for name, value in vars(mxt).items() if getattr(value, "__name__", "") == f"mxtrainer.{name}"}
    modules = {name for name in inner if isinstance(getattr(mxt, name), types.ModuleType)}
    public = {name for name in vars(mxt) if not name.startswith("_")} - (modules - set(mxt.__all__))
    assert sorted(public) == sorted(name for name in mxt.__all__ if not name.startswith("__"))


def test_types_are_announced() -> None:
    assert Path(mxt.__file__).with_name("py.typed").is_file()


@pytest.mark.skipif(tuple(map(int, np.__version__.split(".")[:2])) < (1, 24), reason="this numpy still has numpy.bool")
def test_imports_where_mxnet_alone_does_not() -> None:
    alone = run_python("-c", "import mxnet")
    repaired = run_python("-c", "import mxtrainer, mxnet")
    assert "has no attribute 'bool'" in alone.stderr
    assert repaired.returncode == 0, repaired.stderr


def test_import_is_silent_and_survives_warnings_as_errors_and_brings_no_extra() -> None:
    extras = {"click", "matplotlib", "pandas", "tensorboardX", "tqdm"}  # MXNet itself imports onnx where it finds it
    code = f"import mxtrainer, sys; sys.stdout.write(' '.join({extras} & sys.modules.keys()))"
    imported = run_python("-W", "error", "-c", code)
    assert (imported.returncode, imported.stdout, imported.stderr) == (0, "", "")
