"""The command line: `slip-sockets`. One command a file; `app` puts them together."""

from __future__ import annotations

import sys

_EXTRA = ("typer", "rich", "aiohttp", "websockets")
"""What comes with `slip-sockets[dev]`."""


def main() -> None:
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(f'slip-sockets: {error.name} is missing. Install it: pip install "slip-sockets[dev]"\n')
        sys.exit(2)
    app()
