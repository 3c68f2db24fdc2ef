#!/usr/bin/env python3
"""The CDKTF app: reads the settings and synthesizes a stack for each stage. `cdktf.json` names it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from slip_sockets.protocol.errors import InvalidSettings
from stacks.app import synthesize

if __name__ == "__main__":
    try:
        synthesize(Path(__file__).parent / "cdktf.out", os.environ)
    except InvalidSettings as error:
        sys.exit("\n".join(f"slip-sockets: {problem}" for problem in error.problems))
