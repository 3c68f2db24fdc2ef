"""The edge held against RFC 6455, byte by byte; the numbers are its sections.

Handshakes go through the development server's one port, frames straight to the edge.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress

import pytest

from slip_sockets.dev import front_door, http_server
from slip_sockets.dev import server as dev_server
from slip_sockets.dev.server import DevServer
from slip_sockets.gateway.proxy import ProxyEvent, ProxyResponse

from ..contract.raw import BINARY, CLOSE, CONT, HANDSHAKE, PING, PONG, TEXT, RawClient, frame, raw_client, raw_socket
from ..contract.wire import TIMEOUT_S, joined, running
from ..scripted_backend import ScriptedBackend
from .edges import RecordingFunction, answering, edge_with, end, told

KIB = 1024
GREETING = "gr\u00fc\u00dfe \U0001f44b".encode()
BRIEF_S = 0.3
"""A time limit that a test waits for."""


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason)


def long_frame(opcode: int, payload: bytes, size: int = 0) -> bytes:
    """A frame whose length takes 64 bits, which says `size` where it lies."""
    return struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size or len(payload)) + bytes(4) + payload


# Handshakes: section 4.2


def request(line: str = "GET / HTTP/1.1", headers: tuple[tuple[str, str], ...] = HANDSHAKE) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


def handshake_with(name: str, *values: str) -> bytes:
    """A handshake in which the header has these values, each in a line of its own."""
    others = tuple(pair for pair in HANDSHAKE if pair[0] != name)
    return request(headers=(*others, *((name, value) for value in values)))


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
NO_HANDSHAKE: dict[str, tuple[bytes, int]] = {
    "4.2.1(1) POST": (request("POST / HTTP/1.1"), 405),
    "4.2.1(1) a method in small letters": (request("get / HTTP/1.1"), 405),
    "4.2.1(1) HTTP/1.0": (request("GET / HTTP/1.0"), 505),
    "4.2.1(1) HTTP/2.0": (request("GET / HTTP/2.0"), 400),
    "4.2.1(1) no HTTP": (request("websocket"), 400),
    "4.2.1(1) a target that is not ASCII": (request("GET /?\xe9 HTTP/1.1"), 400),
    "4.2.1(2) no Host": (handshake_with("Host"), 400),
    "4.2.1(2) two Hosts": (handshake_with("Host", "sockets.example", "other.example"), 400),
    "4.2.1(3) Upgrade to something like it": (handshake_with("Upgrade", "xwebsocket"), 426),
    "4.2.1(3) Upgrade to one of two": (handshake_with("Upgrade", "h2c, websocket"), 426),
    "4.2.1(4) no Connection": (handshake_with("Connection"), 426),
    "4.2.1(4) Connection without Upgrade": (handshake_with("Connection", "keep-alive"), 426),
    "4.2.1(5) no key": (handshake_with("Sec-WebSocket-Key"), 400),
    "4.2.1(5) two keys": (handshake_with("Sec-WebSocket-Key", KEY, KEY), 400),
    "4.2.1(5) a short key": (handshake_with("Sec-WebSocket-Key", "c2hvcnQ="), 400),
    "4.2.1(5) a key that is not base64": (handshake_with("Sec-WebSocket-Key", "!" * 24), 400),
    "4.2.1(6) no version": (handshake_with("Sec-WebSocket-Version"), 400),
    "4.2.1(6) two versions": (handshake_with("Sec-WebSocket-Version", "13", "13"), 400),
    "4.4 another version": (handshake_with("Sec-WebSocket-Version", "8"), 426),
    "4.4 a list of versions": (handshake_with("Sec-WebSocket-Version", "8, 13"), 426),
    "11.3.4 a subprotocol that is no token": (handshake_with("Sec-WebSocket-Protocol", 'a b"c'), 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\ngarbage\r\n\r\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nX: a\r\n b\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nX : a\r\n\r\n", 400),
    "NUL in a header": (handshake_with("X", "a\0b"), 400),
    "CR in a header": (handshake_with("X", "a\rb"), 400),
    "LF in a header": (handshake_with("X", "a\nb"), 400),
    "a body": (handshake_with("Content-Length", "5") + b"hello", 400),
    "a body in chunks": (handshake_with("Transfer-Encoding", "chunked") + b"0\r\n\r\n", 400),
    "a target of 9,000 bytes": (request(f"GET /?{'x' * 9_000} HTTP/1.1"), 414),
    "a header of 9,000 bytes": (handshake_with("X-Long", "x" * 9_000), 431),
    "200 headers": (handshake_with("X-Many", *["x"] * 200), 431),
    "a head of 100,000 bytes": (handshake_with("X-Long", "x" * 100_000), 431),
    "a head that does not end": (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n" + b"X: 1234567\r\n" * 10_000, 431),
}


@pytest.mark.parametrize(("sent", "status"), NO_HANDSHAKE.values(), ids=NO_HANDSHAKE.keys())
async def test_what_is_no_handshake_is_answered_with_4xx_and_nobody_is_told(
    server: DevServer, backend: ScriptedBackend, sent: bytes, status: int
) -> None:
    async with raw_client(server) as client:
        client.send(sent)
        answered, head = await client.read_head()
        assert answered == status
        assert b"\r\nConnection: close\r\n" in head
        assert await client.read_to_end() != b""  # what was wrong, in words
    assert backend.told == []
    assert server.edge.connection_ids == []


async def test_another_version_is_told_which_one_is_spoken(server: DevServer) -> None:
    """Section 4.4, and RFC 9110, section 15.5.22."""
    async with raw_client(server) as client:
        client.send(handshake_with("Sec-WebSocket-Version", "8"))
        _, head = await client.read_head()
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in head
    assert b"\r\nUpgrade: websocket\r\n" in head


async def test_empty_lines_before_a_handshake_are_no_part_of_it(server: DevServer, backend: ScriptedBackend) -> None:
    """RFC 9112, section 2.2."""
    async with raw_client(server) as client:
        client.send(b"\r\n\r\n\r\n" + request())
        assert (await client.read_head())[0] == 101


async def test_extensions_are_not_agreed_on(server: DevServer) -> None:
    """Section 9.1: an extension that the answer does not name is not used."""
    async with raw_client(server) as client:
        client.send(handshake_with("Sec-WebSocket-Extensions", "grip", "permessage-deflate; client_max_window_bits"))
        status, head = await client.read_head()
    assert status == 101
    assert b"sec-websocket-extensions" not in head.lower()


async def test_frames_sent_with_the_handshake_wait_until_the_client_is_let_in() -> None:
    admitted = asyncio.Event()

    async def wait(event: ProxyEvent) -> ProxyResponse:
        await admitted.wait()
        return {"statusCode": 200}

    function = RecordingFunction(CONNECT=wait)
    async with edge_with(function) as server, raw_client(server) as client:
        client.send(request(), frame(TEXT, b"early"), frame(PING, b"?"))
        await function.next_event("CONNECT")
        assert len(function.events) == 1
        admitted.set()
        assert (await client.read_head())[0] == 101
        assert await told(function) == "early"
        assert await client.read_frame() == (PONG, b"?")


async def test_frames_sent_with_a_handshake_that_is_refused_reach_nobody() -> None:
    function = RecordingFunction(CONNECT=answering(403))
    async with edge_with(function) as server, raw_client(server) as client:
        client.send(request(), *[frame(TEXT, b"early")] * 100)
        assert (await client.read_head())[0] == 403
    assert len(function.events) == 1


# Handshakes that never end


async def answer_while_sending(client: RawClient, piece: bytes) -> bytes:
    """Send `piece` again and again, slowly, until the server has closed. Return what it said."""
    async with asyncio.timeout(TIMEOUT_S):
        said = asyncio.create_task(client.read_to_end())
        while not (await asyncio.wait([said], timeout=BRIEF_S / 20))[0]:
            client.send(piece)
        return await said


async def keep_sending(client: RawClient, piece: bytes) -> None:
    """Send until the server has ended the connection for good."""
    while True:
        client.send(piece)
        await client.writer.drain()


HEADS = {
    "a handshake": b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nX: ",
    "another request": b"POST /control HTTP/1.1\r\nX: ",
    "a request line": b"GET /",
    "no CR": b"GET / HTTP/1.1\nUpgrade: websocket\n\n",
}


@pytest.mark.parametrize("beginning", HEADS.values(), ids=HEADS.keys())
async def test_head_that_dribbles_is_cut_off_in_time_with_408(
    server: DevServer, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(front_door, "HEAD_TIMEOUT_S", BRIEF_S)
    async with raw_client(server) as client:
        client.send(beginning)
        said = await answer_while_sending(client, b"x")
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n")
    assert backend.told == []


async def test_client_that_goes_on_sending_after_its_408_is_cut_off(
    server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "HEAD_TIMEOUT_S", BRIEF_S)
    monkeypatch.setattr(front_door, "LINGER_S", BRIEF_S)
    async with raw_client(server) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert (await client.read_head())[0] == 408
        async with asyncio.timeout(TIMEOUT_S):
            with pytest.raises(ConnectionError):
                await keep_sending(client, b"x" * 10_000)


@pytest.mark.parametrize("piece", [b"", b"\r\n"], ids=["nothing", "empty lines"])
async def test_connection_without_a_request_is_cut_off_in_time(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(front_door, "HEAD_TIMEOUT_S", BRIEF_S)
    async with raw_client(server) as client:
        with suppress(ConnectionError):
            assert await answer_while_sending(client, piece) == b""


async def test_second_head_that_dribbles_is_cut_off_in_time(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev_server, "IDLE_CONNECTION_S", BRIEF_S)
    async with running(backend.url) as server, raw_client(server) as client:
        client.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.read_head())[0] == 404
        client.send(b"GET /nothing HTTP/1.1\r\nX: ")
        with suppress(ConnectionError):
            assert await answer_while_sending(client, b"x") == b'{"message": "Not Found"}'


@pytest.mark.parametrize("path", ["/control", "/@connections/AAAAAAAAAAAAAAA=", "/_inspector/control"])
async def test_body_that_dribbles_is_answered_in_time_with_408(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT_S", BRIEF_S)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Authorization: AWS4-HMAC-SHA256 x\r\nContent-Length: 1000000\r\n\r\n"
    )
    async with running(backend.url, inspector=True) as server, raw_client(server) as client:
        client.send(head.encode())
        async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(client.read_head())
            while not (await asyncio.wait([answer], timeout=BRIEF_S / 20))[0]:
                client.send(b"x")
        assert answer.result()[0] == 408


async def test_the_one_that_has_dawdled_longest_makes_room(
    server: DevServer, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAX_WAITING", 2)
    async with raw_client(server) as first, raw_client(server) as second:
        first.send(b"GET / HTTP/1.1\r\n")
        second.send(b"GET / HTTP/1.1\r\n")
        async with joined(server, backend):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await first.read_head()
        second.send(request().partition(b"\r\n")[2])
        assert (await second.read_head())[0] == 101


# Frames that are right


async def test_fragments_are_one_message_also_when_cut_inside_a_character() -> None:
    """Sections 5.4 and 8.1."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        for cut in range(len(GREETING) + 1):
            first, second = frame(TEXT, GREETING[:cut], fin=False), frame(CONT, GREETING[cut:])
            client.send(first, frame(CONT, b"", fin=False), second)
            assert await told(function) == GREETING.decode()
        client.send(*[frame(TEXT, b"a", fin=False), *[frame(CONT, b"b", fin=False)] * 1000, frame(CONT)])
        assert await told(function) == "a" + "b" * 1000


async def test_empty_fragments_without_end_are_not_gathered() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, b"a", fin=False), frame(CONT, b"", fin=False) * 10_000, frame(PING))
        assert await client.read_frame() == (PONG, b"")
        (socket,) = server.edge._sockets
        assert socket._message == [b"a"]
        client.send(frame(CONT, b"b"))
        assert await told(function) == "ab"


async def test_control_frames_may_come_between_fragments() -> None:
    """Section 5.4."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, b"a", fin=False), frame(PING, b"?"), frame(PONG), frame(CONT, b"b"))
        assert await told(function) == "ab"
        assert await client.read_frame() == (PONG, b"?")


@pytest.mark.parametrize("payload", [b"", b"hello", b"x" * 125])
async def test_ping_is_answered_with_its_payload_and_the_function_is_not_told(payload: bytes) -> None:
    """Sections 5.5.2 and 5.5.3."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(PING, payload), frame(PONG, b"unasked"), frame(TEXT, b"x"))
        assert await client.read_frame() == (PONG, payload)
        assert await told(function) == "x"
    assert len(function.events) == 3


@pytest.mark.parametrize("text", ["\0", "\ufeffx", "\ufffe\uffff", "\U0010ffff", "a\u0301"], ids=ascii)
async def test_text_arrives_as_it_is(text: str) -> None:
    """Section 8.1: UTF-8 says these too."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, text.encode()))
        assert await told(function) == text


async def test_mask_is_taken_off() -> None:
    """Section 5.3."""
    function = RecordingFunction()
    mask = b"\x01\x80\xff\x55"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(GREETING))
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(bytes([0x80 | TEXT, 0x80 | len(GREETING)]) + mask + masked)
        assert await told(function) == GREETING.decode()


async def test_length_that_takes_more_bytes_than_it_needs_is_understood() -> None:
    """Section 5.2 forbids a sender to write one, and asks nothing of who reads it."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(long_frame(TEXT, b"five!"), struct.pack("!BBH", 0x81, 0x80 | 126, 3) + bytes(4) + b"two")
        assert [await told(function), await told(function)] == ["five!", "two"]


# Frames that are wrong: the code of the close frame, and the section that says so

FAULTS: dict[str, tuple[bytes, int]] = {
    "5.1 not masked": (frame(TEXT, b"x", masked=False), 1002),
    "5.1 a ping that is not masked": (frame(PING, b"x", masked=False), 1002),
    "5.2 RSV1": (frame(TEXT, b"x", rsv=4), 1002),
    "5.2 RSV2": (frame(TEXT, b"x", rsv=2), 1002),
    "5.2 RSV3": (frame(PING, rsv=1), 1002),
    "5.2 RSV1 of a continuation": (frame(TEXT, b"x", fin=False) + frame(CONT, b"y", rsv=4), 1002),
    **{f"5.2 opcode {opcode}": (frame(opcode, b"x"), 1002) for opcode in (*range(0x3, 0x8), *range(0xB, 0x10))},
    "5.4 continuation of nothing": (frame(CONT, b"x"), 1002),
    "5.4 continuation of nothing, in fragments": (frame(CONT, b"x", fin=False), 1002),
    "5.4 message inside a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "5.4 message inside a message, after a ping": (frame(TEXT, fin=False) + frame(PONG) + frame(TEXT, b"y"), 1002),
    "5.5 ping over 125 bytes": (frame(PING, b"x" * 126), 1002),
    "5.5 pong over 125 bytes": (frame(PONG, b"x" * 1_000), 1002),
    "5.5 close over 125 bytes": (close(1000, b"x" * 124), 1002),
    "5.5 fragmented ping": (frame(PING, fin=False), 1002),
    "5.5 fragmented pong": (frame(PONG, fin=False), 1002),
    "5.5 fragmented close": (frame(CLOSE, b"\x03\xe8", fin=False), 1002),
    "5.5.1 close inside a message": (frame(TEXT, b"x", fin=False) + close(1000), 1002),  # the library's reading
    "5.5.1 close with half a code": (frame(CLOSE, b"\x03"), 1002),
    "5.6 bytes instead of text": (frame(BINARY, b"x"), 1003),  # 7.4.1: a type of data it cannot accept
    "5.6 no bytes instead of text": (frame(BINARY), 1003),
    "5.6 bytes in fragments": (frame(BINARY, b"x", fin=False) + frame(CONT, b"y"), 1003),
    **{
        f"7.4.2 close with {code}": (close(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    "7.4.1 frame over 32 KB": (frame(TEXT, b"x" * (32 * KIB + 1)), 1009),
    "7.4.1 fragment over 32 KB": (frame(TEXT, fin=False) + frame(CONT, b"x" * (32 * KIB + 1)), 1009),
    "7.4.1 message over 128 KB": (
        frame(TEXT, b"x" * 32 * KIB, fin=False) + frame(CONT, b"x" * 32 * KIB, fin=False) * 3 + frame(CONT, b"x"),
        1009,
    ),
    "7.4.1 frame that says it has a terabyte": (long_frame(TEXT, b"x", size=1 << 40), 1009),
    "7.4.1 length with its highest bit": (
        long_frame(TEXT, b"x", size=1 << 63),
        1009,
    ),  # 5.2 forbids it, and has no code
    "7.4.1 greatest length there is": (long_frame(TEXT, b"x", size=(1 << 64) - 1), 1009),
    "8.1 not UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "8.1 half a character": (frame(TEXT, GREETING[:-1]), 1007),
    "8.1 a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "8.1 a surrogate over fragments": (frame(TEXT, b"\xed", fin=False) + frame(CONT, b"\xa0\x80"), 1007),
    "8.1 overlong": (frame(TEXT, b"\xc0\xaf"), 1007),
    "8.1 beyond the last character": (frame(TEXT, b"\xf4\x90\x80\x80"), 1007),
    "8.1 not UTF-8 over fragments": (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"\x28"), 1007),
    "8.1 half a character over fragments": (frame(TEXT, b"\xc3", fin=False) + frame(PING) + frame(CONT), 1007),
    "8.1 a reason that is not UTF-8": (close(1000, b"\xff"), 1007),
    "8.1 a reason with half a character": (close(1000, GREETING[:-1]), 1007),
}


@pytest.mark.parametrize(("fault", "code"), FAULTS.values(), ids=FAULTS.keys())
async def test_fault_closes_its_own_socket_with_its_code(fault: bytes, code: int) -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as staying, raw_socket(server) as client:
        client.send(frame(TEXT, b"before"), fault, frame(TEXT, b"after"))
        while (received := await client.read_frame())[0] == PONG:
            pass
        assert (received[0], int.from_bytes(received[1][:2])) == (CLOSE, code)
        assert (await end(function))[0] == code
        assert len(server.edge.connection_ids) == 1
        staying.send(frame(TEXT, b"x"))
        assert await told(function) == "x"
    bodies = [event["body"] for event in function.events if "body" in event]
    assert bodies == ["before", "x"]


# Closing: section 5.5.1


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999])
async def test_close_is_answered_with_its_own_code_and_told(code: int) -> None:
    """Sections 5.5.1 and 7.4."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(close(code, GREETING))
        assert await client.read_close() == code
        assert await client.read_to_end() == b""
        assert await end(function) == (code, GREETING.decode())


async def test_close_without_a_code_is_1005() -> None:
    """Sections 5.5.1 and 7.1.5; the reason is API Gateway's word."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(CLOSE))
        assert await client.read_frame() == (CLOSE, b"")
        assert await end(function) == (1005, "Client-side close frame status not set")


async def test_close_is_answered_once_and_the_connection_ends() -> None:
    """Sections 5.5.1 and 7.1.1: nothing after it is heeded."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(CLOSE, b"\x0f\xa0bye"), frame(TEXT, b"after"), frame(CLOSE))
        assert await client.read_to_end() == b"\x88\x05\x0f\xa0bye"
        assert await end(function) == (4000, "bye")
    assert len(function.events) == 2


async def test_connection_that_ends_without_a_close_is_1006() -> None:
    """Section 7.1.5."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.reset()
        assert await end(function) == (1006, "")
