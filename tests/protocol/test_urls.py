from __future__ import annotations

import pytest

from slip_sockets.protocol.urls import MAX_URL_BYTES, NOT_A_HTTP_URL, is_local, quoted_url, url_problem

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
        "https://a@b@app.example/",
        "https://:@app.example/",
        "https://app.example:00080/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::1]:",
        "https://\uff11.\uff12.\uff13.\uff14/",
        "https://a\u3002example\uff0e/",
        "https://stra\u00dfe.example/",
        "https://app.example/#fragment",
        "https://app.example?x",
        "https://app.example/%zz/../[x]",
        "https://app.example/\u00e4?\u00fc",
        "https://app.example/https://other.example",
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
        "//app.example/",
        "https:app.example",
        "https:/app.example",
        "https//app.example",
        "\ufeffhttps://app.example/",
        "https://app.example/\u3000",
        "https://app.example/\x85",
        "https://app.example/\u2028",
        "https://a\u200bb.example/",
        "https://a\u00adb.example/",
        "https://app.example\\@b/",
        "https://h:+80/",
        "https://h:8_0/",
        "https://h:\u0668\u0660/",
        "https://h:80:80/",
        "https://[::1]80/",
        "https://[::1]x/",
        "https://[]/",
        "https://[127.0.0.1]/",
        "https://\u2100.example/",
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
        ("127.1", "is not an IPv4 address"),
        ("256.0.0.1", "is not an IPv4 address"),
        ("0x7f.0.0.1", "is not an IPv4 address"),
        ("127.0.0.0x1", "is not an IPv4 address"),
        ("2130706433", "is not an IPv4 address"),
        ("1.2.3.4.", "is not an IPv4 address"),
        ("1.2.3.4.5", "is not an IPv4 address"),
        ("01.2.3.4", "is not an IPv4 address"),
        ("h;x", NAME),
        ("h=1", NAME),
        ("a.com%00", NAME),
        ("xn--", NAME),
        ("[::1%25eth0]", "is not an IPv6 address"),
        ("\u2603.example", "is not a name that DNS can hold"),
        ("[fe80::1%eth0]", "is not an IPv6 address"),
        ("\u00fc" * 60 + ".example", "is not a name that DNS can hold"),
        ("a\u3002.example", "is not a name that DNS can hold"),
    ],
)
def test_a_host_that_cannot_be_called_is_named(host: str, problem: str) -> None:
    shown = host.strip("[]")
    for url in (f"https://{host}/slip", f"http://user@{host}:80/slip"):
        assert url_problem(url) == f"{NOT_A_HTTP_URL}: its host {shown!r} {problem}"


def test_a_scheme_that_stands_twice_is_named() -> None:
    for url in ("https://https://app.example/", "http://https://app.example/", "https://http://app.example/"):
        assert url_problem(url) == f"{NOT_A_HTTP_URL}: it has its scheme twice"


def test_a_long_host_is_cut() -> None:
    shown = f"a{LONG_NAME}"[:100]
    expected = f"{NOT_A_HTTP_URL}: its host {shown!r}... (254 characters) is longer than 253 characters"
    assert url_problem(f"https://a{LONG_NAME}/") == expected


def test_a_url_fits_into_the_variables_of_a_function() -> None:
    url = "https://app.example/"
    assert url_problem(url.ljust(MAX_URL_BYTES, "a")) is None
    assert url_problem(url.ljust(MAX_URL_BYTES + 1, "a")) == "longer than 2048 bytes"
    assert url_problem(url + "\u00e4" * 1_020) == "longer than 2048 bytes"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("ftp://app.example/a", "'ftp://app.example/a'"),
        ("https://ada:secret@.example/?code=secret#a", "'https://...@.example/?...#a'"),
        ("//secret@secret@host", "'//...@host'"),
        ("a\x1b[31m\u202e\udce9", r"'a\x1b[31m\u202e\udce9'"),
        ("a" * 101, f"'{'a' * 100}'... (101 characters)"),
    ],
)
def test_a_url_is_quoted_without_what_is_secret_and_never_whole_pages(given: str, shown: str) -> None:
    assert quoted_url(given) == shown


@pytest.mark.parametrize("host", ["\uff11\uff12\uff17.0.0.1", "backend\u3002local", "LOCALHOST", "169.254.169.254"])
def test_a_local_host_in_other_letters_is_local(host: str) -> None:
    assert url_problem(f"http://{host}/") is None
    assert is_local(host)
