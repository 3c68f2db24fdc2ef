"""How servers prove who they are, to the functions."""

from __future__ import annotations

import functools
import ssl


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the one context of the process: reading the system's certificates takes 20 ms of processor time."""
    return ssl.create_default_context()
