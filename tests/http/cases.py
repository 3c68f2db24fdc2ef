"""Responses by name, written out: what each must be read as, by whoever reads it."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field

from slip_sockets.http.errors import BadResponse

OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNKED_GZIP = OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Good:
    """`headers` beside those that are only about where the response ends."""

    data: bytes
    body: bytes = b"hi"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    keeps_alive: bool = True
    ends_with_connection: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    data: bytes
    text: str
    error: type[BadResponse] = BadResponse


def compressed(data: bytes) -> bytes:
    """Return one gzip member, always the same."""
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def with_length(body: bytes, *lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([first, *lines, b"Content-Length: %d" % len(body), b"", body])


def in_chunks(*chunks: bytes) -> bytes:
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


TEXT = b"to be, or not to be, that is the question: " * 3
GZIP = b"Content-Encoding: gzip"
DEFLATE = b"Content-Encoding: deflate"

GOOD = {
    # Where a response ends
    "length": Good(PLAIN),
    "length of nothing": Good(OK + b"Content-Length: 0\r\n\r\n", b""),
    "length with zeros and blanks": Good(OK + b"Content-Length: \t002 \t\r\n\r\nhi"),
    "length twice": Good(OK + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\nhi"),
    "length as a list": Good(OK + b"Content-Length: 2, 2\r\n\r\nhi"),
    "until close": Good(OK + b"\r\nhi", keeps_alive=False, ends_with_connection=True),
    "until close, nothing": Good(OK + b"\r\n", b"", keeps_alive=False, ends_with_connection=True),
    "until close, of HTTP/1.0": Good(b"HTTP/1.0 200 OK\r\n\r\nhi", keeps_alive=False, ends_with_connection=True),
    "until close, though it says keep-alive": Good(
        OK + b"Connection: keep-alive\r\n\r\nhi", keeps_alive=False, ends_with_connection=True
    ),
    "chunked": Good(in_chunks(b"h", b"i")),
    "chunked, nothing": Good(in_chunks(), b""),
    "chunked, in capitals": Good(OK + b"TRANSFER-ENCODING:\tChunKed \r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    "chunked, sizes in both cases and with zeros": Good(
        CHUNKED + b"A\r\n0123456789\r\na\r\n0123456789\r\n0002\r\nhi\r\n000\r\n\r\n", b"01234567890123456789hi"
    ),
    "chunked, with extensions": Good(CHUNKED + b'1;a\r\nh\r\n1;b=c;d="e f"\r\ni\r\n0;g=h\r\n\r\n'),
    "chunked, with blanks behind sizes": Good(CHUNKED + b"1  \r\nh\r\n1 ;a=b\r\ni\r\n0 \r\n\r\n"),
    "chunked, with trailers": Good(CHUNKED + b"2\r\nhi\r\n0\r\nExpires: never\r\nStatus: 500\r\n\r\n"),
    "chunked, with bytes that look like its end": Good(in_chunks(b"\r\n0\r\n\r\n", b"hi"), b"\r\n0\r\n\r\nhi"),
    "length beside chunks": Good(
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", keeps_alive=False
    ),
    "chunks beside length": Good(
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        keeps_alive=False,
    ),
    "identity, until close": Good(
        OK + b"Transfer-Encoding: identity\r\n\r\nhi", keeps_alive=False, ends_with_connection=True
    ),
    "identity, with length": Good(OK + b"Transfer-Encoding: Identity\r\nContent-Length: 2\r\n\r\nhi"),
    "204": Good(b"HTTP/1.1 204 No Content\r\n\r\n", b"", 204),
    "204 with a length of 0": Good(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"", 204),
    "204 with a length": Good(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", b"", 204, keeps_alive=False),
    "204 with lengths that differ": Good(
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", b"", 204, keeps_alive=False
    ),
    "204 with a length that is not a number": Good(
        b"HTTP/1.1 204 No Content\r\nContent-Length: none\r\n\r\n", b"", 204, keeps_alive=False
    ),
    "204 with a length beside chunks": Good(
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"",
        204,
        keeps_alive=False,
    ),
    "204 with chunks": Good(
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", b"", 204, keeps_alive=False
    ),
    "304 with the length of what is not sent": Good(
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\nETag: x\r\n\r\n",
        b"",
        304,
        {"etag": "x"},
        keeps_alive=False,
    ),
    # Whether the connection is kept
    "closes": Good(with_length(b"hi", b"Connection: close"), keeps_alive=False),
    "closes, in capitals and a list": Good(with_length(b"hi", b"Connection: x, CLOSE"), keeps_alive=False),
    "closes and keeps": Good(with_length(b"hi", b"Connection: keep-alive", b"Connection: close"), keeps_alive=False),
    "chunked and closes": Good(
        OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", keeps_alive=False
    ),
    "HTTP/1.0": Good(with_length(b"hi", first=b"HTTP/1.0 200 OK"), keeps_alive=False),
    "HTTP/1.0 that keeps": Good(with_length(b"hi", b"Connection: Keep-Alive", first=b"HTTP/1.0 200 OK")),
    "HTTP/1.0 that keeps and closes": Good(
        with_length(b"hi", b"Connection: keep-alive, Close", first=b"HTTP/1.0 200 OK"), keeps_alive=False
    ),
    "HTTP/1.0 that keeps and closes, with 204": Good(
        b"HTTP/1.0 204 No Content\r\nConnection: keep-alive, Close\r\n\r\n", b"", 204, keeps_alive=False
    ),
    "HTTP/1.0 with chunks": Good(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        keeps_alive=False,
    ),
    "upgrade that is only offered": Good(
        with_length(b"hi", b"Connection: upgrade", b"Upgrade: h2c"), headers={"upgrade": "h2c"}
    ),
    # The status line
    "no reason": Good(with_length(b"hi", first=b"HTTP/1.1 200")),
    "no reason, but its blank": Good(with_length(b"hi", first=b"HTTP/1.1 200 ")),
    "reason that is not ASCII": Good(with_length(b"hi", first="HTTP/1.1 500 Défaut".encode()), status=500),
    "status of no class": Good(with_length(b"hi", first=b"HTTP/1.1 999 Request denied"), status=999),
    # Interim responses
    "100": Good(b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN),
    "102, 103 and 199": Good(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103\r\nLink: </a.css>\r\nContent-Length: 9\r\n\r\n"
        b"HTTP/1.1 199 \r\n\r\n" + PLAIN
    ),
    "interim with bare line feeds": Good(b"HTTP/1.1 103 Early Hints\nLink: x\n\n" + PLAIN),
    "interim before 204": Good(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b"", 204),
    # Lines
    "bare line feeds": Good(b"HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nhi", headers={"a": "b"}),
    "a bare line feed": Good(OK + b"A: b\nContent-Length: 2\r\n\r\nhi", headers={"a": "b"}),
    "a bare line feed at the end of the head": Good(OK + b"Content-Length: 2\r\n\nhi"),
    "a bare line feed before the end of the head": Good(OK + b"Content-Length: 2\n\r\nhi"),
    "bare line feeds, then a body with empty lines": Good(
        b"HTTP/1.1 200 OK\nContent-Length: 8\n\n\n\r\n\r\n\nhi", b"\n\r\n\r\n\nhi", headers={}
    ),
    "folded": Good(with_length(b"hi", b"A: b\r\n c\r\n\t d"), headers={"a": "b c d"}),
    "folded length": Good(OK + b"Content-Length:\r\n 2\r\n\r\nhi"),
    "folded, with bare line feeds": Good(b"HTTP/1.1 200 OK\nA: b\n c\nContent-Length: 2\n\nhi", headers={"a": "b c"}),
    "folded before the first header": Good(OK + b" A: b\r\nContent-Length: 2\r\n\r\nhi"),
    # Headers
    "names in any case": Good(with_length(b"hi", b"x-AMZN-errorType: Gone"), headers={"x-amzn-errortype": "Gone"}),
    "blanks around values": Good(with_length(b"hi", b"A: \t b c \t", b"B:d"), headers={"a": "b c", "b": "d"}),
    "empty value": Good(with_length(b"hi", b"A:", b"B: "), headers={"a": "", "b": ""}),
    "repeated": Good(with_length(b"hi", b"A: 1", b"B: x", b"a: 2", b"A:"), headers={"a": "1, 2, ", "b": "x"}),
    "values that are not ASCII": Good(
        with_length(b"hi", "A: à".encode(), b"B: \xa0\x85x\xff"), headers={"a": "Ã\xa0", "b": "\xa0\x85x\xff"}
    ),
    "colons in a value": Good(with_length(b"hi", b"Location: http://a:1/"), headers={"location": "http://a:1/"}),
    # Content codings
    "gzip": Good(with_length(compressed(TEXT), GZIP), TEXT, headers={"content-encoding": "gzip"}),
    "x-gzip, in capitals": Good(
        with_length(compressed(TEXT), b"Content-Encoding: X-GZIP"), TEXT, headers={"content-encoding": "X-GZIP"}
    ),
    "gzip in chunks": Good(
        CHUNKED_GZIP + in_chunks(*(bytes([byte]) for byte in compressed(b"hi")))[len(CHUNKED) :],
        headers={"content-encoding": "gzip"},
    ),
    "gzip until close": Good(
        OK + GZIP + b"\r\n\r\n" + compressed(TEXT),
        TEXT,
        headers={"content-encoding": "gzip"},
        keeps_alive=False,
        ends_with_connection=True,
    ),
    "gzip of several members": Good(
        with_length(compressed(b"h") + compressed(b"") + compressed(b"i"), GZIP),
        headers={"content-encoding": "gzip"},
    ),
    "gzip with bytes behind": Good(
        with_length(compressed(b"hi") + b"\0\0garbage", GZIP), headers={"content-encoding": "gzip"}
    ),
    "gzip of nothing": Good(with_length(compressed(b""), GZIP), b"", headers={"content-encoding": "gzip"}),
    "gzip that was not needed": Good(with_length(b"", GZIP), b"", headers={"content-encoding": "gzip"}),
    "gzip of an error": Good(
        with_length(compressed(TEXT), GZIP, first=b"HTTP/1.1 500 Oh"),
        TEXT,
        500,
        headers={"content-encoding": "gzip"},
    ),
    "deflate": Good(with_length(zlib.compress(TEXT), DEFLATE), TEXT, headers={"content-encoding": "deflate"}),
    "deflate without a header": Good(
        with_length(raw_deflate(TEXT), DEFLATE), TEXT, headers={"content-encoding": "deflate"}
    ),
    "deflate with bytes behind": Good(
        with_length(zlib.compress(b"hi") + b"\n", DEFLATE), headers={"content-encoding": "deflate"}
    ),
    "coding that is not known": Good(with_length(b"hi", b"Content-Encoding: br"), headers={"content-encoding": "br"}),
    "gzip twice": Good(
        with_length(compressed(compressed(b"hi")), b"Content-Encoding: gzip", b"Content-Encoding: gzip"),
        headers={"content-encoding": "gzip, gzip"},
    ),
    "deflate, then gzip": Good(
        with_length(compressed(raw_deflate(TEXT)), b"Content-Encoding: Deflate ,gzip"),
        TEXT,
        headers={"content-encoding": "Deflate ,gzip"},
    ),
    "gzip twice of nothing": Good(
        with_length(compressed(b""), b"Content-Encoding: gzip, gzip"),
        b"",
        headers={"content-encoding": "gzip, gzip"},
    ),
    "codings of which one is not known": Good(
        with_length(b"hi", b"Content-Encoding: gzip, br"), headers={"content-encoding": "gzip, br"}
    ),
    "coding that is none": Good(
        with_length(b"hi", b"Content-Encoding: identity"), headers={"content-encoding": "identity"}
    ),
}

NOT_HTTP = "its response is not HTTP/1.1"
DIFFER = f"{NOT_HTTP}: its Content-Length lines differ"
NOT_ASKED_FOR = f"{NOT_HTTP}: it has a Transfer-Encoding that was not asked for"
NOT_CODED = "its body is not in the encoding that its Content-Encoding names"

REFUSED = {
    # Not HTTP at all
    "TLS alert": Refused(bytes.fromhex("15030300020228"), NOT_HTTP),
    "SSH banner": Refused(b"SSH-2.0-OpenSSH_9.6\r\n", NOT_HTTP),
    "HTTP/2 settings": Refused(bytes.fromhex("000012040000000000"), NOT_HTTP),
    "HTTP/2 in words": Refused(b"HTTP/2 200\r\n\r\n", NOT_HTTP),
    "HTTP/0.9": Refused(b"<html>hi</html>", NOT_HTTP),
    "another version": Refused(b"HTTP/1.2 200 OK\r\n\r\n", NOT_HTTP),
    "in small letters": Refused(b"http/1.1 200 OK\r\n\r\n", NOT_HTTP),
    "an empty line first": Refused(b"\r\n" + PLAIN, NOT_HTTP),
    # The status line
    "no status": Refused(b"HTTP/1.1\r\n\r\n", NOT_HTTP),
    "status of two digits": Refused(b"HTTP/1.1 20 OK\r\n\r\n", f"{NOT_HTTP}: Invalid status code"),
    "status of four digits": Refused(b"HTTP/1.1 2000 OK\r\n\r\n", f"{NOT_HTTP}: Invalid response status"),
    "status 0": Refused(b"HTTP/1.1 000 OK\r\n\r\n", NOT_HTTP),
    "status 99": Refused(b"HTTP/1.1 099 OK\r\n\r\n", NOT_HTTP),
    "two blanks": Refused(b"HTTP/1.1  200 OK\r\n\r\n", NOT_HTTP),
    "101": Refused(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", NOT_HTTP),
    "101 after 100": Refused(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n", NOT_HTTP),
    # Headers
    "no colon": Refused(OK + b"no colon\r\n\r\n", f"{NOT_HTTP}: Invalid header token"),
    "no name": Refused(OK + b": a\r\n\r\n", f"{NOT_HTTP}: Invalid header token"),
    "blank before the colon": Refused(OK + b"Content-Length : 2\r\n\r\nhi", f"{NOT_HTTP}: Invalid header field char"),
    "name that is not ASCII": Refused(OK + "é: a\r\n\r\n".encode(), f"{NOT_HTTP}: Invalid header token"),
    "NUL in a value": Refused(OK + b"A: b\0c\r\n\r\n", f"{NOT_HTTP}: Invalid header value char"),
    "bare carriage return": Refused(
        OK + b"A: b\rContent-Length: 2\r\n\r\n", f"{NOT_HTTP}: Missing expected LF after header value"
    ),
    # Lengths
    "lengths that differ": Refused(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", DIFFER),
    "lengths that differ in a list": Refused(OK + b"Content-Length: 2, 3\r\n\r\nhi!", DIFFER),
    "lengths that differ beside chunks": Refused(
        OK + b"Content-Length: 2, 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", DIFFER
    ),
    "length and an empty one": Refused(OK + b"Content-Length: 2,\r\n\r\nhi", DIFFER),
    "length with a sign": Refused(
        OK + b"Content-Length: +2\r\n\r\nhi", f"{NOT_HTTP}: Invalid character in Content-Length"
    ),
    "negative length": Refused(
        OK + b"Content-Length: -2\r\n\r\nhi", f"{NOT_HTTP}: Invalid character in Content-Length"
    ),
    "length in hexadecimal": Refused(
        OK + b"Content-Length: 0x2\r\n\r\nhi", f"{NOT_HTTP}: Invalid character in Content-Length"
    ),
    "empty length": Refused(OK + b"Content-Length:\r\n\r\nhi", f"{NOT_HTTP}: Empty Content-Length"),
    "length beyond 64 bits": Refused(
        OK + b"Content-Length: 18446744073709551618\r\n\r\nhi", f"{NOT_HTTP}: Content-Length overflow"
    ),
    # Chunks
    "gzip as transfer coding": Refused(
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", NOT_ASKED_FOR
    ),
    "gzip as transfer coding, in a line of its own": Refused(
        OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", NOT_ASKED_FOR
    ),
    "gzip as the last transfer coding": Refused(OK + b"Transfer-Encoding: chunked, gzip\r\n\r\nhi", NOT_ASKED_FOR),
    "transfer coding that only ends in chunked": Refused(OK + b"Transfer-Encoding: xchunked\r\n\r\nhi", NOT_ASKED_FOR),
    "chunked twice": Refused(OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", NOT_ASKED_FOR),
    "chunk without a size": Refused(CHUNKED + b"\r\nhi\r\n0\r\n\r\n", f"{NOT_HTTP}: Invalid character in chunk size"),
    "chunk size that is not a number": Refused(
        CHUNKED + b"hi\r\n0\r\n\r\n", f"{NOT_HTTP}: Invalid character in chunk size"
    ),
    "negative chunk size": Refused(CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n", f"{NOT_HTTP}: Invalid character in chunk size"),
    "chunk size with 0x": Refused(CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n", f"{NOT_HTTP}: Invalid character in chunk size"),
    "chunk size beyond 64 bits": Refused(
        CHUNKED + b"10000000000000002\r\nhi\r\n0\r\n\r\n", f"{NOT_HTTP}: Chunk size overflow"
    ),
    "chunk longer than its size": Refused(
        CHUNKED + b"2\r\nhi!\r\n0\r\n\r\n", f"{NOT_HTTP}: Expected LF after chunk data"
    ),
    "chunk shorter than its size": Refused(
        CHUNKED + b"3\r\nhi\r\n0\r\n\r\n", f"{NOT_HTTP}: Missing expected CR after chunk data"
    ),
    "bare line feed behind a chunk size": Refused(
        CHUNKED + b"2\nhi\r\n0\r\n\r\n", f"{NOT_HTTP}: Missing expected CR after chunk size"
    ),
    "trailer without a colon": Refused(CHUNKED + b"0\r\nno colon\r\n\r\n", f"{NOT_HTTP}: Invalid header token"),
    # Content codings
    "not gzip": Refused(with_length(b"confidential", GZIP), NOT_CODED),
    "not gzip, but valid as deflate without a header": Refused(with_length(raw_deflate(b"hi"), GZIP), NOT_CODED),
    "not gzip twice": Refused(with_length(compressed(b"hi"), b"Content-Encoding: gzip, gzip"), NOT_CODED),
    "not deflate": Refused(with_length(b'{"events": []}', DEFLATE), NOT_CODED),
    "deflate without a header, with bytes behind": Refused(with_length(raw_deflate(b"hi") + b"!", DEFLATE), NOT_CODED),
    "gzip with a wrong checksum": Refused(with_length(compressed(b"hi")[:-8] + bytes(8), GZIP), NOT_CODED),
    "second gzip member broken": Refused(with_length(compressed(b"hi") + b"\x1f\x8b\xff\xff", GZIP), NOT_CODED),
    "gzip cut off": Refused(with_length(compressed(b"hi")[:-1], GZIP), "its compressed body is cut off"),
    "second gzip member cut off": Refused(
        with_length(compressed(b"hi") + compressed(b"ho")[:1], GZIP), "its compressed body is cut off"
    ),
    "deflate cut off": Refused(with_length(zlib.compress(b"hi")[:-1], DEFLATE), "its compressed body is cut off"),
    "deflate without a header cut off": Refused(
        with_length(raw_deflate(TEXT)[:-3], DEFLATE), "its compressed body is cut off"
    ),
}
