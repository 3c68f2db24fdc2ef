from __future__ import annotations

import pytest

from slip_sockets.gateway.errors import HttpError, HttpFailure
from slip_sockets.http.url import Origin, Url, parse_url

URLS = {
    "http://example.com": (Origin(False, "example.com", 80), "example.com"),
    "https://example.com": (Origin(True, "example.com", 443), "example.com"),
    "http://example.com:80/": (Origin(False, "example.com", 80), "example.com"),
    "https://example.com:443/": (Origin(True, "example.com", 443), "example.com"),
    "http://example.com:443/": (Origin(False, "example.com", 443), "example.com:443"),
    "https://example.com:8443/": (Origin(True, "example.com", 8443), "example.com:8443"),
    "http://example.com:/": (Origin(False, "example.com", 80), "example.com"),
    "HTTP://EXAMPLE.com/": (Origin(False, "example.com", 80), "example.com"),
    "http://user:a%40b@example.com:81/": (Origin(False, "example.com", 81), "example.com:81"),
    "http://127.0.0.1:5000": (Origin(False, "127.0.0.1", 5000), "127.0.0.1:5000"),
    "http://[::1]/": (Origin(False, "::1", 80), "[::1]"),
    "https://[2001:DB8::1]:8443/": (Origin(True, "2001:db8::1", 8443), "[2001:db8::1]:8443"),
    "https://bücher.example/": (Origin(True, "xn--bcher-kva.example", 443), "xn--bcher-kva.example"),
    "https://BÜCHER.example/": (Origin(True, "xn--bcher-kva.example", 443), "xn--bcher-kva.example"),
    "https://faß.example/": (Origin(True, "xn--fa-hia.example", 443), "xn--fa-hia.example"),
}


@pytest.mark.parametrize("url", URLS)
def test_host_is_named_with_its_port_unless_it_is_the_schemes_own(url: str) -> None:
    origin, host = URLS[url]
    assert parse_url(url) == Url(origin, "/")
    assert parse_url(url).origin.host == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/slip",
        "//example.com/",
        "example.com",
        "ftp://example.com/",
        "http:example.com",
        "http://",
        "http:///slip",
        "http://:80/",
        "http://user@/",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:http/",
        "http://[::1/",
        "http://[not an address]/",
        "http://example.com/a b",
        "http://example.com/\r\nX: y",
        "http://example.com/\0",
        "http://example.com/\ud800",
        " http://example.com/",
    ],
)
def test_what_is_not_a_url_is_refused(url: str) -> None:
    with pytest.raises(HttpError) as error:
        parse_url(url)
    assert (error.value.failure, str(error.value)) == (HttpFailure.INVALID_URL, "not an http or https URL")


def test_name_that_has_no_form_in_ascii_is_refused() -> None:
    with pytest.raises(HttpError) as error:
        parse_url("http://ü..example/")
    assert error.value.failure is HttpFailure.INVALID_URL
    assert str(error.value).startswith("not an http or https URL: ")
