"""What goes out, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from slip_sockets.gateway.errors import HttpFailure
from slip_sockets.http.client import Client, Request

from .raw_server import OK, RawServer, responding
from .requesting import MAX_BYTES, fails, get, post


async def test_request_is_whole(client: Client) -> None:
    async with RawServer(responding(OK)) as server:
        request = Request("POST", f"{server.url}/slip?a=b", {"Authorization": "Bearer x", "X-Ä": "ä"}, b"\r\nbody")
        await client.request(request, max_bytes=MAX_BYTES)
    (received,) = server.requests
    assert received.first_line == "POST /slip?a=b HTTP/1.1"
    assert received.headers == [
        ("Host", f"127.0.0.1:{server.port}"),
        ("Authorization", "Bearer x"),
        ("X-Ä", "ä"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Content-Length", "6"),
    ]
    assert received.body == b"\r\nbody"


async def test_empty_body_has_a_length_and_no_body_has_none(client: Client) -> None:
    async with RawServer(responding(OK)) as server:
        await post(client, server.url, b"")
        await get(client, server.url)
    assert [request.header("Content-Length") for request in server.requests] == [["0"], []]


TARGETS = {
    "": "/",
    "/": "/",
    "?": "/?",
    "?a=b": "/?a=b",
    "/slip?": "/slip?",
    "/slip?code=a%2Fb%3D%3D": "/slip?code=a%2Fb%3D%3D",
    "/%7E/~/%2f%2F/%zz/%": "/%7E/~/%2f%2F/%zz/%",
    "/a//b/./c/../d/": "/a//b/./c/../d/",
    "//a": "//a",
    "/a;b=1,c?d;e=f&g&=&&h=": "/a;b=1,c?d;e=f&g&=&&h=",
    "/!$&'()*+,-.:=@_?!$&'()*+,-./:=?@_": "/!$&'()*+,-.:=@_?!$&'()*+,-./:=?@_",
    "/[a]?b[]=c": "/[a]?b[]=c",
    "/a+b%20c?d+e%20f": "/a+b%20c?d+e%20f",
    "/caf\u00e9?\u00fc=\U0001f600": "/caf%C3%A9?%C3%BC=%F0%9F%98%80",
    "/a?url=http://b/c?d": "/a?url=http://b/c?d",
    "/a#b": "/a",
    "/a?#b": "/a?",
    "/a?b#c?d#e": "/a?b",
    "#b": "/",
    "?#": "/?",
}


@pytest.mark.parametrize("given", TARGETS)
async def test_path_and_query_go_out_as_they_were_set(client: Client, given: str) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, server.url + given)
    assert server.requests[0].first_line == f"GET {TARGETS[given]} HTTP/1.1"


async def test_user_and_password_are_left_out(client: Client) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, f"http://ada:p%40ss@127.0.0.1:{server.port}/a@b")
    (request,) = server.requests
    assert request.target == "/a@b"
    assert request.headers == [("Host", f"127.0.0.1:{server.port}"), ("Accept-Encoding", "gzip, deflate")]


async def test_ipv6_address_is_connected_to(client: Client) -> None:
    async with RawServer(responding(OK), "::1") as server:
        await get(client, f"http://[::1]:{server.port}/")
    assert server.requests[0].header("Host") == [f"[::1]:{server.port}"]


async def test_surroundings_do_not_matter(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login ada password pw\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1\r\nContent-Length: 0\r\n\r\n"
    async with RawServer(responding(cookie)) as server:
        for _ in range(2):
            assert (await get(client, server.url)).status == 200
    for request in server.requests:
        assert [name for name, _ in request.headers] == ["Host", "Accept-Encoding"]


@pytest.mark.parametrize("injected", ["a\r\nX: y", "a\nX: y", "a\rX: y", "a\0"])
@pytest.mark.parametrize("place", ["name", "value"])
async def test_header_with_a_line_break_is_refused(client: Client, injected: str, place: str) -> None:
    name, value = (injected, "a") if place == "name" else ("A", injected)
    async with RawServer(responding(OK)) as server:
        with pytest.raises(ValueError, match="has a line break in it"):
            await client.request(Request("GET", server.url, {name: value}, None), max_bytes=MAX_BYTES)
        assert server.peers == []


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "127.0.0.1:80/", "http:///a", "http://127.0.0.1:99999/", "http://[::1/"]
)
async def test_url_that_is_not_one_is_an_error(client: Client, url: str) -> None:
    assert await fails(client, url) == (HttpFailure.INVALID_URL, "not an http or https URL")
