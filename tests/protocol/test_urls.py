from __future__ import annotations

import pytest

from slip_sockets.protocol.urls import NOT_A_HTTP_URL, url_problem

LONG_LABEL = "a" * 63
LONG_NAME = ".".join([LONG_LABEL] * 3 + ["a" * 61])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/slip",
        "https://app.example/slip?code=a%2Fb%3D%3D",
        "https://app.example./",
        "HTTPS://APP.EXAMPLE",
        "http://localhost",
        "http://app.example:/",
        "http://back_end:8000/",
        "http://user:password@app.example/",
        "http://[::1]:8000/",
        "https://b\u00fccher.example/",
        "https://xn--bcher-kva.example/",
        "https://1.example/",
        f"https://{LONG_LABEL}.example/",
        f"https://{LONG_NAME}/",
        "https://a--b.example:65535",
    ],
)
def test_a_url_that_can_be_called_has_no_problem(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.example",
        "ftp://app.example/",
        "https://",
        "https:///slip",
        "https://app.example:0/",
        "http://a:99999/",
        "http://a:b/",
        "http://[::1",
        "https://app .example/",
        "https://app.example/\n",
        "https://${APP}.example/",
        "http://user@/",
        "https://app.example/\udce9",
    ],
)
def test_what_is_not_a_url_of_http(url: str) -> None:
    assert url_problem(url) == NOT_A_HTTP_URL


EMPTY = "has an empty part, as of a variable that is not set"
NAME = "has a part that is not 1 to 63 letters, digits and hyphens within it"


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        (".example.com", EMPTY),
        ("app..example.com", EMPTY),
        ("app.example..", EMPTY),
        (".", EMPTY),
        ("-app.example.com", NAME),
        ("app-.example.com", NAME),
        (f"a{LONG_LABEL}.example", NAME),
        ("a%41.example", NAME),
        ("*.example.com", NAME),
        ("a,b", NAME),
        (f"a{LONG_NAME}", "is longer than 253 characters"),
        ("127.1", "is not an IPv4 address"),
        ("256.0.0.1", "is not an IPv4 address"),
        ("0x7f.0.0.1", "is not an IPv4 address"),
        ("127.0.0.0x1", "is not an IPv4 address"),
        ("2130706433", "is not an IPv4 address"),
        ("[fe80::1%eth0]", "is not an IPv6 address"),
        ("\u00fc" * 60 + ".example", "is not a name that DNS can hold"),
        ("a\u3002.example", "is not a name that DNS can hold"),
    ],
)
def test_a_host_that_cannot_be_called_is_named(host: str, problem: str) -> None:
    shown = host.strip("[]")
    for url in (f"https://{host}/slip", f"http://user@{host}:80/slip"):
        assert url_problem(url) == f"{NOT_A_HTTP_URL}: its host {shown!r} {problem}"
