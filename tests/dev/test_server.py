"""The development server as a whole: its URLs, its outputs file, its start and its end."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from pathlib import Path

import aiohttp
import pytest

from slip_sockets import SlipSocketsPublisher
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.protocol.errors import InvalidSettings
from slip_sockets.protocol.tokens import mint

from ..conftest import SECRET
from ..contract.raw import HANDSHAKE, raw_client
from ..contract.wire import Control, Warnings, connect, joined, publish, replies, report, running, text
from ..scripted_backend import ScriptedBackend


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_two_servers_in_one_process_share_nothing(backend: ScriptedBackend, http: aiohttp.ClientSession) -> None:
    async with running(backend.url) as one, running(backend.url) as other:
        here, there = Control(http, one.control_api), Control(http, other.control_api)
        async with joined(one, backend, "lobby") as member, joined(other, backend, "lobby") as stranger:
            assert (await here(publish("lobby", "here", id="m1"))).json["events"] == [report(1, 1)]
            assert (await there(publish("lobby", "there", id="m1"))).json["events"] == [report(1, 1)]
            assert (await here(text(stranger.connection_id, "lost"))).status == 200
            assert await member.received(here) == ["here"]
            assert await stranger.received(there) == ["there"]


async def test_rate_of_fan_outs_is_that_of_the_settings(backend: ScriptedBackend) -> None:
    """What keeps to it: tests/gateway."""
    waits = []
    for fan_out_rate in (None, 100):
        async with running(backend.url, fan_out_rate=fan_out_rate) as server:
            rate = server.gateway.control.performer.broadcaster.rate
            await rate.reserve(1_000, wait_at_most_s=0)
            waits.append(await rate.reserve(1, wait_at_most_s=0))
    without, limited = waits
    assert without == 0
    assert 0 < limited <= 10


async def test_outputs_file_has_the_shape_of_cdk_outputs(backend: ScriptedBackend, tmp_path: Path) -> None:
    path = tmp_path / "cdk-outputs.json"
    path.write_text("earlier content")
    async with running(backend.url, stack_name="my-stack", outputs_path=path) as server:
        place = f"127.0.0.1:{server.port}"
        assert json.loads(path.read_text()) == {
            "my-stack": {
                "controlApi": f"http://{place}/control",
                "targetUrl": backend.url,
                "websocketUrl": f"ws://{place}/",
                "region": "local",
            }
        }
        assert names(tmp_path) == ["cdk-outputs.json"]


async def test_published_with_the_outputs_file_alone(backend: ScriptedBackend, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    async with running(backend.url, outputs_path=path) as server, joined(server, backend, "lobby") as member:
        outputs = json.loads(path.read_text())["slip-sockets"]
        publisher = SlipSocketsPublisher(control_api=outputs["controlApi"], jwt_secret=SECRET)
        await asyncio.to_thread(publisher.publish_text, "lobby", "hi")
        assert await member.recv() == "hi"


async def test_outputs_file_that_cannot_be_written_is_an_error_and_the_port_is_free_again(
    backend: ScriptedBackend, tmp_path: Path
) -> None:
    path = tmp_path / "no" / "such" / "outputs.json"
    server = DevServer(DevSettings(backend.url, SECRET, port=0, outputs_path=path))
    with pytest.raises(InvalidSettings) as error:
        await server.start()
    assert error.value.problems == [
        f"cannot write {path}: No such file or directory. Choose another file with --outputs."
    ]
    async with running(backend.url) as another:
        assert another.port > 0


async def test_port_in_use_is_an_error(backend: ScriptedBackend) -> None:
    async with running(backend.url) as server:
        second = DevServer(DevSettings(backend.url, SECRET, port=server.port))
        with pytest.raises(InvalidSettings) as error:
            await second.start()
        problem = "is in use by another program. Stop it, or choose another port with --port."
        assert error.value.problems == [f"127.0.0.1 port {server.port} {problem}"]


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_ipv6_address_stands_in_brackets(backend: ScriptedBackend, http: aiohttp.ClientSession) -> None:
    async with running(backend.url, host="::1") as server:
        assert server.websocket_url == f"ws://[::1]:{server.port}/"
        async with joined(server, backend, "lobby") as member:
            assert (await Control(http, server.control_api)(publish("lobby", "hi"))).status == 200
            assert await member.recv() == "hi"
            assert backend.posts[0].body["metadata"]["ip"] == "::1"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/control"), ("POST", "/"), ("GET", "/"), ("POST", "/controls"), ("PUT", "/@connections/x")],
)
async def test_other_requests_are_404(server: DevServer, http: aiohttp.ClientSession, method: str, path: str) -> None:
    async with http.request(method, f"http://127.0.0.1:{server.port}{path}") as response:
        assert (response.status, await response.json()) == (404, {"message": "Not Found"})


async def test_control_body_over_10_mb_is_refused(server: DevServer, control: Control) -> None:
    assert (await control.send(b" " * (10 * 1024 * 1024 + 1))).status == 413


@pytest.mark.parametrize(
    ("content_type", "largest"),
    [("application/json", 6 * 1024 * 1024), ("application/websocket-events", 6 * 1024 * 1024 * 3 // 4)],
)
async def test_control_body_that_is_too_large_for_an_event_of_lambda_is_refused(
    control: Control, content_type: str, largest: int
) -> None:
    envelope_bytes = 3 * 1024
    assert (await control.send(b" " * (largest - envelope_bytes), content_type=content_type)).status == 400
    refused = await control.send(b" " * largest, content_type=content_type)
    assert (refused.status, refused.json) == (413, {"message": "Request Entity Too Large"})


async def test_upgrade_header_in_any_case_reaches_the_socket_edge(server: DevServer, backend: ScriptedBackend) -> None:
    headers = [(name.upper(), value.upper() if name == "Upgrade" else value) for name, value in HANDSHAKE]
    async with raw_client(server) as client:
        assert (await client.handshake("/", headers))[0] == 101


async def test_garbage_is_refused_with_400(server: DevServer) -> None:
    async with raw_client(server) as client:
        client.send(b"garbage\r\n\r\n")
        assert (await client.read_head())[0] == 400


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_client_that_breaks_off_in_a_body_is_not_logged(
    backend: ScriptedBackend, warnings: Warnings, length: str
) -> None:
    async with running(backend.url) as server, raw_client(server) as client:
        client.send(f"POST /control HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n5\r\nhello".encode())
        client.writer.write_eof()
        await client.read_to_end()
    assert warnings() == []


async def test_body_is_not_unpacked_as_on_aws(control: Control, warnings: Warnings) -> None:
    packed = gzip.compress(json.dumps({"events": []}).encode())
    headers = {"Authorization": f"Bearer {mint('ControlEvent', SECRET)}", "Content-Encoding": "gzip"}
    for body in (packed, b"not gzip"):
        async with control.session.post(control.url, data=body, headers=headers) as refused:
            assert refused.status == 400
    assert len(warnings()) == 2


async def test_rows_are_gone_once_all_clients_have_left(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    for _ in range(20):
        async with joined(server, backend, "lobby", "other"):
            pass
        await backend.next_post("CLOSE")
    assert len(server.connections) == 0
    assert server.edge.connection_ids == []


async def test_stopping_waits_until_the_backend_has_each_close(backend: ScriptedBackend) -> None:
    arrived: list[str] = []

    async def slow(event: object) -> list[dict[str, object]]:
        await asyncio.to_thread(arrived.append, "CLOSE")
        return []

    backend.script = replies(CLOSE=slow)
    async with running(backend.url) as server:
        clients = [await connect(server) for _ in range(3)]
    assert arrived == ["CLOSE"] * 3
    for client in clients:
        await client.wait_closed()


async def test_stopping_with_a_dead_backend_logs_what_is_lost(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(backend.url) as server:
        client = await connect(server)
        await backend.next_post("OPEN")
        await backend.aclose()
    await client.wait_closed()
    assert caplog.messages[-1] == "1 deferred messages are lost with this server"
