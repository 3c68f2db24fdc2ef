"""The pages of docs/ as tests read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block: the word after its fence, its text without the last line's end, the heading it stands under."""

    language: str
    text: str
    heading: str


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks in order."""
    found = []
    for part in re.split(r"^(?=#+ )", page, flags=re.MULTILINE):
        heading = part.partition("\n")[0].lstrip("# ")
        for language, text in re.findall(r"^```(\w*)\n(.*?)\n^```$", part, re.MULTILINE | re.DOTALL):
            found.append(Block(language, text, heading))
    return found


def table(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables under a heading, row by row, without the rows that head them."""
    (part,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", page, re.MULTILINE | re.DOTALL)
    rows = []
    for lines in re.findall(r"^\|.*?\n\|-.*?\n((?:\|.*\n)+)", part, re.MULTILINE):
        rows += [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines.splitlines()]
    return rows
