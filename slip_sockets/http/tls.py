"""TLS: the context, and error texts that say what to do."""

from __future__ import annotations

import functools
import ssl

from ..gateway.errors import HttpError, HttpFailure

_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
    "UNEXPECTED_MESSAGE",
    "PACKET_LENGTH_TOO_LONG",
)
"""OpenSSL's reasons, old and new, for bytes that are not TLS."""
_ALERT = "_ALERT_"
_NO_SUCH_NAME = "_UNRECOGNIZED_NAME"
_EXPIRED = 10
_NOT_YET_VALID = 9
_WRONG_NAME = (62, 64)
_SELF_SIGNED = 18
_UNKNOWN_ISSUER = (2, 19, 20, 21)
"""https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/"""


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the one context of the process, which trusts the system's certificates: reading them takes 20 ms of
    processor time.

    From Python 3.13 on the default context also refuses what RFC 5280 forbids and browsers take, such as a root of
    Mozilla's own list without a key identifier, and the roots of many companies. Who signs is checked all the same.
    https://github.com/python/cpython/issues/107361
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def tls_error(error: ssl.SSLError, name: str) -> HttpError:
    """Return what went wrong with the host `name`, and what to do."""
    return HttpError(_problem(error, name), HttpFailure.TLS)


def _problem(error: ssl.SSLError, name: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        match error.verify_code:
            case code if code == _EXPIRED:
                return f"its certificate has expired. Renew that of {name}"
            case code if code == _NOT_YET_VALID:
                return "its certificate is not valid yet. Compare the clocks"
            case code if code in _WRONG_NAME:
                return (
                    f"its certificate is for another name than {name}. Use the name that it has, or get one for {name}"
                )
            case code if code == _SELF_SIGNED:
                return f"its certificate is self-signed. Give {name} one of a public certificate authority"
            case code if code in _UNKNOWN_ISSUER:
                return (
                    f"the issuer of its certificate is not known here ({error.verify_message}). "
                    f"Have {name} send the whole chain, of a public certificate authority"
                )
        return f"its certificate is not valid: {error.verify_message}"
    if error.reason in _NOT_TLS:
        return "it does not speak TLS. If it speaks http, begin its URL with http://"
    reason = error.reason or " ".join(str(error).split())
    if reason.endswith(_NO_SUCH_NAME):
        return f"it has no certificate for {name} ({reason}). Use a name that it has one for"
    if _ALERT in reason or reason == "UNSUPPORTED_PROTOCOL":
        return f"it refuses the TLS handshake ({reason}). Is its TLS older than 1.2, or does it ask for a certificate?"
    return f"TLS fails: {reason}"
