"""Links between the pages work as files, as a code host shows them: the file is there, and has the heading.

Whether they work on the built pages too, mkdocs finds out. Links to elsewhere are looked at, and not followed.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.source

ROOT = Path(__file__).resolve().parents[1]
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
PAGES = [*FILES, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]

FENCED = re.compile(r"^ *(```+)[^\n]*\n.*?^ *\1 *$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\]\(\s*([^)\s]+)\s*\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *$", re.MULTILINE)
ENTRY = re.compile(r"^::: (mxtrainer\.[\w.]+)$", re.MULTILINE)  # what a page of the reference has a heading for


def prose(text: str) -> str:
    return FENCED.sub("", text)


def links(text: str) -> list[str]:
    return LINK.findall(CODE.sub("", prose(text)))


def anchors(text: str) -> set[str]:
    """Returns the anchors of headings, which code hosts and mkdocs make alike of words, digits and underscores."""
    found: set[str] = set(ENTRY.findall(text))
    for heading in HEADING.findall(prose(text)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\s-]", "", plain).strip().replace(" ", "-"))
    return found


def fault(page: Path, link: str) -> str | None:
    """Returns what is wrong with a link of a page."""
    parts = urlsplit(link)
    if parts.scheme:
        return None if parts.scheme == "https" and "." in parts.netloc else "is no https address of a host"
    target = page.parent / parts.path if parts.path else page
    if not target.is_file():
        return "names no file"
    if parts.fragment and parts.fragment not in anchors(target.read_text()):
        return "names no heading of its page"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_the_page_leads_somewhere(page: str) -> None:
    path = ROOT / page
    faults = {link: found for link in links(path.read_text()) if (found := fault(path, link)) is not None}
    assert faults == {}


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `name`, and [more](page.md)\n[1](page.md#a-name-and-more) [2](none.md) [3](#nothing) [4](http://here)\n"
        "`[5](none.md)`\n```\n[6](none.md)\n# Nothing\n```\n[7](https://example.org/x)\n"
    )
    faults = {link: fault(page, link) for link in links(page.read_text())}
    assert [link for link, found in faults.items() if found] == ["none.md", "#nothing", "http://here"]


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
