"""The command line: `slip-sockets`. Each command has a file; `app` combines them."""

from __future__ import annotations

import sys

EXTRA = ("typer", "rich", "aiohttp", "websockets")
"""Packages that come with the extra `dev`."""


def main() -> None:
    try:
        from .app import app
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        sys.stderr.write(f'slip-sockets: {package} is missing. Install it: pip install "path/to/slip-sockets[dev]"\n')
        sys.exit(2)
    app(prog_name="slip-sockets")
