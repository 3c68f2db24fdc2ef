"""Checks of URLs and hosts, for all that reads settings: the development server, commands, stacks, publishers."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit, urlunsplit

from .quoting import quoted

_NOT_IN_A_URL = re.compile(r"""[ "<>\\^`{|}]""")
"""Braces above all, because Terraform expands `${...}`. What is not printable is refused too: nobody sees it."""
_NETLOC = re.compile(r"([^@\[\]]*@)*(\[[^\[\]]*\]|[^\[\]]*?)(:[0-9]*)?")
"""urlsplit ignores what stands between a bracket and a port, in some versions of Python."""
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
"""RFC 1123, section 2.1; and the underscore, which names of containers have."""
_LOOKS_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
MAX_HOST_LENGTH = 253
"""https://datatracker.ietf.org/doc/html/rfc1035#section-2.3.4, without the lengths before and after the labels."""
MAX_URL_BYTES = 2_048
"""Half of what Lambda takes for all variables of a function, and what all browsers and servers take.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
_SECRET_PARTS = re.compile(r"//[^/?#]*@|\?[^#]+")

NOT_A_HTTP_URL = "not an http or https URL"
"""What `url_problem` returns of a text that is not an http or https URL with a host."""


def url_problem(text: str, *, max_bytes: int = MAX_URL_BYTES) -> str | None:
    """Return what is wrong with an http or https URL, None if it can be called.

    The text completes a sentence that begins with the setting's name: `f"TARGET_URL is {problem}"`. A host with an
    empty label, as of `https://$APP.example.com/` without APP, makes resolvers and HTTP libraries raise errors of all
    kinds, so it is refused where it is set.
    """
    if _NOT_IN_A_URL.search(text) or not text.isprintable():
        return NOT_A_HTTP_URL
    if len(text.encode()) > max_bytes:
        return f"longer than {max_bytes} bytes"
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        return NOT_A_HTTP_URL
    if url.scheme not in ("http", "https") or not host or port == 0 or not _NETLOC.fullmatch(url.netloc):
        return NOT_A_HTTP_URL
    if host in ("http", "https") and url.path.startswith("//"):
        return f"{NOT_A_HTTP_URL}: it has its scheme twice"
    problem = _host_problem(host, is_bracketed=url.netloc.rpartition("@")[2].startswith("["))
    return None if problem is None else f"{NOT_A_HTTP_URL}: its host {quoted(host)} {problem}"


def without_secrets(url: str) -> str:
    """Return a URL as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def with_query(url: str, query: str) -> str:
    """Return `url` with `query` (encoded, may be empty) added to its own."""
    if not query:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"{parts.query}&{query}" if parts.query else query))


def with_path(url: str, path: str) -> str:
    """Return `url` with `path` (encoded, may be empty) behind its own."""
    if not path:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))


def quoted_url(text: str) -> str:
    """Return in quotation marks what was given for a URL, without what may be a user, a password or a query."""
    return quoted(_SECRET_PARTS.sub(lambda found: "//...@" if found[0].startswith("/") else "?...", text))


def is_loopback(host: str) -> bool:
    """Return whether a server at `host`, a name or an address, can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_local(host: str) -> bool:
    """Return whether `host` means nothing on the internet: a private or loopback address, or such a name.

    Raises UnicodeError for a host in which `url_problem` sees one.
    """
    name = ascii_name(host).lower().removesuffix(".")
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return "." not in name or name.endswith((".local", ".localhost", ".internal"))


def _host_problem(host: str, *, is_bracketed: bool) -> str | None:
    if is_bracketed:
        return None if _is_address(ipaddress.IPv6Address, host) else "is not an IPv6 address"
    try:
        host_ascii = ascii_name(host)
    except UnicodeError:
        return "is not a name that DNS can hold"
    name = host_ascii.removesuffix(".")
    labels = name.split(".")
    if "" in labels:
        return "has an empty part, as of a variable that is not set"
    if len(name) > MAX_HOST_LENGTH:
        return f"is longer than {MAX_HOST_LENGTH} characters"
    # Resolvers take `127.1` for an address, each in its own way; a name never ends in a number.
    if _LOOKS_NUMERIC.fullmatch(labels[-1]):
        return None if _is_address(ipaddress.IPv4Address, host_ascii) else "is not an IPv4 address"
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "has a part that is not 1 to 63 letters, digits and hyphens within it"
    return None


def ascii_name(host: str) -> str:
    """Return a host's name as DNS has it. Raises UnicodeError."""
    if host.isascii():
        return host
    import idna  # few hosts need it

    return idna.encode(host, uts46=True).decode()


def _is_address(kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address], host: str) -> bool:
    try:
        kind(host)
    except ValueError:
        return False
    return "%" not in host  # a zone means something on one machine only
