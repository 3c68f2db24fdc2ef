"""Programs in Node, from the folder `node/`."""

from __future__ import annotations

import subprocess
from pathlib import Path

FOLDER = Path(__file__).with_name("node")


def node(*arguments: str) -> str:
    """Run Node in the folder, and return what it printed."""
    ended = subprocess.run(("node", *arguments), cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
