"""The edge compared with RFC 6455, byte by byte; the numbers are its sections.

Handshakes go through the development server's one port, frames straight to the edge.
"""

from __future__ import annotations

import asyncio
import struct

import pytest

from slip_sockets.apigateway.requests import ProxyEvent, ProxyResponse
from slip_sockets.dev.server import DevServer

from ..contract.raw import BINARY, CLOSE, CONT, HANDSHAKE, PING, PONG, TEXT, frame, raw_client, raw_socket
from ..scripted_backend import ScriptedBackend
from .edges import RecordingFunction, edge_with, end, next_text, responding

KIB = 1024
GREETING = "gr\u00fc\u00dfe \U0001f44b".encode()


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason)


def long_frame(opcode: int, payload: bytes, size: int = 0) -> bytes:
    """A frame with a length of 64 bits: `size`, where it is not the true one."""
    return struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size or len(payload)) + bytes(4) + payload


# Handshakes: section 4.2


def request(line: str = "GET / HTTP/1.1", headers: tuple[tuple[str, str], ...] = HANDSHAKE) -> bytes:
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1")


def handshake_with(name: str, *values: str) -> bytes:
    """A handshake in which the header has these values, each in a line of its own."""
    others = tuple(pair for pair in HANDSHAKE if pair[0] != name)
    return request(headers=(*others, *((name, value) for value in values)))


KEY = "dGhlIHNhbXBsZSBub25jZQ=="
NOT_A_HANDSHAKE: dict[str, tuple[bytes, int]] = {
    "4.2.1(1) POST": (request("POST / HTTP/1.1"), 405),
    "4.2.1(1) a method in small letters": (request("get / HTTP/1.1"), 405),
    "4.2.1(1) HTTP/1.0": (request("GET / HTTP/1.0"), 505),
    "4.2.1(1) HTTP/2.0": (request("GET / HTTP/2.0"), 400),
    "4.2.1(1) not HTTP": (request("websocket"), 400),
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
    "11.3.4 a subprotocol that is not a token": (handshake_with("Sec-WebSocket-Protocol", 'a b"c'), 400),
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


@pytest.mark.parametrize(("sent", "status"), NOT_A_HANDSHAKE.values(), ids=NOT_A_HANDSHAKE.keys())
async def test_invalid_handshake_is_refused_with_4xx_and_the_backend_is_not_called(
    server: DevServer, backend: ScriptedBackend, sent: bytes, status: int
) -> None:
    async with raw_client(server) as client:
        client.send(sent)
        received, head = await client.read_head()
        assert received == status
        assert b"\r\nConnection: close\r\n" in head
        assert await client.read_to_end() != b""  # the fault, in words
    assert backend.posts == []
    assert server.edge.connection_ids == []


async def test_another_version_is_refused_with_the_one_that_is_spoken(server: DevServer) -> None:
    """Section 4.4, and RFC 9110, section 15.5.22."""
    async with raw_client(server) as client:
        client.send(handshake_with("Sec-WebSocket-Version", "8"))
        _, head = await client.read_head()
    assert b"\r\nSec-WebSocket-Version: 13\r\n" in head
    assert b"\r\nUpgrade: websocket\r\n" in head


async def test_empty_lines_before_a_handshake_do_not_belong_to_it(server: DevServer, backend: ScriptedBackend) -> None:
    """RFC 9112, section 2.2."""
    async with raw_client(server) as client:
        client.send(b"\r\n\r\n\r\n" + request())
        assert (await client.read_head())[0] == 101


async def test_extensions_are_not_agreed_on(server: DevServer) -> None:
    """Section 9.1: an extension that the response does not name is not used."""
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
        assert await next_text(function) == "early"
        assert await client.read_frame() == (PONG, b"?")


async def test_frames_sent_with_a_handshake_that_is_refused_are_dropped() -> None:
    function = RecordingFunction(CONNECT=responding(403))
    async with edge_with(function) as server, raw_client(server) as client:
        client.send(request(), *[frame(TEXT, b"early")] * 100)
        assert (await client.read_head())[0] == 403
    assert len(function.events) == 1


# Frames that are right


async def test_fragments_are_one_message_also_when_cut_inside_a_character() -> None:
    """Sections 5.4 and 8.1."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        for cut in range(len(GREETING) + 1):
            first, second = frame(TEXT, GREETING[:cut], fin=False), frame(CONT, GREETING[cut:])
            client.send(first, frame(CONT, b"", fin=False), second)
            assert await next_text(function) == GREETING.decode()
        client.send(*[frame(TEXT, b"a", fin=False), *[frame(CONT, b"b", fin=False)] * 1000, frame(CONT)])
        assert await next_text(function) == "a" + "b" * 1000


async def test_empty_fragments_without_end_are_not_gathered() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, b"a", fin=False), frame(CONT, b"", fin=False) * 10_000, frame(PING))
        assert await client.read_frame() == (PONG, b"")
        (socket,) = server.edge._sockets
        assert socket._message == [b"a"]
        client.send(frame(CONT, b"b"))
        assert await next_text(function) == "ab"


async def test_control_frames_may_come_between_fragments() -> None:
    """Section 5.4."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, b"a", fin=False), frame(PING, b"?"), frame(PONG), frame(CONT, b"b"))
        assert await next_text(function) == "ab"
        assert await client.read_frame() == (PONG, b"?")


@pytest.mark.parametrize("payload", [b"", b"hello", b"x" * 125])
async def test_ping_has_a_pong_with_its_payload_and_the_function_is_not_called(payload: bytes) -> None:
    """Sections 5.5.2 and 5.5.3."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(PING, payload), frame(PONG, b"unasked"), frame(TEXT, b"x"))
        assert await client.read_frame() == (PONG, payload)
        assert await next_text(function) == "x"
    assert len(function.events) == 3


@pytest.mark.parametrize("text", ["\0", "\ufeffx", "\ufffe\uffff", "\U0010ffff", "a\u0301"], ids=ascii)
async def test_text_arrives_as_it_is(text: str) -> None:
    """Section 8.1: these are UTF-8 too."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, text.encode()))
        assert await next_text(function) == text


async def test_mask_is_taken_off() -> None:
    """Section 5.3."""
    function = RecordingFunction()
    mask = b"\x01\x80\xff\x55"
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(GREETING))
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(bytes([0x80 | TEXT, 0x80 | len(GREETING)]) + mask + masked)
        assert await next_text(function) == GREETING.decode()


async def test_length_that_takes_more_bytes_than_it_needs_is_understood() -> None:
    """Section 5.2 forbids a sender to write one, and asks nothing of a receiver."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(long_frame(TEXT, b"five!"), struct.pack("!BBH", 0x81, 0x80 | 126, 3) + bytes(4) + b"two")
        assert [await next_text(function), await next_text(function)] == ["five!", "two"]


# Frames that are wrong: the section that forbids them, and the code of the close frame

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
    "7.4.1 frame of a terabyte, it claims": (long_frame(TEXT, b"x", size=1 << 40), 1009),
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
        assert await next_text(function) == "x"
    bodies = [event["body"] for event in function.events if "body" in event]
    assert bodies == ["before", "x"]


# Closing: section 5.5.1


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999])
async def test_close_is_returned_with_its_own_code_and_handed_to_the_function(code: int) -> None:
    """Sections 5.5.1 and 7.4."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(close(code, GREETING))
        assert await client.read_close() == code
        assert await client.read_to_end() == b""
        assert await end(function) == (code, GREETING.decode())


async def test_close_without_a_code_is_1005() -> None:
    """Sections 5.5.1 and 7.1.5; the reason is API Gateway's text."""
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(CLOSE))
        assert await client.read_frame() == (CLOSE, b"")
        assert await end(function) == (1005, "Client-side close frame status not set")


async def test_close_is_returned_once_and_the_connection_ends() -> None:
    """Sections 5.5.1 and 7.1.1: frames after it are ignored."""
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
