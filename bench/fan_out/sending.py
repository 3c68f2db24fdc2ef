"""One process that sends a text to many connections: `python -m bench.fan_out.sending 20000 --threads 16`.

With `--threads`, boto3's client sends from that number of threads; without, the gateway's own sender. The environment
is a function's. It prints what it took, as JSON; the start and the first few texts do not count.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import boto3
import msgspec
from botocore.config import Config

from slip_sockets.aws.client import aws_http
from slip_sockets.aws.credentials import FunctionCredentials
from slip_sockets.aws.management import ApiGatewaySender
from slip_sockets.gateway.ports import SystemClock

from ..stubs.connection_ids import connection_id
from .reports import Sent

if TYPE_CHECKING:
    from types_boto3_apigatewaymanagementapi.client import ApiGatewayManagementApiClient

WARM_UP = 500
"""Texts that open the connections, before the time is taken."""

Send = Callable[[Sequence[str], str], int]
"""Sends a text to each connection and returns how many it reached."""


def measure(send: Send, connection_ids: Sequence[str], data: str) -> Sent:
    send(connection_ids[:WARM_UP], data)
    began, began_cpu = time.perf_counter(), time.process_time()
    done = send(connection_ids, data)
    return Sent(done, time.perf_counter() - began, time.process_time() - began_cpu)


def ours(connection_ids: Sequence[str], text: str) -> Sent:
    clock = SystemClock()
    credentials = FunctionCredentials(os.environ, clock, aws_http())
    sender = ApiGatewaySender(os.environ["MANAGEMENT_URL"], os.environ["AWS_DEFAULT_REGION"], credentials, clock)
    with asyncio.Runner() as runner:

        def send(connection_ids: Sequence[str], data: str) -> int:
            return runner.run(sender.send(connection_ids, data, until=math.inf)).done

        sent = measure(send, connection_ids, text)
        sender.end()
        return sent


def boto3_in_threads(threads: int, connection_ids: Sequence[str], text: str) -> Sent:
    """A plain client, with a connection for each thread."""
    client: ApiGatewayManagementApiClient = boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=os.environ["MANAGEMENT_URL"],
        config=Config(max_pool_connections=threads),
    )
    with ThreadPoolExecutor(threads) as pool:

        def send(connection_ids: Sequence[str], data: str) -> int:
            payload = data.encode()
            posts = pool.map(lambda id_: client.post_to_connection(ConnectionId=id_, Data=payload), connection_ids)
            return sum(1 for _ in posts)

        return measure(send, connection_ids, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--threads", type=int, help="of boto3's")
    options = parser.parse_args()
    connection_ids = [connection_id(0, index) for index in range(options.count)]
    text, threads = "x" * options.bytes, options.threads
    sent = ours(connection_ids, text) if threads is None else boto3_in_threads(threads, connection_ids, text)
    print(msgspec.json.encode(sent).decode(), flush=True)


if __name__ == "__main__":
    main()
