"""Whether the host of a URL can be reached: its name, its port and its certificate."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import ssl
from urllib.parse import urlsplit

from ..gateway.errors import HttpError
from ..http.connection import reason_of
from ..http.tls import tls_context, tls_error
from ..protocol.urls import is_loopback, quoted_url
from .findings import CannotCheck, Finding, fine, unknown, wrong
from .outputs import WRITE_ANEW
from .threads import in_thread

CONNECT_S = 5.0
"""For each address of a host, and for the look-up of its name."""
MAX_ADDRESSES = 3
TIMEOUT_S = CONNECT_S * (1 + MAX_ADDRESSES) + 1
FEW_DAYS = 14
"""ACM renews certificates 60 days before they expire, for weeks if it must: then something prevents it.
https://docs.aws.amazon.com/acm/latest/userguide/managed-renewal.html"""
DAY_S = 24 * 60 * 60

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


async def check_url(check: str, url: str, *, now: float, tls: ssl.SSLContext | None = None) -> list[Finding]:
    """Connect to the host of `url`. Only the system's certificate authorities are trusted, or those of `tls`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        raise CannotCheck(f"{quoted_url(url)} is not a URL", WRITE_ANEW) from None
    is_tls = parts.scheme in ("https", "wss")
    try:
        addresses = await _look_up(host, port)
    except TimeoutError:
        return [unknown(check, f"no name server responds for {host}", "Name resolution on this machine", blocks=True)]
    except (OSError, UnicodeError) as error:
        return [_without_address(check, host, error)]
    try:
        expires_at = await _connect(addresses, port, host, (tls or tls_context()) if is_tls else None)
    except HttpError as error:
        fix = f"A browser refuses {host} too. If it is a domain of your own, see its certificate in ACM"
        return [wrong(check, f"{host}: {error}", fix, blocks=True)]
    except OSError as error:
        fix = f"Is that the deployment's URL, and may this machine connect to port {port}? {WRITE_ANEW}"
        return [wrong(check, f"{host}, port {port}: {error}", fix, blocks=True)]
    return [judge(check, host, expires_at, now=now)]


def judge(check: str, host: str, expires_at: float | None, *, now: float) -> Finding:
    """`expires_at` is the end of its certificate in Unix seconds, None where there is no TLS."""
    if expires_at is None:
        if is_loopback(host):
            return fine(check, f"{host} is on this machine, and can be reached")
        return wrong(check, f"{host} can be reached, but without TLS", "Use its wss or https URL")
    days = math.floor((expires_at - now) / DAY_S)
    text = f"{host} can be reached, and its certificate is valid for {days} days"
    if days >= FEW_DAYS:
        return fine(check, text)
    fix = "ACM renews it while its validation record is in the domain's DNS: look at the certificate in ACM"
    return wrong(check, f"{text} only", fix)


def _without_address(check: str, host: str, error: Exception) -> Finding:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    finding = f"the name {host} cannot be resolved: {reason}"
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN:
        return unknown(check, finding, "Name resolution on this machine: try again", blocks=True)
    fix = f"If it is a domain of your own, look at its record in DNS; otherwise the API is gone. {WRITE_ANEW}"
    return wrong(check, finding, fix, blocks=True)


async def _look_up(host: str, port: int) -> list[str]:
    """Return addresses, those of both families in turn. Raises OSError, UnicodeError or TimeoutError."""
    async with asyncio.timeout(CONNECT_S):
        found = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    by_family: dict[socket.AddressFamily, dict[str, None]] = {}
    for family, *_, address in found:
        by_family.setdefault(family, {})[str(address[0])] = None
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*by_family.values()))
    return [address for address in in_turn if address is not None][:MAX_ADDRESSES]


async def _connect(addresses: list[str], port: int, host: str, tls: ssl.SSLContext | None) -> float | None:
    """Return the end of the certificate's validity in Unix seconds, None without TLS.

    Raises HttpError for TLS, OSError where no address takes a connection.
    """
    problem = OSError("it has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(
                    address, port, ssl=tls, server_hostname=host if tls is not None else None
                )
        except TimeoutError:
            problem = OSError(f"no connection within {CONNECT_S:g} s")
        except ssl.SSLError as error:  # another address has the same certificate
            raise tls_error(error, host) from error
        except OSError as error:
            problem = OSError(reason_of(error))
        else:
            certificate = writer.get_extra_info("peercert")
            writer.transport.abort()
            return ssl.cert_time_to_seconds(certificate["notAfter"]) if certificate else None
    raise problem
