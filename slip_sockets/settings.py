"""What a setting must be like, wherever it is read: by the development server, the stacks or a publisher."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_NOT_IN_A_URL = re.compile(r"""[\x00-\x20\x7f"<>\\^`{|}\ud800-\udfff]""")
"""Braces above all: Terraform would take `${...}` for a template."""

NO_HTTP_URL = "not an http or https URL"
"""Why a backend at what is none cannot be told anything."""


def is_http_url(text: str) -> bool:
    """Tell whether `text` is an http or https URL with a host."""
    if _NOT_IN_A_URL.search(text):
        return False
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Tell whether who listens at `host`, a name or an address, is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
