"""Clients of the stage, and the signed calls of its management API."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlencode

import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

PATIENCE_S = 60.0
POSTERS = 64


async def opened(url: str, query: Mapping[str, str] | None = None) -> ClientConnection:
    """Raises InvalidStatus where the client is refused."""
    return await connect(
        f"{url}?{urlencode(query or {})}", open_timeout=PATIENCE_S, ping_interval=None, proxy=None, max_size=None
    )


async def received(client: ClientConnection) -> str:
    return str(await asyncio.wait_for(client.recv(), PATIENCE_S))


async def welcomed(client: ClientConnection) -> str:
    """Return the connection's id, from its first text."""
    return (await received(client)).removeprefix("welcome ")


async def refusal(url: str, query: Mapping[str, str]) -> int:
    """Return the status with which a client is refused, 101 where it is let in."""
    try:
        client = await opened(url, query)
    except InvalidStatus as error:
        return error.response.status_code
    await client.close()
    return 101


async def opened_within(url: str, count: int, seconds: float) -> tuple[list[ClientConnection], Counter[str]]:
    """Open `count` sockets, evenly over `seconds`. Return those that are open, and the refusals by status."""

    async def one(index: int) -> ClientConnection:
        await asyncio.sleep(index / count * seconds)
        return await opened(url)

    results = await asyncio.gather(*map(one, range(count)), return_exceptions=True)
    clients: list[ClientConnection] = []
    refused: Counter[str] = Counter()
    for result in results:
        match result:
            case InvalidStatus():
                refused[str(result.response.status_code)] += 1
            case BaseException():
                refused[type(result).__name__] += 1
            case _:
                clients.append(result)
    return clients, refused


async def closed(clients: Sequence[ClientConnection]) -> None:
    await asyncio.gather(*(client.close() for client in clients))


async def echo_s(client: ClientConnection, text: str) -> float:
    """Send a text, wait until it comes back, and return the seconds."""
    began = time.perf_counter()
    await client.send(text)
    while await received(client) != text:
        pass
    return time.perf_counter() - began


def post_many(
    url: str, region: str, credentials: Credentials, connection_id: str, count: int, body: bytes
) -> tuple[float, Counter[int]]:
    """POST `body` to a connection `count` times, as fast as this machine can. Return the seconds and the statuses.

    All are signed before the first is sent.
    """
    target = f"{url}/@connections/{quote(connection_id, safe='')}"
    signer = SigV4Auth(credentials, "execute-api", region)
    signed = []
    for _ in range(count):
        request = AWSRequest("POST", target, data=body)
        signer.add_auth(request)
        signed.append(dict(request.headers))
    posters = min(POSTERS, count)
    with urllib3.PoolManager(maxsize=posters, retries=False) as http, ThreadPoolExecutor(posters) as threads:

        def post(headers: Mapping[str, str]) -> int:
            return http.request("POST", target, body=body, headers=headers, timeout=PATIENCE_S).status

        began = time.perf_counter()
        statuses = Counter(threads.map(post, signed))
        return time.perf_counter() - began, statuses
