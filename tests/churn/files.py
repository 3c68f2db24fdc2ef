"""How many files a process may have open."""

from __future__ import annotations

import resource


def allow_many_files() -> None:
    """Raise this process's limit to what the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
