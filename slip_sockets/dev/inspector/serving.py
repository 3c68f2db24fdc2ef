"""A development server as the inspector's page sees it, and acts on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ...apigateway.http_events import http_event
from ...apigateway.requests import ApiIdentity
from ...gateway.members import members_report
from ...protocol.tokens import mint
from ..connections import MemoryConnections
from ..edge import Edge, Function, ManagementError
from ..metrics import Metrics
from .routes import Json, Serving


def serving_of(
    *,
    urls: Callable[[], Json],
    edge: Edge,
    connections: MemoryConnections,
    metrics: Metrics,
    control: Function,
    domain_name: str,
    secret: str,
) -> Serving:
    """Return what the page shows. It acts through `control`, the function of the control API at `domain_name`."""

    async def perform(body: bytes) -> tuple[int, str]:
        """Perform a batch as if a holder of the secret had posted it."""
        token = mint("ControlEvent", secret)
        event = http_event(
            ApiIdentity("local", "$default", domain_name),
            method="POST",
            path="/control",
            query="",
            headers=[("Content-Type", "application/json"), ("Authorization", f"Bearer {token}")],
            source_ip="127.0.0.1",
            body=body,
        )
        response = await control(event)
        return response["statusCode"], response["body"]

    async def channel(name: str) -> Json:
        present, _ = await connections.presence.read(name)
        report: dict[str, Any] = msgspec.to_builtins(members_report(present))
        return report

    return Serving(
        urls=urls,
        connection_ids=lambda: edge.connection_ids,
        connection=lambda connection_id: _connection_state(edge, connections, connection_id),
        channel=channel,
        metrics=metrics.values,
        control=perform,
    )


def _connection_state(edge: Edge, connections: MemoryConnections, connection_id: str) -> Json | None:
    """Return what is known of a connection; None where it is not open."""
    try:
        state = edge.get(connection_id)
    except ManagementError:
        return None
    metadata, channels = connections.peek(connection_id)
    return {
        "id": connection_id,
        "connectedAt": state.connected_at,
        "ip": state.source_ip,
        "userAgent": state.user_agent,
        "metadata": None if metadata is None else metadata.decode(),
        "channels": channels,
        "user": connections.user_of(connection_id),
    }
