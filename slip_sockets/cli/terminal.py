"""What the environment says of the terminal: libraries that print take it as it is, and raise errors for odd values."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

_SIZES = ("COLUMNS", "LINES", "TERMINAL_WIDTH")
_SIZE = re.compile(r"[1-9][0-9]{0,3}")


def forget_odd_sizes(environ: MutableMapping[str, str] = os.environ) -> None:
    """Unset the sizes that no terminal has; the terminal is then asked itself, as other programs do."""
    for name in _SIZES:
        if name in environ and not _SIZE.fullmatch(environ[name]):
            del environ[name]
