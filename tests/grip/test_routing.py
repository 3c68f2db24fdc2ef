"""Which path of the backend's URL the requests of a client go to, and under which host."""

from __future__ import annotations

import pytest

from slip_sockets.gateway.values import Connect
from slip_sockets.grip.backend import GripBackend
from slip_sockets.grip.routing import Routing
from slip_sockets.protocol.events import Open
from slip_sockets.protocol.urls import with_path

from ..gateway.doubles import ME, SECRET, START


@pytest.mark.parametrize(
    ("path_from", "host", "query", "path", "others"),
    [
        ("", "rooms.example", {"path": ["a"]}, "", {"path": ["a"]}),
        ("query:path", "rooms.example", {"path": ["rooms/3"], "a": ["1", "2"]}, "rooms/3", {"a": ["1", "2"]}),
        ("query:path", "rooms.example", {"path": ["x", "/rooms/"]}, "rooms/", {}),
        ("query:path", "rooms.example", {"a": ["1"]}, "", {"a": ["1"]}),
        ("query:path", "rooms.example", {"path": [""]}, "", {}),
        ("query:path", "rooms.example", {"path": ["../a/./..//b?c#d%é"]}, "a//b%3Fc%23d%25%C3%A9", {}),
        ("query:host", "rooms.example", {"host": ["a"]}, "a", {}),
        ("host", "Rooms.example.com", {"a": ["1"]}, "rooms", {"a": ["1"]}),
        ("host", "rooms.localhost:8787", {}, "rooms", {}),
        ("host", "localhost:8787", {}, "", {}),
        ("host", "127.0.0.1:8787", {}, "", {}),
        ("host", "[::1]:8787", {}, "", {}),
        ("host", "a/b.example", {}, "a%2Fb", {}),
        ("host", "..example", {}, "", {}),
        ("host", "", {}, "", {}),
    ],
)
def test_route(path_from: str, host: str, query: dict[str, list[str]], path: str, others: dict[str, list[str]]) -> None:
    assert Routing(path_from).route(host, query) == (path, others)


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("http://a.example/ws?b=1", "", "http://a.example/ws?b=1"),
        ("http://a.example/ws?b=1", "c/d", "http://a.example/ws/c/d?b=1"),
        ("http://a.example/ws/", "c", "http://a.example/ws/c"),
        ("http://a.example", "c/", "http://a.example/c/"),
    ],
)
def test_path_is_behind_that_of_the_url(url: str, path: str, expected: str) -> None:
    assert with_path(url, path) == expected


def test_requests_have_the_path_the_remaining_query_and_the_host() -> None:
    backend = GripBackend(Routing("query:p", "app.example:81"))
    connect = Connect(ME, {"host": "live.example", "X-A": "1"}, {"p": ["rooms"], "a": ["1"]}, None, ())
    state = backend.initial_metadata(connect)
    request = backend.request(ME, state, [Open(ME)], secret=SECRET, now=START)
    assert request is not None
    assert (request.path, request.query) == ("rooms", "a=1")
    assert (request.headers["Host"], request.headers["X-A"]) == ("app.example:81", "1")


def test_several_headers_of_one_name_come_as_one() -> None:
    headers = {"x-a": "3", "Cookie": "b=2", "Sec-WebSocket-Extensions": "y"}
    repeated = {"x-a": ["1", "3"], "Cookie": ["a=1", "b=2"], "Sec-WebSocket-Extensions": ["x", "y"]}
    state = GripBackend().initial_metadata(Connect(ME, headers, {}, None, (), repeated))
    request = GripBackend().request(ME, state, [Open(ME)], secret=SECRET, now=START)
    assert request is not None
    assert (request.headers["x-a"], request.headers["Cookie"]) == ("1, 3", "a=1; b=2")
    assert request.headers["Sec-WebSocket-Extensions"] == "grip"
