"""A backend with the published Python libraries of GRIP, for a deployed stage."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..grip.test_libraries import free_port, until_listening
from .deployment import ROOT
from .patience import PATIENCE_S


@contextmanager
def grip_backend(grip_url: str) -> Iterator[str]:
    """Run it, and yield its URL."""
    port = free_port()
    command = (sys.executable, "-m", "tests.grip.backends.with_gripcontrol")
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PORT": str(port), "GRIP_URL": grip_url}) as process:
        try:
            asyncio.run(asyncio.wait_for(until_listening(port, process), PATIENCE_S))
            yield f"http://127.0.0.1:{port}/ws"
        finally:
            process.kill()
