"""The development servers of the frameworks, as programs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

PATIENCE_S = 60


@contextlib.asynccontextmanager
async def running(
    arguments: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Run `python ARGUMENTS` in `cwd` until the end of the block; yield the URL that it prints."""
    ours = ("FLASK_", "WERKZEUG_", "DJANGO_", "CONTROL_API", "JWT_SECRET")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=cwd,
        env=bare | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | dict(environment or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (url := re.search(r"(?:unning on|development server at) (http://[^\s/]+)", printed.decode())):
                line = await process.stdout.readline()
                printed += line
                assert line, f"{arguments} has ended: {printed.decode()}"
        rest = asyncio.create_task(process.stdout.read())
        yield url[1]
        process.terminate()
        await rest
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()
