"""The options for a client's handshake, of commands that play a client to a backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import typer

QueryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--query", help="NAME=VALUE in the client's query, if your backend needs it to let a client in. Repeatable."
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header", help="'NAME: VALUE' among the client's headers, such as 'Cookie: session=...'. Repeatable."
    ),
]


def read_handshake(
    query: Sequence[str] | None, header: Sequence[str] | None, problems: list[str]
) -> tuple[Mapping[str, Sequence[str]], Mapping[str, str]]:
    """Return the query, each name with its values, and the headers. What is neither is added to `problems`."""
    queries: dict[str, list[str]] = {}
    for name, value in _pairs(query or (), "=", "--query", problems):
        queries.setdefault(name, []).append(value)
    return queries, dict(_pairs(header or (), ":", "--header", problems))


def _pairs(texts: Iterable[str], separator: str, option: str, problems: list[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, found, value = text.partition(separator)
        if not found or not name.strip():
            problems.append(f"{option} needs NAME{separator}VALUE, got {text!r}")
        else:
            yield name.strip(), value.strip()
