from __future__ import annotations

from ..gateway.conftest import world

__all__ = ["world"]
