"""What the environment may do to a call: proxies, certificates, ~/.netrc; and URLs that cannot be called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slip_sockets import ControlApiError, ControlApiRefused, ControlApiUnavailable, InvalidSettings, SlipSocketsError
from slip_sockets.client.environment import BUNDLE_VARIABLES

from ..http.certificates import make, server_context
from .played import DONE, KINDS, REPORTS, PlayedServer, call, playing, response

PROXIES = [name for each in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (each, each.upper())]


@pytest.fixture
def server() -> Iterator[PlayedServer]:
    with playing() as server:
        server.data = response(200, DONE)
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*PROXIES, *BUNDLE_VARIABLES, "NETRC", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def closed_port(unused_tcp_port: int) -> int:
    return unused_tcp_port


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_reached_is_named(
    server: PlayedServer, kind: str, variable: str, closed_port: int, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(variable, f"http://user:hunter2@127.0.0.1:{closed_port}")
    outcome = call(kind, server.url)
    assert isinstance(outcome, ControlApiUnavailable)
    proxy = f"http://127.0.0.1:{closed_port} ({variable})"
    text = f"no response from the control API {server.url} through the proxy {proxy}: Connection refused"
    assert (str(outcome), outcome.proxy, outcome.had_no_effect) == (text, proxy, True)
    environment.setenv("no_proxy", "127.0.0.1")
    assert call(kind, server.url) == REPORTS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "error"), [(407, ControlApiRefused), (403, ControlApiRefused), (502, ControlApiUnavailable)]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_responds_itself_is_named(
    server: PlayedServer,
    kind: str,
    status: int,
    error: type[ControlApiError],
    scheme: str,
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv(f"{scheme}_proxy", f"127.0.0.1:{server.port}")
    server.data = response(status, b"<html>no</html>", 'Proxy-Authenticate: Basic realm="x"', "Connection: close")
    outcome = call(kind, f"{scheme}://control.example/")
    assert isinstance(outcome, error)
    assert outcome.status == status
    assert f"the proxy http://127.0.0.1:{server.port} ({scheme}_proxy)" in str(outcome)
    assert str(status) in str(outcome)
    assert not isinstance(outcome, ControlApiUnavailable) or outcome.had_no_effect == (scheme == "https")
    assert (b"CONNECT" in server.requests[0]) == (scheme == "https")
    if scheme == "https":
        assert b"Authorization: Bearer" not in server.requests[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_through_a_proxy(server: PlayedServer, kind: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{server.port}")
    assert call(kind, "http://control.example/x") == REPORTS
    (request,) = server.requests
    assert request.startswith(b"POST http://control.example/x HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n" in request
    server.data = response(403, b"Invalid token")
    outcome = call(kind, "http://control.example/x")
    assert isinstance(outcome, ControlApiRefused)
    assert outcome.proxy is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://", "is not the URL of a proxy"),
        (" ", "is not the URL of a proxy"),
        (
            "http://hunter2:x@.corp.example:3128",
            "is not the URL of a proxy: its host '.corp.example' has an empty part",
        ),
        ("http://p:99999", "is not the URL of a proxy"),
        ("http://[::1", "is not the URL of a proxy"),
        ("ftp://p:21", "is not the URL of an http, https or SOCKS proxy"),
        ("://p", "is not the URL of an http, https or SOCKS proxy"),
        ("http://p:3128\n", "is not the URL of a proxy"),
        ("http://%E2%82%AC:hunter2@p:3128", "is not usable: its user or password has characters beyond ISO 8859-1"),
    ],
)
def test_a_proxy_that_is_not_a_url_is_one_line(
    server: PlayedServer, kind: str, url: str, problem: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("http_proxy", url)
    outcome = call(kind, server.url)
    assert isinstance(outcome, InvalidSettings)
    assert str(outcome).startswith(f"http_proxy {problem}")
    assert "\n" not in str(outcome)
    assert "hunter2" not in str(outcome)
    assert server.requests == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_a_socks_proxy_without_a_library_for_it_is_one_line(
    server: PlayedServer, kind: str, scheme: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("all_proxy", f"{scheme}://127.0.0.1:{server.port}")
    for name in ("socks", "urllib3.contrib.socks"):
        environment.setitem(sys.modules, name, None)
    from requests import adapters, exceptions

    def missing(*_: object, **__: object) -> None:
        raise exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    environment.setattr(adapters, "SOCKSProxyManager", missing)
    outcome = call(kind, server.url)
    assert isinstance(outcome, InvalidSettings)
    assert str(outcome).startswith("all_proxy names a SOCKS proxy, which ")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the variables may name."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "empty.pem").touch()
    (folder / "text.pem").write_text("no certificate")
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    (folder / "binary.pem").write_bytes(bytes(range(256)))
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variable", BUNDLE_VARIABLES)
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.pem", "cannot be read: No such file or directory"),
        ("text.pem/x", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
        ("folder", "is a folder without certificates that OpenSSL finds"),
        ("pipe", "is not a file"),
        ("empty.pem", "has no certificate in PEM that can be read"),
        ("text.pem", "has no certificate in PEM that can be read"),
        ("broken.pem", "has no certificate in PEM that can be read"),
        ("binary.pem", "has no certificate in PEM that can be read"),
    ],
)
def test_certificates_that_cannot_be_used_are_one_line(
    server: PlayedServer,
    kind: str,
    certificates: Path,
    variable: str,
    name: str,
    problem: str,
    environment: pytest.MonkeyPatch,
) -> None:
    path = str(certificates / name)
    environment.setenv(variable, path)
    outcome = call(kind, server.url.replace("http:", "https:"))
    assert isinstance(outcome, InvalidSettings)
    what = "Set it to a file with certificates in PEM, or unset it"
    assert str(outcome) == f"{variable} names {path!r}, which {problem}. {what}"
    assert call(kind, server.url) == REPORTS  # which needs no certificates


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variable", BUNDLE_VARIABLES)
def test_certificates_of_the_environment_are_trusted(
    kind: str, tmp_path: Path, variable: str, environment: pytest.MonkeyPatch
) -> None:
    issuer, other = make("issuer", is_issuer=True), make("other", is_issuer=True)
    for name, each in (("issuer", issuer), ("other", other)):
        (tmp_path / f"{name}.pem").write_bytes(each.pem)
    with playing(server_context(tmp_path / "server.pem", make("127.0.0.1", issuer))) as server:
        server.data = response(200, DONE)
        environment.setenv(variable, str(tmp_path / "issuer.pem"))
        assert call(kind, server.url) == REPORTS
        environment.setenv(variable, str(tmp_path / "other.pem"))
        outcome = call(kind, server.url)
    assert isinstance(outcome, ControlApiUnavailable)
    assert "its certificate is not trusted: unable to get local issuer certificate" in str(outcome)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "netrc",
    [
        b"machine 127.0.0.1 login a password b\n",
        b"default login a password b\n",
        b"machine",
        b"\xff\xfe",
        b"macdef x",
        None,
    ],
)
def test_a_netrc_changes_nothing(
    server: PlayedServer, kind: str, netrc: bytes | None, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".netrc"
    path.mkdir() if netrc is None else path.write_bytes(netrc)
    environment.setenv("NETRC", str(path))
    environment.setenv("HOME", str(tmp_path))
    assert call(kind, server.url) == REPORTS
    assert server.requests[0].count(b"Authorization: Bearer ey") == 1
    assert server.requests[0].count(b"uthorization") == 1


LABELS = st.sampled_from(
    ["", "a", "a" * 64, "-a", "b_c", "\u00fc", "\u00df" * 40, "xn--", "*", "%41", "\u3002", "1", "0x7f"]
)
HOSTS = (
    st.lists(LABELS, min_size=1, max_size=4).map(".".join)
    | st.sampled_from(["[::1]", "[fe80::1%eth0]", "[::1", "::1", "[v1.a]", "127.1", "256.0.0.1", "a" * 300, "a b"])
    | st.text(max_size=6)
)  # fmt: skip
URLS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["http://", "https://", "HTTP://", "http:/", "ftp://", "//", ""]),
    st.sampled_from(["", "", "user@", "user:p%40ss@", "@", ":@", "\u20ac:\u20ac@", "a@b@"]),
    HOSTS,
    st.sampled_from(["", "", ":1", ":0", ":65536", ":-1", ":x", ":", ":\u0661"]),
    st.sampled_from(["", "/", "/control", "/\u00fc", "?a=%2F&b=\u00fc", "/%", "/a b", "/#x", "/\n", "\\"]),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(url=URLS, proxy=st.none() | st.text(max_size=8) | URLS, variable=st.sampled_from(PROXIES[:6]))
def test_any_url_through_any_proxy(
    kind: str, url: str, proxy: str | None, variable: str, environment: pytest.MonkeyPatch
) -> None:
    """Names are not looked up: the resolver knows none."""
    import socket

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with environment.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        if proxy is not None and "\x00" not in proxy and not any("\ud800" <= c <= "\udfff" for c in proxy):
            patched.setenv(variable, proxy)
        outcome = call(kind, url, timeout_s=0.2)
    assert isinstance(outcome, SlipSocketsError)
    assert not isinstance(outcome, ControlApiRefused)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"url": None}, "control_api needs a string, got NoneType"),
        ({"url": "https://.example.com/slip"}, "control_api 'https://.example.com/slip' is not an http or https URL: "),
        ({"url": "http://a/", "timeout_s": 0}, "timeout_s needs a number of seconds above 0, got 0"),
        ({"url": "http://a/", "timeout_s": float("nan")}, "timeout_s needs a number of seconds above 0, got nan"),
        ({"url": "http://a/", "previous_secrets": [b"x"]}, "previous_secrets needs a string, got bytes"),
        ({"url": "http://a/", "previous_secrets": None}, "previous_secrets needs a list of secrets, got NoneType"),
    ],
)
def test_a_parameter_that_is_wrong_is_an_invalid_setting(kind: str, parameters: dict[str, Any], text: str) -> None:
    outcome = call(kind, **parameters)
    assert isinstance(outcome, InvalidSettings)
    assert isinstance(outcome, ValueError)
    assert str(outcome).startswith(text)
