"""The dialects by name, as the setting BACKEND_PROTOCOL has it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .gateway.dialects import BackendProtocol, Batch, Performed, PublishProtocol, Rejected
from .gateway.values import HttpRequest, HttpResponse
from .slip.backend import SlipBackend
from .slip.publish import SlipPublish

if TYPE_CHECKING:
    from .grip.publish import GripPublish


class Dialect(enum.StrEnum):
    SLIP = "slip"
    GRIP = "grip"


def protocols(
    dialect: Dialect, *, grip_path_from: str = "", grip_host: str = ""
) -> tuple[BackendProtocol, PublishProtocol]:
    """Return how the backend and how publishers are talked with. What begins with `grip_` is as in `grip.routing`."""
    if dialect is Dialect.SLIP:
        return SlipBackend(), SlipPublish()
    from .grip.backend import GripBackend
    from .grip.publish import GripPublish
    from .grip.routing import Routing

    return GripBackend(Routing(grip_path_from, grip_host)), _EitherPublish(SlipPublish(), GripPublish())


class _EitherPublish:
    """A PublishProtocol: GRIP's, but that a POST to another path than GRIP's is SLIP, as our own tools speak it."""

    def __init__(self, slip: SlipPublish, grip: GripPublish) -> None:
        self._slip = slip
        self._grip = grip

    def authorize(self, request: HttpRequest, secrets: Sequence[str]) -> None:
        self._of(request).authorize(request, secrets)

    def decode(self, request: HttpRequest) -> Batch:
        return self._of(request).decode(request)

    def respond(self, request: HttpRequest, result: Performed | Rejected) -> HttpResponse:
        return self._of(request).respond(request, result)

    def _of(self, request: HttpRequest) -> PublishProtocol:
        is_slip = request.method == "POST" and not self._grip.is_path(request.path)
        return self._slip if is_slip else self._grip
