"""Undoes the codings of a body. https://www.rfc-editor.org/rfc/rfc9110#section-8.4"""

from __future__ import annotations

import zlib

from .errors import BadResponse, ResponseTooLarge

MAX_CODINGS = 5
"""A body with more of them is left as it is: each takes its time."""

_CODINGS = ("gzip", "x-gzip", "deflate")
_GZIP = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 4096
"""At the end of each gzip member zlib copies the bytes behind it. Given whole, a body of 10 MB that consists of empty
members takes minutes."""


def unknown_codings(content_encoding: str) -> list[str]:
    """Return the codings of a Content-Encoding that are not undone, because they were not asked for."""
    codings = [coding.strip(" \t") for coding in content_encoding.lower().split(",")]
    return [coding for coding in codings if coding not in (*_CODINGS, "identity", "")]


def undone(body: bytes, content_encoding: str, limit: int, *, may_be_cut: bool) -> bytes:
    """Return the body without the codings that a Content-Encoding names; as it is, where one of them is not known.

    Also undone it may have `limit` bytes. With `may_be_cut` it is cut there, and may be incomplete. Raises BadResponse.
    """
    codings = [coding.strip(" \t") for coding in content_encoding.lower().split(",")]  # in the order of their use
    if len(codings) > MAX_CODINGS or not all(coding in _CODINGS for coding in codings):
        return body
    try:
        for coding in reversed(codings):
            body = _decompressed(body, coding, limit, may_be_cut=may_be_cut)
    except zlib.error as error:
        raise BadResponse("its body is not in the encoding that its Content-Encoding names") from error
    return body


def _decompressed(body: bytes, coding: str, limit: int, *, may_be_cut: bool) -> bytes:
    """Undo gzip (any number of members) or deflate (with zlib's header, as it should be, or without).

    Bytes behind the end are ignored, as by other clients.
    """
    if not body:  # as with codings that were not needed
        return body
    is_gzip = coding != "deflate"
    wbits = _GZIP if is_gzip else zlib.MAX_WBITS if body[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS
    decompressor = zlib.decompressobj(wbits)
    undone = bytearray()
    at = 0
    while at < len(body):
        if decompressor.eof:
            if wbits < 0:  # without header and checksum, text may pass for deflate up to here
                raise zlib.error("bytes behind the end")
            if not is_gzip or not _GZIP_MAGIC.startswith(body[at : at + 2]):
                break
            decompressor = zlib.decompressobj(wbits)
        piece = body[at : at + _PIECE_BYTES]
        undone += decompressor.decompress(piece, limit + 1 - len(undone))
        if len(undone) > limit:
            if may_be_cut:
                return bytes(undone[:limit])
            raise ResponseTooLarge(f"more than {limit} bytes")
        at += len(piece) - len(decompressor.unused_data)
    if not decompressor.eof and not may_be_cut:
        raise BadResponse("its compressed body is cut off")
    return bytes(undone)
