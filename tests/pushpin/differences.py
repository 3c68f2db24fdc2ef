"""The rows of the table in docs/grip.md, each with what it makes of what is seen behind Pushpin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slip_sockets.grip.framing import Event, encode

from .sides import Frame, Seen

CLOSED: Frame = ("CLOSE", (1000, ""))
_NOT_TEXT = ("BINARY", "PING", "PONG")


def _codes_of_frames(seen: Seen) -> None:
    for frames in seen.frames:
        frames[:] = [CLOSED if kind == "CLOSE" else (kind, content) for kind, content in frames]


def _codes(seen: Seen) -> None:
    _codes_of_frames(seen)
    seen.posts = [
        (target, headers, b"CLOSE 2\r\n\x03\xe8\r\n" if body.startswith(b"CLOSE") else body)
        for target, headers, body in seen.posts
    ]


def _cuts(seen: Seen) -> None:
    for frames in seen.frames:
        frames[:] = [CLOSED if frame == ("CUT", None) else frame for frame in frames]


def _no_binary(seen: Seen) -> None:
    for frames in seen.frames:
        frames[:] = [(kind, content) for kind, content in frames if kind not in _NOT_TEXT]


def _binary_refused(seen: Seen) -> None:
    problem = "Invalid format: 'ws-message' is of type {}; API Gateway sends texts only\n"
    kinds = [kind.lower() for kind, _ in seen.frames[0] if kind in _NOT_TEXT]
    seen.published = [(400, "text/plain", problem.format(kind)) for kind in kinds]
    _no_binary(seen)


def _taken(seen: Seen) -> None:
    seen.published = [(200, "text/plain", "Published\n") for _ in seen.published]


def _no_ping(seen: Seen) -> None:
    seen.posts = [post for post in seen.posts if not post[2].startswith(b"PING")]


def _closed_with_1003(seen: Seen) -> None:
    reason = "Binary frames are not supported"
    seen.frames[0][-1] = ("CLOSE", (1003, reason))
    posts = [post for post in seen.posts if not post[2].startswith(b"BINARY")]
    target, headers, _ = posts.pop()
    seen.posts = [*posts, (target, headers, encode([Event("CLOSE", b"\x03\xeb" + reason.encode())]))]


def _no_headers(seen: Seen) -> None:
    seen.handshakes = [(status, protocol, {}) for status, protocol, _ in seen.handshakes]


def _refused(seen: Seen) -> None:
    seen.handshakes = [(status if status >= 400 else 502, None, {}) for status, _, _ in seen.handshakes]


def _closed_as_by_the_client(seen: Seen) -> None:
    """The edge repeats what the backend will hear, and its reply has no effect."""
    content = seen.bodies[-1].partition(b"\r\n")[2].removesuffix(b"\r\n")
    close = ("CLOSE", (int.from_bytes(content[:2]), content[2:].decode()))
    seen.frames[0] = [("TEXT", "first"), close]


def _joined_headers(seen: Seen) -> None:
    for _, headers, _ in seen.posts:
        for name, values in headers.items():
            if isinstance(values, list):
                headers[name] = [("; " if name == "cookie" else ", ").join(values)]  # type: ignore[index]


def _names_together(seen: Seen) -> None:
    seen.posts = [
        (target.replace("?a=1&b=2&a=3", "?a=1&a=3&b=2"), headers, body) for target, headers, body in seen.posts
    ]


def _negative_length(seen: Seen) -> None:
    seen.frames[0] = [CLOSED]
    seen.posts = seen.posts[:2]


def _own_control_api(seen: Seen) -> None:
    refused, unknown = (403, "text/plain; charset=utf-8", "Invalid token"), (404, "text/plain", "Not Found\n")
    seen.published = [unknown if number == 0 else refused for number, _ in enumerate(seen.published)]


def _query_is_ignored(seen: Seen) -> None:
    seen.published = [(200, "text/plain", "Published\n"), (405, "text/plain", "Method not allowed: GET.\n")]


def _without(content: str) -> Callable[[Seen], None]:
    def drop(seen: Seen) -> None:
        for frames in seen.frames:
            frames[:] = [frame for frame in frames if frame != ("TEXT", content)]

    return drop


Row = tuple[str, Callable[[Seen], Any]]

NEGATIVE_LENGTH: Row = ("an event with a negative length", _negative_length)
OWN_CONTROL_API: Row = ("requests to other paths than `/publish/`", _own_control_api)
QUERY_OF_PUBLISH: Row = ("a query behind `/publish/`", _query_is_ignored)
CHUNKED: Row = ("a publish in chunks, without `Content-Length`", _taken)
CODE: Row = ("code and reason of a `CLOSE`, or of a published `close`", _codes)
CODE_OF_DETACHED: Row = (CODE[0], _codes_of_frames)
CUT: Row = ("a connection that is cut without a close frame", _cuts)
BINARY_TO_CLIENT: Row = ("`BINARY`, `PING` and `PONG` to a client", _no_binary)
BINARY_PUBLISHED: Row = ("a publish of type `binary`, `ping` or `pong`", _binary_refused)
BINARY_FROM_CLIENT: Row = ("`BINARY` from a client", _closed_with_1003)
PING_FROM_CLIENT: Row = ("`PING` from a client", _no_ping)
HEADERS: Row = ("headers of your accepting response", _no_headers)
REFUSAL: Row = ("body and headers of a refusal", _refused)
SEVERAL: Row = ("several headers of one name in the handshake", _joined_headers)
CLOSE_FROM_CLIENT: Row = ("`CLOSE` from a client", _closed_as_by_the_client)
QUERY: Row = ("the query of a client", _names_together)
TEXT_SIZE: Row = ("texts above 128 KB", _without("x" * 131_073))
