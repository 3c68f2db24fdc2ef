"""The functions in a process of their own, and everything that they call: moto, a backend, the management API.

All calls pass through here, so that a function can be killed at each.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.aws import channels, connections
from slip_sockets.aws.checkpoints import CHECKPOINT_LIFETIME_S
from slip_sockets.aws.queue import encode
from slip_sockets.gateway.deferred import Deferred
from slip_sockets.gateway.fan_out import FAILING_FOR_S
from slip_sockets.gateway.ports import CLAIM_LIFETIME_S

from ..aws.http_stub import RESET, Answer, HttpStub, Request, forward_to
from ..aws.moto_server import ENVIRONMENT, queues_beside

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient

SECRET = "a-secret-of-more-than-thirty-two-bytes"
INLINE_LIMIT = 2
LONG_AGO_S = 600
MAX_ROUNDS = 30
LIFETIMES_S = {
    "claim": CLAIM_LIFETIME_S,
    "mark": FAILING_FOR_S,
    "checkpoint": CHECKPOINT_LIFETIME_S,
    "mark:head": 2 * ROW_LIFETIME_S,
    "page": 2 * ROW_LIFETIME_S,
    "message": 2 * ROW_LIFETIME_S,
    "presence": 2 * ROW_LIFETIME_S,
}
"""Of rows of Channels, by their keys or what these begin with. The tests keep messages for an hour."""

Replies = dict[str, list[dict[str, Any]]]


class World:
    """`replies` are the backend's, by event type, with `status`. `requests` has what it received, `posted` what clients
    did.

    `calls` are those for the current event. Before the call with the number `dies_at` the function is killed.
    """

    def __init__(
        self,
        moto_url: str,
        dynamodb: DynamoDBClient,
        sqs: SQSClient,
        connections_table: str,
        channels_table: str,
        queue_url: str,
        secrets: Mapping[str, str],
    ) -> None:
        self.replies: Replies = {}
        self.status = 200
        self.calls: list[str] = []
        self.dies_at: int | None = None
        self.requests: list[dict[str, Any]] = []
        self.posted: list[tuple[str, str]] = []
        self.closed: set[str] = set()
        self.dynamodb, self.sqs, self.queue_url = dynamodb, sqs, queue_url
        self.inbound_url = queues_beside(queue_url)["INBOUND_QUEUE_URL"]
        self.connections_table, self.channels_table = connections_table, channels_table
        self._lock = threading.Lock()
        self._killed = False
        self._pids: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._to_moto = forward_to(moto_url)
        self._stubs = [HttpStub(self._aws), HttpStub(self._backend), HttpStub(self._management)]
        aws, backend, management = (stub.url for stub in self._stubs)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.lambda_process"],
            cwd=Path(__file__).parents[2],
            env=os.environ
            | ENVIRONMENT
            | {
                "AWS_ENDPOINT_URL": aws,
                "TARGET_URL": f"{backend}/slip",
                "CONNECTIONS_TABLE": connections_table,
                "CHANNELS_TABLE": channels_table,
                "QUEUE_URL": queue_url,
                **queues_beside(queue_url),
                "MANAGEMENT_URL": f"{management}/live",
                **secrets,
                "INLINE_LIMIT": str(INLINE_LIMIT),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def close(self) -> None:
        _pipe(self._process.stdin).close()
        self._process.wait()
        _pipe(self._process.stdout).close()
        for stub in self._stubs:
            stub.close()

    # The function

    def run(self, function: str, event: Any, *, dies_at: int | None = None) -> Any:
        """Return the function's response, None where it was killed."""
        self.calls, self.dies_at, self._killed = [], dies_at, False
        _pipe(self._process.stdin).write(json.dumps([function, event]) + "\n")
        _pipe(self._process.stdin).flush()
        self._pids.put(self._read())
        response = self._read()
        if response == "ended":
            assert self._killed, f"{function} ended without a response"
            return None
        assert self._read() == "ended"
        self._pids.get()
        return response

    def _read(self) -> Any:
        line = _pipe(self._process.stdout).readline()
        assert line, "the process of the functions has ended"
        return json.loads(line)

    def deliver(self, queue_url: str | None = None, *, dies_at: int | None = None) -> bool:
        """Hand a queue's messages to `deliver`; return whether there were any. Failed ones are visible at once."""
        url = queue_url or self.queue_url
        received = self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        ).get("Messages", [])
        if not received:
            return False
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": _due(message["Body"]),
                "attributes": message["Attributes"],
                "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{url.rpartition('/')[2]}",
            }
            for message in received
        ]
        response = self.run("deliver", {"Records": records}, dies_at=dies_at)
        failed = {message["MessageId"] for message in received}
        if response is not None:
            failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        for message in received:
            handle = message["ReceiptHandle"]
            if message["MessageId"] in failed:  # as if its time had passed
                with contextlib.suppress(self.sqs.exceptions.ReceiptHandleIsInvalid):  # the function has deleted it
                    self.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)
        return True

    def drain(self) -> None:
        for _ in range(MAX_ROUNDS):
            if not self.deliver() and not self.deliver(self.inbound_url):
                return
        raise AssertionError("the queue does not become empty")

    # The state that a test prepares, and checks

    def clear(self) -> None:
        """Delete everything."""
        self.requests.clear()
        self.posted.clear()
        self.closed.clear()
        for table, keys in (
            (self.connections_table, (connections.PARTITION_KEY, connections.SORT_KEY)),
            (self.channels_table, (channels.PARTITION_KEY, channels.SORT_KEY)),
        ):
            for row in self._rows(table):
                self.dynamodb.delete_item(TableName=table, Key={name: row[name] for name in keys})
        for url in (self.queue_url, self.inbound_url):
            while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in messages:
                    self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def connected(self, connection_id: str, *channels: str, metadata: str = "null", form: str | None = None) -> None:
        """Write the rows of a connection that was accepted some time ago."""
        then = time.time() - LONG_AGO_S
        own = {"metadata": {"S": metadata}, "connectedAt": {"N": str(int(then * 1000))}}
        of_form = {} if form is None else {"form": {"S": form}}
        for channel, more in ((f"$connection:{connection_id}", own), *((channel, {}) for channel in channels)):
            key = {"connectionId": {"S": connection_id}, "channel": {"S": channel}, **of_form}
            self.dynamodb.put_item(
                TableName=self.connections_table, Item={**key, **more, "ttl": {"N": str(int(then + ROW_LIFETIME_S))}}
            )

    def put(self, message: Deferred, queue_url: str | None = None) -> None:
        self.sqs.send_message(
            QueueUrl=queue_url or self.queue_url,
            MessageBody=encode(message),
            MessageGroupId=message.group,
            MessageDeduplicationId=uuid.uuid4().hex,  # the same message is put again after each crash
        )

    def half_a_minute_later(self) -> None:
        """Claims that were not confirmed have lapsed by then, and connections are no longer young."""
        for table in (self.connections_table, self.channels_table):
            for row in self._rows(table):
                for name in ("leaseUntil", "connectedAt"):
                    if name in row:
                        row[name] = {"N": "1"}
                self.dynamodb.put_item(TableName=table, Item=row)

    def _rows(self, table: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]
        return rows

    def channels_of(self, connection_id: str) -> set[str]:
        rows = self._rows(self.connections_table)
        return {row["channel"]["S"] for row in rows if row["connectionId"]["S"] == connection_id}

    def check_lifetimes(self) -> None:
        """Each row has a TTL, and none lives longer than its kind may."""
        connections_, channels_ = self._rows(self.connections_table), self._rows(self.channels_table)
        keys = [row["key"]["S"] for row in channels_]
        kinds = [key if key in LIFETIMES_S else key.partition(":")[0] for key in keys]
        longest_s = [*(ROW_LIFETIME_S for _ in connections_), *(LIFETIMES_S[kind] for kind in kinds)]
        for row, longest in zip([*connections_, *channels_], longest_s, strict=True):
            left_s = int(row["ttl"]["N"]) - time.time()
            assert 0 < left_s <= longest + 1, row

    def events_of(self, connection_id: str) -> list[list[dict[str, Any]]]:
        """The events of each POST of a connection that the backend has received, in order."""
        return [request["events"] for request in self.requests if request["connectionId"] == connection_id]

    def received(self, connection_id: str) -> list[str]:
        """The texts that a client has received, in order."""
        return [text for id_, text in self.posted if id_ == connection_id]

    # What the function calls: each returns None to reset the connection

    def _aws(self, request: Request) -> Answer | None:
        def respond() -> Answer:
            return self._to_moto(request) or Answer(500)

        return self._call(request.operation, respond)

    def _backend(self, request: Request) -> Answer | None:
        def respond() -> Answer:
            self.requests.append(request.json)
            return Answer.of({"events": self.replies.get(kind, [])}, self.status)

        kind = request.json["events"][0]["type"]
        return self._call(f"{kind} to the backend", respond)

    def _management(self, request: Request) -> Answer | None:
        connection_id = urllib.parse.unquote(request.path.rpartition("/")[2])

        def respond() -> Answer:
            if connection_id in self.closed:
                return Answer(410)
            self.posted.append((connection_id, request.body.decode()))
            return Answer(200, b"")

        return self._call(f"{request.method} to {connection_id}", respond)

    def _call(self, name: str, respond: Callable[[], Answer]) -> Answer | None:
        with self._lock:
            if self._killed:
                return RESET
            if len(self.calls) == self.dies_at:
                self._killed = True  # before the parent can say that it has ended
                os.kill(self._pids.get(), signal.SIGKILL)
                return RESET
            self.calls.append(name)
            return respond()


def _due(body: str) -> str:
    """Return a message as if its time had come."""
    message = json.loads(body)
    return json.dumps(message | {"due_at": 0}) if "due_at" in message else body


@contextlib.contextmanager
def world(*args: Any) -> Iterator[World]:
    with contextlib.closing(World(*args)) as made:
        yield made


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise AssertionError("the process was started with pipes")
    return pipe
