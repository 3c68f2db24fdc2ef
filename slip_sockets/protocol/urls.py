"""Checks of URLs and hosts, for all that reads settings: the development server, the stacks, publishers."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_NOT_IN_A_URL = re.compile(r"""[\x00-\x20\x7f"<>\\^`{|}\ud800-\udfff]""")
"""Braces above all, because Terraform expands `${...}`."""

NOT_A_HTTP_URL = "not an http or https URL"
"""Error text for a TARGET_URL that is not an http or https URL with a host."""


def is_http_url(text: str) -> bool:
    """Return whether `text` is an http or https URL with a host."""
    if _NOT_IN_A_URL.search(text):
        return False
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether a server at `host`, a name or an address, can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
