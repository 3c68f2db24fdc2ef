"""A page of the documentation, parsed as CommonMark with tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md"))
)

_READER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """Code in a page: `language` is the word after its fence, None where it is only indented."""

    language: str | None
    text: str
    heading: str

    @property
    def parts(self) -> list[list[str]]:
        """The lines, in parts that empty lines separate."""
        return [part.splitlines() for part in re.split(r"\n\s*\n", self.text.strip("\n"))]


@dataclass(frozen=True)
class Cell:
    text: str
    code: Sequence[str]


class Page:
    """`name` is its path in the repository."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name
        self.tokens = _READER.parse(self.path.read_text())

    @cached_property
    def headings(self) -> list[str]:
        return [_plain(content) for opening, content in self._pairs() if opening.type == "heading_open"]

    def headings_under(self, heading: str) -> list[str]:
        """Return the headings one level below it, up to the next of its own level."""
        found: list[str] = []
        level = 0
        for opening, content in self._pairs():
            if opening.type == "heading_open":
                own = int(opening.tag[1:])
                if _plain(content) == heading:
                    level = own
                elif own <= level:
                    break
                elif level and own == level + 1:
                    found.append(_plain(content))
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """The names that a link may have after #, as GitHub derives them from headings."""
        seen: dict[str, int] = {}
        found = set()
        for heading in self.headings:
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
            seen[slug] = seen.get(slug, 0) + 1
        return found

    @cached_property
    def links(self) -> list[str]:
        """The targets of links and pictures."""
        targets = [child.attrGet("href") or child.attrGet("src") for child in self._inline()]
        return [str(target) for target in targets if target is not None]

    @cached_property
    def code(self) -> list[str]:
        """The code between backticks, in text."""
        return [child.content for child in self._inline() if child.type == "code_inline"]

    @cached_property
    def blocks(self) -> list[Block]:
        found, heading = [], ""
        for token, following in zip(self.tokens, [*self.tokens[1:], None], strict=True):
            if token.type == "heading_open" and following is not None:
                heading = _plain(following)
            elif token.type in ("fence", "code_block"):
                found.append(Block(token.info if token.type == "fence" else None, token.content, heading))
        return found

    @cached_property
    def tables(self) -> list[list[list[Cell]]]:
        """Tables by rows, their heads first."""
        found: list[list[list[Cell]]] = []
        for opening, content in self._pairs():
            if opening.type in ("th_open", "td_open"):
                code = tuple(child.content for child in content.children or () if child.type == "code_inline")
                found[-1][-1].append(Cell(_plain(content), code))
            elif opening.type == "table_open":
                found.append([])
            if content.type == "tr_open":
                found[-1].append([])
        return found

    def rows(self, heading: str) -> list[list[Cell]]:
        """The rows of the tables under a heading, without their heads."""
        found: list[list[Cell]] = []
        tables = iter(self.tables)
        under = ""
        for opening, content in self._pairs():
            if opening.type == "heading_open":
                under = _plain(content)
            elif opening.type == "table_open":
                _, *rows = next(tables)
                found += rows if under == heading else []
        return found

    @property
    def beginning(self) -> tuple[str, str]:
        """The first heading and the text after it; empty where the page does not begin with them."""
        kinds = [token.type for token in self.tokens[:6]]
        if kinds[:4] != ["heading_open", "inline", "heading_close", "paragraph_open"] or self.tokens[0].tag != "h1":
            return "", ""
        return self.headings[0], _plain(self.tokens[4])

    def _pairs(self) -> Iterator[tuple[Token, Token]]:
        return zip(self.tokens, self.tokens[1:], strict=False)

    def _inline(self) -> Iterator[Token]:
        for token in self.tokens:
            yield from token.children or ()


def _plain(inline: Token) -> str:
    parts = [" " if child.type == "softbreak" else child.content for child in inline.children or ()]
    return "".join(parts).strip()
