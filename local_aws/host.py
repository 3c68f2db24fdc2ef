"""What the environments of all functions share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .code_folders import CodeFolders
from .deployed import Function
from .permissions import AccessControl, AccessKey
from .runtime_python import RuntimePython

Freeze = Callable[[AccessKey], None]
"""Called when the environment with that key is frozen."""

WriteLogs = Callable[[Function, AccessKey, str, list[str]], None]
"""Takes lines for a log stream."""


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that functions run on. `url` is the local AWS that they call."""

    python: RuntimePython
    access: AccessControl
    write_logs: WriteLogs
    url: str
    on_frozen: Freeze | None
    """Set where environments are frozen between events, as Lambda does it."""
    code: CodeFolders = field(default_factory=CodeFolders)
