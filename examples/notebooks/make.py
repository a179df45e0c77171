"""Makes the notebooks from pages of the documentation: text becomes text, Python blocks become cells, which are run.

Their outputs are kept, so that they can be read without being run. Links lead to the pages.

    python examples/notebooks/make.py
"""

from __future__ import annotations

import posixpath
import re
import tempfile
from pathlib import Path

import nbclient
import nbformat

FOLDER = Path(__file__).resolve().parent
DOCS = FOLDER.parents[1] / "docs"
PAGES = {
    "quickstart": "index.md",
    "stateful_rnn": "guides/stateful-rnn.md",
    "variable_lengths": "guides/variable-lengths.md",
}

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)([^)]+)\)")


def notebook_of(page: str) -> nbformat.NotebookNode:
    """Returns the notebook of a page, by the page's path under ``docs/``; nothing is run."""
    folder = posixpath.join("..", "..", "docs", posixpath.dirname(page))
    cells = []
    for number, text in enumerate(BLOCK.split((DOCS / page).read_text())):
        if number % 2:
            cells.append(nbformat.v4.new_code_cell(text.strip()))
        elif text.strip():
            moved = LINK.sub(lambda link: f"]({posixpath.normpath(posixpath.join(folder, link[1]))})", text)
            cells.append(nbformat.v4.new_markdown_cell(moved.strip()))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # by itself each would be drawn, and differ every time
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Runs all cells in a folder, and puts their outputs into the notebook.

    Raises:
        CellExecutionError: A cell raises.
    """
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    client.execute()
    notebook.metadata.language_info = {"name": "python"}  # not the version that happened to run it


def main() -> None:
    for name, page in PAGES.items():
        notebook = notebook_of(page)
        with tempfile.TemporaryDirectory() as folder:
            run(notebook, Path(folder))
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    main()
