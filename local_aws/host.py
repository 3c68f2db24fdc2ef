"""What the environments of all functions share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .code_folders import CodeFolders
from .deployed import Function
from .permissions import AccessControl, AccessKey
from .runtime_python import RuntimePython

WriteLogs = Callable[[Function, AccessKey, str, list[str]], None]
"""Takes lines for a log stream."""


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that functions run on. `url` is the local AWS that they call."""

    python: RuntimePython
    access: AccessControl
    write_logs: WriteLogs
    url: str
    code: CodeFolders = field(default_factory=CodeFolders)
