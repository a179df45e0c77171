"""The notebooks are those of the pages, and run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = [pytest.mark.source, pytest.mark.slow]

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def make() -> ModuleType:
    pytest.importorskip("nbclient", reason="notebooks need the extra dev")
    found = importlib.util.spec_from_file_location("make_notebooks", FOLDER / "make.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def sources(notebook: Any) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_there_is_a_notebook_of_each_page(make: Any) -> None:
    assert sorted(make.PAGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_notebook_says_what_its_page_says(make: Any, name: str) -> None:
    kept = make.nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert sources(kept) == sources(make.notebook_of(make.PAGES[name])), "run: make notebooks"


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_notebook_lead_somewhere(make: Any, name: str) -> None:
    text = "\n".join(cell.source for cell in make.notebook_of(make.PAGES[name]).cells)
    links = [link.split("#")[0] for link in make.LINK.findall(text)]
    assert links
    assert all((FOLDER / link).is_file() for link in links), links


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs(make: Any, name: str, tmp_path: Path) -> None:
    notebook = make.notebook_of(make.PAGES[name])
    make.run(notebook, tmp_path)
    shown = [
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.get("name") == "stdout"
    ]
    assert shown
