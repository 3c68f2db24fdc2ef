"""The development server's log, at its default level, contains nothing that is secret or personal.

`functions/test_logs.py` does the same for the functions.
"""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
import websockets

from slip_sockets.protocol.tokens import mint

from ..aws.raw_server import RawServer
from ..cli.test_dev import line_of, program
from .marks import MarkedBackend, Marks, faults, refused_control_bodies, saying
from .raw import BINARY, CLOSE, HANDSHAKE, TEXT, frame, raw_client
from .wire import TIMEOUT_S, Control, publish, text

ACCEPT = {"type": "ACCEPT", "connectionId": "ID"}


class Place:
    """The address at which the program listens."""

    def __init__(self, websocket_url: str) -> None:
        self.websocket_url = websocket_url
        self.port = int(websocket_url.rpartition(":")[2].rstrip("/"))


async def test_development_server_logs_nothing_that_is_secret_or_personal(tmp_path: Path) -> None:
    marks = Marks()
    secret, previous = marks("JWT_SECRET"), marks("JWT_PREVIOUS_SECRETS")
    failing = faults(marks)
    backend = MarkedBackend({})
    greeting = (
        ACCEPT,
        {"type": "SET_METADATA", "connectionId": "ID", "metadata": {marks("metadata"): marks("metadata")}},
        {"type": "SUBSCRIBE", "connectionId": "ID", "channel": "lobby"},
        {"type": "TEXT", "connectionId": "ID", "data": marks("a text of the backend's")},
    )
    well = {
        "OPEN": saying(*greeting),
        "TEXT": saying({"type": "PUBLISH_TEXT", "channelId": "lobby", "data": marks("a publish of the backend's")}),
        "CLOSE": saying(),
    }

    async def replied(kind: str) -> None:
        await asyncio.to_thread(backend.wait_for, kind)

    with RawServer(backend) as raw:
        place_of_backend = f"127.0.0.1:{raw.port}/slip"
        user, password, key = marks("TARGET_URL's user"), marks("TARGET_URL's password"), marks("TARGET_URL's query")
        environment = {
            "TARGET_URL": f"http://{user}:{password}@{place_of_backend}?key={key}",
            "JWT_SECRET": secret,
            "JWT_PREVIOUS_SECRETS": previous,
        }
        async with program(tmp_path, "--port", "0", environment=environment) as process:
            lines = [await line_of(process)]
            place = Place(lines[0].split()[1])
            while lines[-1] != "Ctrl-C stops.":
                lines.append(await line_of(process))

            def client() -> websockets.connect:
                return websockets.connect(
                    f"{place.websocket_url}?{marks('a query name')}={marks('a query value')}",
                    proxy=None,
                    additional_headers={"Cookie": marks("a cookie"), "Authorization": marks("a client's header")},
                    user_agent_header=marks("a user agent"),
                    subprotocols=[websockets.Subprotocol(marks("a subprotocol"))],
                )

            backend.responses = dict(well)
            async with client() as talking:
                await replied("OPEN")
                await talking.send(marks("a text"))
                await replied("TEXT")
                for fault in failing.values():
                    backend.responses["TEXT"] = fault
                    await talking.send(marks("a text"))
                    await replied("TEXT")
                await try_control(f"http://127.0.0.1:{place.port}/control", secret, previous, marks)
                await talking.close(4000, marks("a close reason"))
            await replied("CLOSE")
            for fault in failing.values():
                backend.responses["OPEN"] = fault
                with pytest.raises(websockets.InvalidStatus):
                    async with client():
                        pass
            backend.responses = dict(well)
            for fault in failing.values():
                async with client():
                    await replied("OPEN")
                    backend.responses["CLOSE"] = fault
                await replied("CLOSE")
            await send_garbage(place, marks)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(TIMEOUT_S):
                out, err = await process.communicate()
    log = "\n".join([*lines, out.decode(), err.decode()])
    assert marks.seen_in(log) == []
    assert "Traceback" not in log
    assert f"http://{place_of_backend}" in log  # so that the fault can be found
    assert len(log.splitlines()) > 3 * len(failing)


async def try_control(url: str, secret: str, previous: str, marks: Marks) -> None:
    """Call the control API rightly and wrongly, with marked values everywhere."""

    async with Control.open(f"{url}?key={marks('the query of a control request')}") as control:
        control.session.headers["X-Mark"] = marks("a header of a control request")
        good = f"Bearer {mint('ControlEvent', secret)}"
        batch = json.dumps(
            {"events": [publish("lobby", marks("a published text")), text("A" * 15 + "=", marks("a sent text"))]}
        )
        for token in (good, f"Bearer {mint('ControlEvent', previous)}"):
            assert (await control.send_as(token, batch.encode())).status == 200
        for body in refused_control_bodies(marks):
            assert (await control.send_as(good, body)).status == 400
        bad = [
            marks("a token"),
            f"Bearer {marks('a token')}",
            f"Bearer {mint('ControlEvent', marks('another secret'))}",
        ]
        for token in (*bad, f"Bearer {mint('WebSocketEvent', secret)}", f"{good}x", f"{good} {marks('a token')}"):
            assert (await control.send_as(token, batch.encode())).status == 403
        async with control.session.post(
            url.replace("/control", f"/@connections/{marks('a path')}"), data=marks("a management body")
        ) as refused:
            assert refused.status == 403


async def send_garbage(place: Place, marks: Marks) -> None:
    """Send bytes that are not a request, and not a frame."""
    value = marks("a request that is not valid")
    heads = [
        f"{value}\r\n\r\n",
        f"GET /{value} HTTP/1.1\r\n{value}\r\n\r\n",
        f"GET /{value} HTTP/1.1\r\nX: {value}\0\r\n\r\n",
        f"GET /{value} HTTP/1.1\r\nContent-Length: {value}\r\n\r\n",
        f"GET /{value} HTTP/9.9\r\nHost: {value}\r\n\r\n",
        f"GET http://{value}:{value}/ HTTP/1.1\r\nHost: {value}\r\n\r\n",
        f"GET /?{value} HTTP/1.1\r\nUpgrade: websocket\r\n{value}\r\n\r\n",
        f"GET /?{value} HTTP/1.1\r\nHost: x\r\nUpgrade: {value} websocket\r\nConnection: {value}\r\n\r\n",
        f"GET /{value} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {value}\r\n\r\n",
        f"GET /_inspector HTTP/1.1\r\nHost: [{value}\r\n\r\n",
        f"GET /_inspector HTTP/1.1\r\nHost: {value}\r\nOrigin: {value}\r\n\r\n",
        f"POST /control HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{value}\r\n",
        f"POST /control HTTP/1.1\r\nHost: x\r\nContent-Length: 36\r\nContent-Encoding: gzip\r\n\r\n{value}",
        f"POST /control HTTP/1.1\r\nHost: x\r\nContent-Length: 36\r\nContent-Encoding: {value}\r\n\r\n{value}",
    ]
    for head in heads:
        async with raw_client(place) as client:
            client.send(head.encode())
            status, _ = await client.read_head()
            assert 400 <= status < 500
    async with raw_client(place) as client:
        client.send(f"POST /control HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{value}".encode())
        await client.writer.drain()
        client.reset()
    bad = marks("a frame that is not valid").encode()
    for sent in (
        frame(TEXT, bad + b"\xff"),
        frame(TEXT, bad, masked=False),
        frame(BINARY, bad),
        frame(0x3, bad),
        frame(CLOSE, b"\x03\xe8" + bad + b"\xff"),
        frame(CLOSE, b"\x03\xed" + bad),
        frame(TEXT, bad * 1_000),
    ):
        async with raw_client(place) as client:
            assert (await client.handshake("/", HANDSHAKE))[0] == 101
            client.send(sent)
            while (await client.read_frame())[0] != CLOSE:
                pass
