"""Each role comes to do all that it may. `test_redeployment.py` holds the whole of the suite against the policies.
On `test_deployment.py`'s deployment."""

from __future__ import annotations

import time
import uuid

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from slip_sockets import Report
from slip_sockets.gateway.ports import ROW_TTL_S

from .deployment import PRODUCTION, Deployment
from .test_deployment import publisher, socket

pytestmark = pytest.mark.e2e


def haunt(deployment: Deployment) -> None:
    """Have a connection subscribe to `ghosts` that left long ago, unnoticed."""
    whose = f"{uuid.uuid4().hex[:15]}="
    long_ago = time.time() - 600
    ttl = {"ttl": {"N": str(int(long_ago + ROW_TTL_S))}}
    own = {"metadata": {"S": "null"}, "connectedAt": {"N": str(int(long_ago * 1000))}}
    for channel, more in ((f"$connection:{whose}", own), ("ghosts", {})):
        deployment.client("dynamodb").put_item(
            TableName=f"{PRODUCTION}-Connections",
            Item={"connectionId": {"S": whose}, "channel": {"S": channel}} | ttl | more,
        )


def ghosts(deployment: Deployment) -> list[str]:
    return [row["connectionId"]["S"] for row in deployment.rows(PRODUCTION) if row["channel"]["S"] == "ghosts"]


def read_until_closed(client: ClientConnection) -> list[str]:
    """Return what a socket hears; that others left it passes over, among them those of an earlier test."""
    texts = []
    while True:
        try:
            texts.append(str(client.recv(60)))
        except ConnectionClosed:
            return [text for text in texts if not text.endswith(" left")]


def test_a_frame_may_bring_about_everything(deployment: Deployment) -> None:
    haunt(deployment)
    with socket(deployment, PRODUCTION) as client:
        client.send("everything")
        assert set(read_until_closed(client)) <= {"welcome"}
    assert ghosts(deployment) == []


def test_a_connect_may_bring_about_everything_by_the_queue(deployment: Deployment) -> None:
    haunt(deployment)
    with socket(deployment, PRODUCTION, "?everything=") as client:
        assert read_until_closed(client) == ["welcome"]
    assert ghosts(deployment) == []


def test_a_call_may_bring_about_everything(deployment: Deployment) -> None:
    haunt(deployment)
    with publisher(deployment, PRODUCTION) as sockets, socket(deployment, PRODUCTION, "?user=the-one") as client:
        while client.recv(60) != "welcome":
            pass
        rows = deployment.rows(PRODUCTION)
        (whose,) = {row["connectionId"]["S"] for row in rows if "the-one" in row.get("metadata", {}).get("S", "")}
        sockets.poll_for_connection(whose, timeout_ms=1000)
        sockets.subscribe(whose, "elsewhere")
        sockets.unsubscribe(whose, "elsewhere")
        sockets.set_metadata(whose, {"user": "nobody"})
        sockets.send_text(whose, "to you")
        assert sockets.publish_text("ghosts", "boo") == Report(matched=1, sent=0, gone=1, queued=0)
        sockets.close(whose)
        assert read_until_closed(client) == ["to you"]
    assert ghosts(deployment) == []
