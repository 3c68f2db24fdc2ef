"""The README's programs are what the tests run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_smallest_backend_is_the_example_and_under_15_lines() -> None:
    program = (ROOT / "examples" / "minimal" / "app.py").read_text()
    assert f"```python\n{program}```" in README
    assert len([line for line in program.splitlines() if line.strip()]) < 15


def test_every_link_within_the_repository_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {name for names in re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE) for name in names.split()}
    pages = [README, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page, re.MULTILINE)}
    assert named
    assert named - targets == set()
