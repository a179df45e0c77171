"""The pages keep their word: every Python block runs, and the reference has an entry for every public name.

The blocks of a page run in order in one namespace, in an empty folder. A block is left out only by its info string,
which says why: ```` ```python no-run: reason ````.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sybil import Document, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

import mxtrainer as mxt
from mxtrainer.engine.commands.group import commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]

FENCED = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))
PYTHON_INFO = re.compile(r"\W*(?:python3?|py)\b(?P<options>.*)")
NO_RUN = re.compile(r"\s*no-run:\s*\S")
EVALUATE = PythonEvaluator()


def find_blocks(document: Document) -> Iterator[Region]:
    """Finds the Python blocks that run; refuses an info string that says anything but why not to."""
    for block in FENCED(document):
        info = PYTHON_INFO.fullmatch(block.lexemes["info"].strip())
        if info is None or NO_RUN.match(info["options"]):
            continue
        if info["options"].strip():
            where = f"{document.path}, {document.line_column(block.start)}"
            raise ValueError(f'{where}: expected "python" or "python no-run: reason", found "{info[0]}"')
        yield Region(block.start, block.end, block.lexemes["source"], EVALUATE)


def run_page(path: Path) -> int:
    """Runs the blocks of a page; returns how many."""
    document = Document.parse(str(path), find_blocks)
    document.namespace["__name__"] = "__main__"
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_of_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(ROOT / page)


def test_blocks_of_a_page_share_names_and_others_are_left_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nfirst = 1\n```\n```\nnot Python\n```\n```python no-run: it would raise\nraise\n```\n"
        "- in a list:\n\n    ```python\n    assert first == 1\n    ```\n"
    )
    assert run_page(page) == 2


def test_failure_names_the_page_and_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nfirst = 1\nfirst / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as raised:
        run_page(page)
    assert (raised.traceback[-1].path, raised.traceback[-1].lineno + 1) == (page, 5)


@pytest.mark.parametrize("info", ["python no-run", "python no-run:", "py skip", "{.python .no-run}"])
def test_block_is_not_left_out_without_a_reason(info: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```{info}\nraise\n```\n")
    with pytest.raises(ValueError, match="no-run: reason"):
        run_page(page)


def test_reference_has_each_public_name_once() -> None:
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    entries = Counter(re.findall(r"^::: mxtrainer\.(\w+)$", text, re.MULTILINE))
    assert entries == Counter(name for name in mxt.__all__ if not name.startswith("__"))


CONSOLE = re.compile(r"```console\n\$ mxtrainer (explain|memory)( [^\n]*)\n(.*?)```", re.DOTALL)


def test_the_page_of_the_command_line_shows_what_commands_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "guides" / "command-line.md"
    run_page(page)
    examples = CONSOLE.findall(page.read_text())
    assert [name for name, _, _ in examples] == ["explain", "memory"]
    for name, arguments, shown in examples:
        printed = CliRunner().invoke(commands, [name, *shlex.split(arguments)]).output
        assert printed.split() == shown.split()
