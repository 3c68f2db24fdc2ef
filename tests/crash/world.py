"""A function in a process of its own, and around it everything that it calls: moto, a backend, the management API.

All calls go through here, so that the function can be killed at each.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from slip_sockets.aws.progress import PROGRESS_TTL_S
from slip_sockets.aws.queue import encode
from slip_sockets.gateway.fan_out import FAILING_FOR_S
from slip_sockets.gateway.ports import CLAIM_TTL_S, ROW_TTL_S, Deferred

from ..aws.http_stub import RESET, Answer, HttpStub, Request, forward_to
from ..aws.moto_server import ENVIRONMENT

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient

SECRET = "a-secret-of-more-than-thirty-two-bytes"
INLINE_LIMIT = 2
LONG_AGO_S = 600
MAX_ROUNDS = 30
LIFETIMES_S = {"$published:": CLAIM_TTL_S, "$channel:": FAILING_FOR_S, "$progress:": PROGRESS_TTL_S}

Answers = dict[str, list[dict[str, Any]]]


class World:
    """`answers` is what the backend answers, by event type; `told` and `posted` what has arrived there and at clients.

    `calls` are those of the present event. Before the call with the number `dies_at` the function is killed.
    """

    def __init__(
        self, moto_url: str, dynamodb: DynamoDBClient, sqs: SQSClient, table_name: str, queue_url: str, parameter: str
    ) -> None:
        self.answers: Answers = {}
        self.calls: list[str] = []
        self.dies_at: int | None = None
        self.told: list[dict[str, Any]] = []
        self.posted: list[tuple[str, str]] = []
        self.closed: set[str] = set()
        self.dynamodb, self.sqs, self.table_name, self.queue_url = dynamodb, sqs, table_name, queue_url
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
                "TABLE_NAME": table_name,
                "QUEUE_URL": queue_url,
                "MANAGEMENT_URL": f"{management}/live",
                "JWT_SECRET_PARAMETER": parameter,
                "INLINE_LIMIT": str(INLINE_LIMIT),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._hear() == "ready"

    def close(self) -> None:
        _pipe(self._process.stdin).close()
        self._process.wait()
        _pipe(self._process.stdout).close()
        for stub in self._stubs:
            stub.close()

    # The function

    def run(self, function: str, event: Any, *, dies_at: int | None = None) -> Any:
        """Return what the function answers, None where it was killed."""
        self.calls, self.dies_at, self._killed = [], dies_at, False
        _pipe(self._process.stdin).write(json.dumps([function, event]) + "\n")
        _pipe(self._process.stdin).flush()
        self._pids.put(self._hear())
        answer = self._hear()
        if answer == "ended":
            assert self._killed, f"{function} ended without an answer"
            return None
        assert self._hear() == "ended"
        self._pids.get()
        return answer

    def _hear(self) -> Any:
        line = _pipe(self._process.stdout).readline()
        assert line, "the process of the functions has ended"
        return json.loads(line)

    def deliver(self, *, dies_at: int | None = None) -> bool:
        """Hand the queue's messages to `deliver`; return whether there were any. What failed is visible at once."""
        received = self.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        ).get("Messages", [])
        if not received:
            return False
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in received
        ]
        answer = self.run("deliver", {"Records": records}, dies_at=dies_at)
        failed = {message["MessageId"] for message in received}
        if answer is not None:
            failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message in received:
            handle = message["ReceiptHandle"]
            if message["MessageId"] in failed:  # as if its time had passed
                self.sqs.change_message_visibility(QueueUrl=self.queue_url, ReceiptHandle=handle, VisibilityTimeout=0)
            else:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=handle)
        return True

    def drain(self) -> None:
        for _ in range(MAX_ROUNDS):
            if not self.deliver():
                return
        raise AssertionError("the queue does not become empty")

    # What a test puts there, and finds

    def clear(self) -> None:
        """Forget everything."""
        self.told.clear()
        self.posted.clear()
        self.closed.clear()
        for row in self.rows():
            self.dynamodb.delete_item(
                TableName=self.table_name, Key={name: row[name] for name in ("connectionId", "channel")}
            )
        while messages := self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])

    def connected(self, connection_id: str, *channels: str, metadata: str = "null") -> None:
        """Have somebody connected for a while already."""
        then = time.time() - LONG_AGO_S
        own = {"metadata": {"S": metadata}, "connectedAt": {"N": str(int(then * 1000))}}
        for channel, more in ((f"$connection:{connection_id}", own), *((channel, {}) for channel in channels)):
            key = {"connectionId": {"S": connection_id}, "channel": {"S": channel}}
            self.dynamodb.put_item(
                TableName=self.table_name, Item={**key, **more, "ttl": {"N": str(int(then) + ROW_TTL_S)}}
            )

    def put(self, message: Deferred) -> None:
        self.sqs.send_message(
            QueueUrl=self.queue_url,
            MessageBody=encode(message),
            MessageGroupId=message.group,
            MessageDeduplicationId=message.deduplication_id,
        )

    def half_a_minute_later(self) -> None:
        """Claims of whoever broke off are free then, and what was accepted is old."""
        for row in self.rows():
            for name in ("leaseUntil", "connectedAt"):
                if name in row:
                    row[name] = {"N": "1"}
            self.dynamodb.put_item(TableName=self.table_name, Item=row)

    def rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.dynamodb.scan(TableName=self.table_name, ConsistentRead=True)["Items"]
        return rows

    def channels_of(self, connection_id: str) -> set[str]:
        return {row["channel"]["S"] for row in self.rows() if row["connectionId"]["S"] == connection_id}

    def check_lifetimes(self) -> None:
        """Each row has a TTL, and none lives longer than its kind may."""
        for row in self.rows():
            whose = row["connectionId"]["S"]
            longest = next((life for kind, life in LIFETIMES_S.items() if whose.startswith(kind)), ROW_TTL_S)
            left_s = int(row["ttl"]["N"]) - time.time()
            assert 0 < left_s <= longest + 1, row

    def got(self, connection_id: str) -> list[str]:
        """What a client has got, in order."""
        return [text for whose, text in self.posted if whose == connection_id]

    # What the function calls

    def _aws(self, request: Request) -> Answer | None:
        def answer() -> Answer:
            return self._to_moto(request) or Answer(500)

        return self._call(request.operation, answer)

    def _backend(self, request: Request) -> Answer | None:
        def answer() -> Answer:
            self.told.append(request.json)
            return Answer.of({"events": self.answers.get(kind, [])})

        kind = request.json["events"][0]["type"]
        return self._call(f"the backend is told {kind}", answer)

    def _management(self, request: Request) -> Answer | None:
        whose = urllib.parse.unquote(request.path.rpartition("/")[2])

        def answer() -> Answer:
            if whose in self.closed:
                return Answer(410)
            self.posted.append((whose, request.body.decode()))
            return Answer(200, b"")

        return self._call(f"{request.method} to {whose}", answer)

    def _call(self, name: str, answer: Callable[[], Answer]) -> Answer | None:
        with self._lock:
            if self._killed:
                return RESET
            if len(self.calls) == self.dies_at:
                os.kill(self._pids.get(), signal.SIGKILL)
                self._killed = True
                return RESET
            self.calls.append(name)
            return answer()


@contextlib.contextmanager
def world(*args: Any) -> Iterator[World]:
    with contextlib.closing(World(*args)) as made:
        yield made


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise AssertionError("it is a pipe")
    return pipe
