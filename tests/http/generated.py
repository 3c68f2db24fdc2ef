"""Makes responses by chance, and knows without reading them what they must be read as."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from slip_sockets.http.errors import BadResponse, CutOff, ResponseTooLarge
from slip_sockets.http.reader import MAX_HEAD_BYTES, MAX_LINE_BYTES

from .cases import compressed, raw_deflate
from .reading import MAX_BYTES

STATUSES = (200, 200, 200, 201, 202, 204, 207, 299, 302, 304, 400, 404, 410, 413, 429, 500, 502, 503, 599, 999)
REASONS = (b" OK", b" Not Found", b"", b" ", b" caf\xc3\xa9", b" HTTP/1.1 200 OK")
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz"
VISIBLE = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
CODINGS = ("", "", "", "gzip", "gzip", "members", "bytes behind", "x-gzip", "zlib", "raw", "br", "gzip, deflate")
FRAMINGS = ("length", "length", "chunked", "chunked", "until close", "twice", "list", "beside chunks")
CONNECTIONS = ("", "", "", "close", "keep-alive", "CLOSE, x", "Keep-Alive", "keep-alive, close", "upgrade")


@dataclass(slots=True)
class Line:
    name: bytes
    written: bytes
    """What is sent behind the colon."""
    value: bytes
    """As which it is read."""


@dataclass(slots=True)
class Generated:
    """`error` is what it must be refused with, None where it is a response. `oddities` are what other clients may read
    otherwise."""

    status: int
    interim: bytes = b""
    first: bytes = b""
    lines: list[Line] = field(default_factory=list)
    line_ends: list[bytes] = field(default_factory=list)
    framing: str = ""
    sent_body: bytes = b""
    behind: bytes = b""
    end: int | None = None
    """Where it is cut off."""
    body: bytes = b""
    keeps_alive: bool = True
    error: type[BadResponse] | None = None
    oddities: set[str] = field(default_factory=set)

    @property
    def has_body(self) -> bool:
        return self.status not in (204, 304)

    @property
    def head(self) -> bytes:
        lines = [self.first, *(line.name + b":" + line.written for line in self.lines), b""]
        ends = self.line_ends
        return self.interim + b"".join(line + ends[at % len(ends)] for at, line in enumerate(lines))

    @property
    def data(self) -> bytes:
        return (self.head + self.sent_body + self.behind)[: self.end]

    @property
    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in self.lines:
            name, value = line.name.decode("latin-1").lower(), line.value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers


def generate(rng: random.Random) -> Generated:
    """Return a response; of three, one has a fault."""
    made = Generated(rng.choice(STATUSES))
    made.line_ends = rng.choices(([b"\r\n"], [b"\n"], [b"\r\n", b"\n", b"\r\n", b"\r\n", b"\n"]), (85, 7, 8))[0]
    _add_headers(rng, made)
    _add_interim_responses(rng, made)
    raw = _add_body(rng, made)
    _frame(rng, made, raw)
    version, connection = rng.choices((b"1.1", b"1.0"), (88, 12))[0], rng.choice(CONNECTIONS)
    made.first = b"HTTP/%b %d%b" % (version, made.status, rng.choice(REASONS))
    if connection:
        _add(rng, made, "Connection", connection)
    options = {option.strip().lower() for option in connection.split(",")}
    made.keeps_alive = (
        "close" not in options
        and made.framing in ("none", "length", "twice", "list", "chunked")
        and (version == b"1.1" or ("keep-alive" in options and made.framing != "chunked"))
    )
    rng.shuffle(made.lines)
    if made.error is None and rng.random() < 0.35:
        rng.choice(FAULTS)(rng, made)
    elif made.error is None and made.framing != "until close" and rng.random() < 0.05:
        made.behind, made.keeps_alive = rng.choice((b"!", b"HTTP/1.1 200 OK\r\n\r\n", b"H", b"\0\0")), False
    return made


def _add(rng: random.Random, made: Generated, name: str, value: str) -> None:
    cased = rng.choice((name, name.lower(), name.upper(), name.swapcase())).encode()
    made.lines.append(Line(cased, rng.choice((b"", b" ", b"\t ")) + value.encode(), value.encode()))


def _add_headers(rng: random.Random, made: Generated) -> None:
    for _ in range(rng.choice((0, 0, 1, 2, 4, 12))):
        name = b"X" + bytes(rng.choices(TOKEN, k=rng.choice((1, 4, 20))))
        for _ in range(rng.choice((1, 1, 1, 2))):
            written = value = b""
            for _ in range(rng.choice((0, 1, 1, 2, 3))):
                word = bytes(rng.choices(VISIBLE, k=rng.choice((1, 3, 30, 500))))
                is_folded = bool(value) and rng.random() < 0.1
                between = b"" if not value else b" " if is_folded else rng.choice((b" ", b"  ", b"\t"))
                if is_folded:
                    made.oddities.add("folded")
                written += (rng.choice((b"\r\n", b"\n")) + rng.choice((b" ", b"\t  ")) if is_folded else between) + word
                value += between + word
            behind = rng.choice((b"", b"", b" ", b" \t")) if value else b""
            if behind:
                made.oddities.add("blanks behind a value")
            made.lines.append(Line(rng.choice((name, name.lower())), rng.choice((b"", b" ")) + written + behind, value))


def _add_interim_responses(rng: random.Random, made: Generated) -> None:
    for _ in range(rng.choice((0, 0, 0, 0, 1, 3))):
        status, end = rng.choice((100, 100, 102, 103, 199)), made.line_ends[0]
        if status != 100:
            made.oddities.add("interim other than 100")
        made.interim += b"HTTP/1.1 %d Wait" % status + end + rng.choice((b"", b"Link: </a>" + end)) + end


def _add_body(rng: random.Random, made: Generated) -> bytes:
    """Return the body as it is coded."""
    size = rng.choice((0, 1, rng.randrange(40), rng.randrange(3000), MAX_BYTES + rng.randrange(-1, 2)))
    text = rng.choice((b"\r\n0\r\n\r\n", b'{"events": []}', b"HTTP/1.1 200 OK\r\n"))
    body = rng.choice((rng.randbytes(size), (text * size)[:size]))
    coding = rng.choice(CODINGS)
    name, layers = _coded(rng, coding, body)
    if name:
        _add(rng, made, "Content-Encoding", name)
    if coding in ("x-gzip", "br", "bytes behind", "gzip, deflate"):
        made.oddities.add(coding)
    if made.has_body:
        made.body = body
        if any(len(layer) > MAX_BYTES for layer in (body, *layers)):
            made.error = ResponseTooLarge
    return layers[-1]


def _coded(rng: random.Random, coding: str, body: bytes) -> tuple[str, list[bytes]]:
    """Return the name of a coding, and the body after each of its steps."""
    match coding:
        case "members":
            at = rng.randrange(len(body) + 1)
            return "gzip", [compressed(body[:at]) + compressed(body[at:])]
        case "bytes behind":
            return "gzip", [compressed(body) + bytes(8)]
        case "gzip" | "x-gzip":
            return coding, [compressed(body)]
        case "zlib":
            return "deflate", [zlib.compress(body)]
        case "raw":
            return "deflate", [raw_deflate(body)]
        case "gzip, deflate":
            return coding, [compressed(body), zlib.compress(compressed(body))]
        case _:
            return coding, [body]


def _frame(rng: random.Random, made: Generated, raw: bytes) -> None:
    """Add the lines that tell where the body ends, and the body as it is sent."""
    framing = rng.choice(FRAMINGS)
    length = f"{len(raw)}"
    match framing:
        case "length":
            _add(rng, made, "Content-Length", length)
        case "twice":
            _add(rng, made, "Content-Length", length)
            _add(rng, made, "Content-Length", length)
        case "list":
            _add(rng, made, "Content-Length", length + rng.choice((",", ", ", " ,\t")) + length)
        case "chunked" | "beside chunks":
            _add(rng, made, "Transfer-Encoding", rng.choice(("chunked", "Chunked")))
            if framing == "beside chunks":
                _add(rng, made, "Content-Length", rng.choice((length, "0", "3")))
    if framing in ("twice", "list", "beside chunks"):
        made.oddities.add(framing)
    made.framing, made.sent_body = framing, raw
    if "chunk" in framing:
        made.sent_body = _in_chunks(rng, raw)
    if not made.has_body:
        made.sent_body = b""
        made.framing = "none" if framing == "until close" or ("chunk" not in framing and not raw) else "stray"
        if "chunk" in framing:
            made.oddities.add("chunks without a body")


def _in_chunks(rng: random.Random, raw: bytes) -> bytes:
    sent = b""
    at = 0
    while at < len(raw):
        chunk = raw[at : at + rng.choice((1, 2, 15, 16, 100, 4000))]
        size = rng.choice((b"%x", b"%X", b"%04x")) % len(chunk)
        sent += size + rng.choice((b"", b"", b";a", b';a=b;c="d"', b" ", b" ;a")) + b"\r\n" + chunk + b"\r\n"
        at += len(chunk)
    return (
        sent
        + rng.choice((b"0", b"000", b"0;end"))
        + b"\r\n"
        + rng.choice((b"", b"T: r\r\n", b"A: b\r\nC:\r\n"))
        + b"\r\n"
    )


# Faults. One that does not fit a response leaves it as it is.


def _cut_off(rng: random.Random, made: Generated) -> None:
    made.end = rng.randrange(len(made.data))
    if made.framing != "until close" or made.end < len(made.head):
        made.error = CutOff


def _bad_line(rng: random.Random, made: Generated) -> None:
    name, written = rng.choice(
        ((b"Blank ", b"x"), (b"", b"x"), (b"N\xc3\xa9", b"x"), (b"Nul", b"a\0b"), (b"Cr", b"a\rb"))
    )
    made.lines.insert(rng.randrange(len(made.lines) + 1), Line(name, written, written))
    made.error = BadResponse


def _bad_first_line(rng: random.Random, made: Generated) -> None:
    made.first = rng.choice((b"HTTP/1.1 20 OK", b"HTTP/1.1 2x0 OK", b"HTTP/2 200", b"HTTP/1.1 099 No", b"ICY 200 OK"))
    made.error = BadResponse


def _not_http(rng: random.Random, made: Generated) -> None:
    made.interim = rng.choice(
        (b"\x15\x03\x03\0\x02\x02\x28", b"SSH-2.0-x\r\n", b"220 x\r\n", b"<html>", b"\0", b"\r\n")
    )
    made.error = BadResponse


def _lengths_differ(rng: random.Random, made: Generated) -> None:
    if made.framing in ("length", "twice", "list", "beside chunks"):
        _add(rng, made, "Content-Length", rng.choice(("77777", "-1", "+2", "1 2", "", "0x0")))
        made.error = BadResponse


def _bad_transfer_coding(rng: random.Random, made: Generated) -> None:
    if made.framing == "chunked" and made.body and len(made.sent_body) <= MAX_BYTES:  # it may end with the connection
        value = rng.choice((b"gzip, chunked", b"chunked, chunked", b"xchunked", b"chunked, gzip", b"compress"))
        for line in made.lines:
            if line.name.lower() == b"transfer-encoding":
                line.written = value
        made.error = BadResponse


def _bad_chunk(rng: random.Random, made: Generated) -> None:
    if "chunk" in made.framing:
        bad = (
            b"x\r\n",
            b"-1\r\n",
            b"0x1\r\na\r\n",
            b"2\r\nabc\r\n",
            b"3\r\na\r\n0\r\n",
            b"ffffffffffffffffff\r\n",
            b"\r\n",
        )
        made.sent_body = rng.choice(bad) + made.sent_body
        made.error = BadResponse


def _bad_coded_body(rng: random.Random, made: Generated) -> None:
    if made.framing in ("length", "twice", "list") and made.headers.get("content-encoding", "br") != "br":
        is_cut = "bytes behind" not in made.oddities and rng.random() < 0.5
        made.sent_body = made.sent_body[:-1] if is_cut else b"\xff\xff" + made.sent_body[2:]
        for line in made.lines:
            if line.name.lower() == b"content-length":
                line.written = b"%d" % len(made.sent_body)
        made.error = BadResponse


def _too_long_a_line(rng: random.Random, made: Generated) -> None:
    made.lines.append(Line(b"Long", b"l" * (MAX_LINE_BYTES - 4), b""))
    made.error = ResponseTooLarge


def _too_large_a_head(rng: random.Random, made: Generated) -> None:
    made.lines += [Line(b"Long", b"l" * (MAX_LINE_BYTES - 5), b"")] * (MAX_HEAD_BYTES // MAX_LINE_BYTES)
    made.error = ResponseTooLarge


FAULTS: tuple[Callable[[random.Random, Generated], None], ...] = (
    _cut_off,
    _cut_off,
    _bad_line,
    _bad_first_line,
    _not_http,
    _lengths_differ,
    _bad_transfer_coding,
    _bad_chunk,
    _bad_coded_body,
    _too_long_a_line,
    _too_large_a_head,
)
