"""The dialects by name, as the setting BACKEND_PROTOCOL has it."""

from __future__ import annotations

import enum

from .gateway.dialects import BackendProtocol, PublishProtocol
from .slip.backend import SlipBackend
from .slip.publish import SlipPublish


class Dialect(enum.StrEnum):
    SLIP = "slip"
    GRIP = "grip"


def protocols(dialect: Dialect) -> tuple[BackendProtocol, PublishProtocol]:
    """Return how the backend and how publishers are talked with."""
    if dialect is Dialect.SLIP:
        return SlipBackend(), SlipPublish()
    from .grip.backend import GripBackend
    from .grip.publish import GripPublish

    return GripBackend(), GripPublish()
