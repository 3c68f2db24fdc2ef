"""Why a call had no response, out of the errors that HTTP libraries wrap several times."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors that it stands for, from the outermost in."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if any(each is other for other in found):
            continue
        found.append(each)
        yield each
        inside = (each.__cause__ or each.__context__, getattr(each, "reason", None), *each.args)
        waiting += [inner for inner in inside if isinstance(inner, BaseException)]


def reason(error: Exception, timeout_s: float) -> str:
    """Return what went wrong, in the words of the system where it has some.

    Those of the libraries have the URL in them, with its query.
    """
    *_, last = causes(error)
    for each in causes(error):
        if message := getattr(each, "verify_message", ""):
            return f"its certificate is not trusted: {message}"
    for each in causes(error):
        if isinstance(each, ssl.SSLError):
            return f"TLS failed: {each.reason or each}"
        if isinstance(each, socket.gaierror) and each.strerror:
            return each.strerror
        if isinstance(each, OSError) and each.errno and each.errno > 0:
            return os.strerror(each.errno)
    if any(isinstance(each, TimeoutError) for each in causes(error)):
        return f"it took longer than {timeout_s:g} s"
    return str(last) or type(last).__name__
