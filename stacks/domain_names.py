"""Which names a certificate of ACM can have."""

from __future__ import annotations

import re

import idna

from slip_sockets.protocol.urls import MAX_HOST_LENGTH

_HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NOT_PUBLIC = frozenset(("alt", "example", "internal", "invalid", "local", "localhost", "onion", "test"))
"""https://www.iana.org/assignments/special-use-domain-names/, and ICANN's `internal`: no authority certifies them."""
_OF_AMAZON = ("amazonaws.com", "cloudfront.net", "elasticbeanstalk.com")
"""https://docs.aws.amazon.com/acm/latest/userguide/troubleshooting-failed.html"""


def is_domain(name: str) -> bool:
    """Return whether a name in lower case is one that ACM certifies: below a public top-level domain, labels real."""
    *labels, last = name.split(".")
    # An IP address is not a domain name, which never ends in a number.
    if (
        not labels
        or last.isdigit()
        or len(last) < 2
        or last in _NOT_PUBLIC
        or any(f".{name}".endswith(f".{each}") for each in _OF_AMAZON)
    ):
        return False
    if len(name) > MAX_HOST_LENGTH or not all(_HOST_LABEL.fullmatch(label) for label in (*labels, last)):
        return False
    try:
        idna.decode(name)  # refuses `ab--cd`, and after `xn--` what no name becomes
    except UnicodeError:
        return False
    return True
