"""The contract's fixtures serve here too."""

from __future__ import annotations

from ..contract.conftest import backend, control, http, next_line, warnings

__all__ = ["backend", "control", "http", "next_line", "warnings"]
