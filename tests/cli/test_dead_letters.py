"""Dead letters, made by a real redrive policy, and `slip-sockets redrive`.

Longer than 400 lines: the queues that all tests share take long to fill.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from slip_sockets.aws.checkpoints import DynamoDbCheckpoints
from slip_sockets.aws.queue import decode, encode
from slip_sockets.cli.app import app
from slip_sockets.cli.dead_letters import DeadLetter, DeadLetters
from slip_sockets.gateway.deferred import CloseNotice, Continuation, Deferred, FanOut, FanOutChunk
from slip_sockets.gateway.deferred_presence import OccupancyNotice, Sweep
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import ChannelClose, Publication
from slip_sockets.protocol.events import PublishText, SendText

from ..aws.http_stub import Answer, HttpStub, Request, forward_to, stub
from ..aws.moto_server import ENVIRONMENT, client, dynamodb, moto_url, sqs

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient as OurSqs
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

__all__ = ["dynamodb", "moto_url", "sqs", "stub"]

A, B = "AAAAAAAAAAAAAAA=", "BBBBBBBBBBBBBBB="
SECRET_TEXT = "for nobody else"
LOBBY = Publication("lobby", SECRET_TEXT)
REGION = ("--region", "us-east-1")


@dataclass
class Deployment:
    """The queues and the table of a stack. A message that was received once and not deleted becomes a dead letter.

    `sqs` is boto3's client, for the test; `ours` is the one that the command has.
    """

    stack: str
    sqs: SQSClient
    ours: OurSqs
    checkpoints: DynamoDbCheckpoints
    url: str
    deferred_url: str

    def letters(self, sqs: OurSqs | None = None) -> DeadLetters:
        return DeadLetters(sqs or self.ours, self.url, self.deferred_url, self.checkpoints, wait_s=0)

    def bury(self, *messages: Deferred | str, group: str = "") -> list[str]:
        """Make dead letters, of one group if it is given. Return their message ids."""
        ids = [
            self.sqs.send_message(
                QueueUrl=self.deferred_url,
                MessageBody=message if isinstance(message, str) else encode(message),
                MessageGroupId=group or (message if isinstance(message, str) else message.group)[:100],
                MessageDeduplicationId=f"first-{uuid.uuid4().hex}",
            )["MessageId"]
            for message in messages
        ]
        while self.received(self.deferred_url, 1, visibility_timeout_s=0):
            pass  # one by one: so moto keeps their order
        return ids

    def received(self, url: str, at_most: int = 10, *, visibility_timeout_s: int = 60) -> list[MessageTypeDef]:
        return self.sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=at_most,
            VisibilityTimeout=visibility_timeout_s,
            MessageSystemAttributeNames=["All"],
        ).get("Messages", [])

    def taken(self, url: str) -> list[MessageTypeDef]:
        """Return all messages that are visible now, in the order of their groups, and delete them."""
        taken: list[MessageTypeDef] = []
        while messages := self.received(url):
            for message in messages:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            taken += messages
        return taken

    def sent_again(self) -> list[Deferred]:
        return [decode(message["Body"]) for message in self.taken(self.deferred_url)]


Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(sqs: SQSClient, dynamodb: DynamoDBClient, moto_url: str) -> Deploy:
    def deploy(*, max_bytes: int = 256 * 1024) -> Deployment:
        stack = f"stack-{uuid.uuid4().hex}"
        keys: Any = [("channel", "HASH"), ("key", "RANGE")]
        dynamodb.create_table(
            TableName=f"{stack}-Channels",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in keys],
            KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        )
        fifo: Any = {"FifoQueue": "true"}
        url = sqs.create_queue(QueueName=f"{stack}-dead-letters.fifo", Attributes=fifo)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
        deferred_url = sqs.create_queue(
            QueueName=f"{stack}-deferred.fifo",
            Attributes={**fifo, "RedrivePolicy": policy, "MaximumMessageSize": str(max_bytes)},
        )["QueueUrl"]
        checkpoints = DynamoDbCheckpoints(client("dynamodb", moto_url), f"{stack}-Channels", SystemClock())
        return Deployment(stack, sqs, client("sqs", moto_url), checkpoints, url, deferred_url)

    return deploy


@pytest.fixture
def deployment(deploy: Deploy) -> Deployment:
    return deploy()


async def all_of(letters: AsyncGenerator[DeadLetter]) -> list[DeadLetter]:
    async with aclosing(letters):
        return [letter async for letter in letters]


def texts(*data: str, to: str = A) -> list[Continuation]:
    return [Continuation(to, [SendText(to, text)]) for text in data]


def failure(operation: str) -> str:
    """The text of an error of the stub."""
    return f"{operation}: Whatever: as the test says"


def numbered(count: int, *, to: str = A) -> list[Continuation]:
    return texts(*map(str, range(count)), to=to)


ONE_OF_EACH: Sequence[tuple[Deferred | str, dict[str, object]]] = [
    (
        Continuation(A, [SendText(A, SECRET_TEXT), PublishText("lobby", SECRET_TEXT)]),
        {"kind": "continuation", "connection_id": A, "events": 2},
    ),
    (CloseNotice(B, 1001, SECRET_TEXT, b'"for nobody else"'), {"kind": "close_notice", "connection_id": B}),
    (FanOut(LOBBY, "p1"), {"kind": "fan_out", "channel": "lobby"}),
    (
        FanOutChunk(ChannelClose("bar"), "p2", [A, B], 3),
        {"kind": "fan_out_chunk", "channel": "bar", "connections": 2},
    ),
    (FanOutChunk(LOBBY, "p3", [A]), {"kind": "fan_out_chunk", "channel": "lobby", "connections": 1}),
    (
        OccupancyNotice("bar", False, B, 2, b'"for nobody else"', SECRET_TEXT),
        {"kind": "vacated", "connection_id": B, "channel": "bar"},
    ),
    (Sweep("bar", 17.5), {"kind": "sweep", "channel": "bar"}),
    (SECRET_TEXT, {"kind": "unreadable"}),
    ("zlib:\u00e9", {"kind": "unreadable"}),
]


async def test_peek_yields_the_subject_of_each_and_makes_all_visible_again(deployment: Deployment) -> None:
    ids = deployment.bury(*(message for message, _ in ONE_OF_EACH))
    for attempts in (2, 3):  # a peek counts as one
        found = await all_of(deployment.letters().peek())
        assert found == [
            DeadLetter(message_id=message_id, sent_at=letter.sent_at, attempts=attempts, **expected)  # type: ignore[arg-type]
            for message_id, letter, (_, expected) in zip(ids, found, ONE_OF_EACH, strict=True)
        ]
    assert await deployment.letters().count() == len(ids)
    assert len(deployment.taken(deployment.url)) == len(ids)
    assert deployment.sent_again() == []


async def test_peek_reaches_many_groups(deployment: Deployment) -> None:
    messages = [Continuation(f"{index:015}=", []) for index in range(23)]
    deployment.bury(*messages)
    found = await all_of(deployment.letters().peek())
    assert [letter.connection_id for letter in found] == [message.connection_id for message in messages]


async def test_peek_yields_the_first_ten_of_a_group_and_count_returns_more(deployment: Deployment) -> None:
    ids = deployment.bury(*numbered(12), *numbered(2, to=B))
    found = await all_of(deployment.letters().peek())
    assert [letter.message_id for letter in found] == [*ids[:10], *ids[12:]]
    assert await deployment.letters().count() == 14
    assert [message["MessageId"] for message in deployment.taken(deployment.url)] == ids


async def test_all_are_sent_again_in_the_order_of_their_groups(deployment: Deployment) -> None:
    messages: list[Deferred] = [
        *numbered(25),
        *numbered(13, to=B),
        FanOut(LOBBY, "p1"),
        FanOutChunk(LOBBY, "p1", [A, B], 3),
    ]
    ids = deployment.bury(*messages)
    found = await all_of(deployment.letters().redrive())
    assert sorted(letter.message_id for letter in found) == sorted(ids)
    assert deployment.taken(deployment.url) == []
    sent = deployment.taken(deployment.deferred_url)
    for group in {message.group for message in messages}:
        bodies = [decode(each["Body"]) for each in sent if each["Attributes"]["MessageGroupId"] == group]
        assert bodies == [message for message in messages if message.group == group]
    assert not any(each["Attributes"]["MessageDeduplicationId"].startswith("first-") for each in sent)


async def test_what_remained_is_sent_instead_of_the_whole(deployment: Deployment) -> None:
    whole, other = FanOutChunk(LOBBY, "p1", [A, B], 3), FanOutChunk(LOBBY, "p2", [A, B], 3)
    first, second = deployment.bury(whole, other)
    rest = FanOutChunk(LOBBY, "p1", [B], 3)
    await deployment.checkpoints.save(first, encode(rest))
    await deployment.checkpoints.save(second, "{")  # cannot be read: the whole is done again
    for letters in (deployment.letters().peek(), deployment.letters().redrive()):
        assert [(letter.connections, letter.is_rest) for letter in await all_of(letters)] == [(1, True), (2, False)]
    assert deployment.sent_again() == [rest, other]


async def test_unreadable_ones_stay_and_what_is_behind_them_follows(deployment: Deployment) -> None:
    messages = numbered(30)
    ids = deployment.bury("?0", *messages[:3], "?1", *messages[3:], "?2", group="g")
    bad = [ids[0], ids[4], ids[-1]]
    found = await all_of(deployment.letters().redrive())
    assert sorted(letter.message_id for letter in found) == sorted(ids)
    assert [letter.message_id for letter in found if not letter.is_readable] == bad
    assert deployment.sent_again() == messages
    assert [message["MessageId"] for message in deployment.taken(deployment.url)] == bad


@pytest.mark.parametrize("sends", [False, True])
async def test_breaking_off_makes_the_others_visible_again(deployment: Deployment, sends: bool) -> None:
    ids = deployment.bury(*numbered(5))
    letters = deployment.letters()
    async with aclosing(letters.redrive() if sends else letters.peek()) as each:
        assert [(await anext(each)).message_id, (await anext(each)).message_id] == ids[:2]
    expected = ids[2:] if sends else ids
    assert [message["MessageId"] for message in deployment.taken(deployment.url)] == expected


async def test_deleting_that_fails_sends_twice_and_loses_nothing(
    deployment: Deployment, stub: HttpStub, moto_url: str
) -> None:
    ids = deployment.bury(*texts("1", "2"))
    forward = forward_to(moto_url)

    def script(request: Request) -> Answer | None:
        if request.operation == "DeleteMessage" and stub.operations.count("DeleteMessage") == 2:
            return Answer.error("Whatever")
        return forward(request)

    stub.script = script
    letters = deployment.letters(client("sqs", stub.url)).redrive()
    assert (await anext(letters)).message_id == ids[0]
    with pytest.raises(Unavailable) as caught:
        await anext(letters)
    problem = failure("DeleteMessage")
    assert str(caught.value) == f"SQS: {problem}"
    moves = ["SendMessage", "DeleteMessage"] * 2
    assert stub.operations == ["ReceiveMessage", *moves, "ChangeMessageVisibilityBatch"]
    assert [letter.message_id for letter in await all_of(deployment.letters().redrive())] == ids[1:]
    assert deployment.sent_again() == texts("1", "2", "2")


async def test_nothing_is_sent_while_what_remained_cannot_be_read(deployment: Deployment, stub: HttpStub) -> None:
    ids = deployment.bury(*texts("1"))
    stub.script = lambda _: Answer.error("Whatever")
    away = DynamoDbCheckpoints(client("dynamodb", stub.url), "table", SystemClock())
    letters = DeadLetters(deployment.ours, deployment.url, deployment.deferred_url, away, wait_s=0)
    with pytest.raises(Unavailable) as caught:
        await all_of(letters.redrive())
    problem = failure("GetItem")
    assert str(caught.value) == f"DynamoDB: {problem}"
    assert [message["MessageId"] for message in deployment.taken(deployment.url)] == ids
    assert deployment.sent_again() == []


async def test_messages_that_cannot_be_made_visible_are_only_logged(
    deployment: Deployment, stub: HttpStub, moto_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    deployment.bury(*texts("1"))
    forward = forward_to(moto_url)
    refused = "ChangeMessageVisibilityBatch"
    stub.script = lambda request: Answer.error("Whatever") if request.operation == refused else forward(request)
    assert len(await all_of(deployment.letters(client("sqs", stub.url)).peek())) == 1
    problem = failure(refused)
    ours = [record.message for record in caplog.records if record.name == "slip_sockets.aws"]
    assert ours == [f"1 dead letters stay hidden for up to 300 s: SQS: {problem}"]


# The command

Redrive = Callable[..., Result]


@pytest.fixture
def redrive(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Redrive:
    """Run it in an empty folder, with moto for AWS."""
    monkeypatch.chdir(tmp_path)

    def run(*options: str, environment: Mapping[str, str | None] | None = None) -> Result:
        bare = {"STACK_NAME": None, "AWS_PROFILE": None, "AWS_ENDPOINT_URL": moto_url}
        return CliRunner().invoke(app, ["redrive", *options], env={**bare, **ENVIRONMENT, **(environment or {})})

    return run


def masked(output: str, stack: str) -> str:
    """Return what was printed without what differs from run to run."""
    output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "TIME", output)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", output.replace(stack, "STACK"))


def test_dry_run_lists_and_a_second_run_sends(deployment: Deployment, redrive: Redrive) -> None:
    ids = deployment.bury(*(message for message, _ in ONE_OF_EACH[:8]))
    asyncio.run(deployment.checkpoints.save(ids[3], encode(FanOutChunk(ChannelClose("bar"), "p2", [B], 3))))
    lines = """\
TIME    2 attempts  continuation  connection AAAAAAAAAAAAAAA=, 2 events
TIME    2 attempts  close notice  connection BBBBBBBBBBBBBBB=
TIME    2 attempts  fan-out       channel 'lobby'
TIME    2 attempts  chunk         channel 'bar', 1 connections, the rest of it
TIME    2 attempts  chunk         channel 'lobby', 1 connections
TIME    2 attempts  vacated       connection BBBBBBBBBBBBBBB=, channel 'bar'
TIME    2 attempts  later look    channel 'bar'
TIME    2 attempts  unreadable    message ID
"""
    listed = redrive("--stack", deployment.stack, *REGION, "--dry-run")
    assert (listed.exit_code, listed.stderr) == (0, "")
    unreadable = "1 cannot be read: left in STACK-dead-letters.fifo.\n"
    assert masked(listed.stdout, deployment.stack) == f"{lines}8 found in STACK-dead-letters.fifo.\n{unreadable}"
    assert deployment.sent_again() == []
    sent = redrive("--stack", deployment.stack, *REGION)
    assert (sent.exit_code, sent.stderr) == (0, "")
    assert SECRET_TEXT not in listed.stdout + sent.stdout
    summary = f"7 sent again, to STACK-deferred.fifo.\n{unreadable}"
    assert masked(sent.stdout, deployment.stack) == lines.replace("2 attempts", "3 attempts") + summary
    assert len(deployment.sent_again()) == 7
    deployment.taken(deployment.url)
    empty = redrive("--stack", deployment.stack, *REGION)
    assert (empty.exit_code, masked(empty.stdout, deployment.stack)) == (0, "STACK-dead-letters.fifo is empty.\n")


def test_json_is_one_document(deployment: Deployment, redrive: Redrive) -> None:
    first, second = deployment.bury(FanOutChunk(LOBBY, "p1", [A, B], 3), SECRET_TEXT)
    for options, attempts, sent in ((("--dry-run",), 2, 0), ((), 3, 1)):
        result = redrive("--stack", deployment.stack, *REGION, "--json", *options)
        assert (result.exit_code, result.stderr) == (0, "")
        assert SECRET_TEXT not in result.stdout
        document = json.loads(result.stdout)
        for letter in document["deadLetters"]:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", letter.pop("sentAt"))
        chunk = {"kind": "fan_out_chunk", "channel": "lobby", "connections": 2}
        assert document == {
            "stack": deployment.stack,
            "dryRun": sent == 0,
            "approximateTotal": 2,
            "sent": sent,
            "unreadable": 1,
            "deadLetters": [
                {"messageId": first, "attempts": attempts, **chunk},
                {"messageId": second, "attempts": attempts, "kind": "unreadable"},
            ],
        }


def test_dry_run_says_that_there_are_more_than_it_could_see(deployment: Deployment, redrive: Redrive) -> None:
    deployment.bury(*numbered(12))
    result = redrive("--stack", deployment.stack, *REGION, "--dry-run")
    assert masked(result.stdout, deployment.stack).splitlines()[10:] == [
        "10 found in STACK-dead-letters.fifo.",
        "SQS counts about 12. It hides all but the first ten of a message group, and those that",
        "another run has received. Without --dry-run the command reaches all of a group.",
    ]


def test_messages_that_another_run_has_received_are_mentioned(deployment: Deployment, redrive: Redrive) -> None:
    deployment.bury(*numbered(2))
    deployment.received(deployment.url)
    result = redrive("--stack", deployment.stack, *REGION)
    assert (result.exit_code, masked(result.stdout, deployment.stack).splitlines()) == (
        0,
        [
            "0 sent again, to STACK-deferred.fifo.",
            "SQS counted about 2. Another run may have received the others; it has them 5 minutes at most.",
        ],
    )


def test_failing_midway_says_how_many_were_sent(deploy: Deploy, redrive: Redrive) -> None:
    deployment = deploy(max_bytes=1024)
    ids = deployment.bury(*texts("1", "2", "3"))
    asyncio.run(deployment.checkpoints.save(ids[1], encode(*texts("x" * 1024))))
    result = redrive("--stack", deployment.stack, *REGION)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == (
        "slip-sockets: SQS: a call was refused with InvalidParameterValue."
        " 1 were sent again; repeat the command for the others\n"
    )
    assert [message["MessageId"] for message in deployment.taken(deployment.url)] == ids[1:]
    as_json = redrive("--stack", deployment.stack, *REGION, "--json")
    assert (as_json.exit_code, json.loads(as_json.stdout)["sent"]) == (0, 0)


def test_region_comes_from_the_outputs_file(deployment: Deployment, redrive: Redrive, tmp_path: Path) -> None:
    entry = {"controlApi": "https://x/", "region": "us-east-1"}
    for name, options in (("cdk-outputs.json", ()), ("mine.json", ("--outputs", "mine.json"))):
        (tmp_path / name).write_text(json.dumps({deployment.stack: entry}))
        deployment.bury(*texts("1"))
        result = redrive("--stack", deployment.stack, *options)
        assert (result.exit_code, result.stderr) == (0, "")
        assert deployment.sent_again() == texts("1")


INSTEAD = "Deploy first, or choose the file with --outputs, or give --region"


@pytest.mark.parametrize(
    ("outputs", "line"),
    [
        (None, f"cannot read cdk-outputs.json: No such file or directory. {INSTEAD}"),
        (
            "[]",
            "cdk-outputs.json is not an outputs file: its JSON has another shape: Expected `object`, got `array`. "
            f"{INSTEAD}",
        ),
        ("{}", "cdk-outputs.json has no stack 'slip-sockets'. It has: none"),
        ('{"b": {}, "a": {}}', "cdk-outputs.json has no stack 'slip-sockets'. It has: a, b"),
        ('{"slip-sockets": {}}', "cdk-outputs.json has no region of 'slip-sockets'. Give it with --region"),
        (
            '{"slip-sockets": {"region": "local"}}',
            "cdk-outputs.json is of a development server, which keeps its dead letters in memory",
        ),
        (
            '{"slip-sockets": {"region": "a region"}}',
            "'a region' is not a region of AWS. One looks like eu-west-1",
        ),
    ],
    ids=str,
)
def test_no_region_is_one_line_and_exit_status_2(
    redrive: Redrive, tmp_path: Path, outputs: str | None, line: str
) -> None:
    if outputs is not None:
        (tmp_path / "cdk-outputs.json").write_text(outputs)
    result = redrive()
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"slip-sockets: {line}\n")


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {},
            "us-east-1 has no queue nobody-dead-letters.fifo. "
            "Check --stack and the region, and which account these credentials are for",
        ),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
            "there are no credentials for AWS. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            {"AWS_SECRET_ACCESS_KEY": None},
            "there are no credentials for AWS. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_PROFILE": "nobody"}, "The config profile (nobody) could not be found"),
    ],
    ids=str,
)
def test_no_queue_or_credentials_is_one_line_and_exit_status_2(
    redrive: Redrive, environment: dict[str, str | None], line: str
) -> None:
    result = redrive("--stack", "nobody", *REGION, environment=environment)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"slip-sockets: {line}\n")


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        (
            "login_session = arn:aws:iam::123456789012:user/ada",
            "the profile is one of aws login, which only the AWS CLI reads. "
            'Type: eval "$(aws configure export-credentials --format env)"',
        ),
        (
            "sso_start_url = https://ours.awsapps.com/start\nsso_region = us-east-1\n"
            "sso_account_id = 123456789012\nsso_role_name = Operator",
            "the login of the profile is over. Type: aws sso login, or aws login",
        ),
    ],
    ids=["login", "sso"],
)
def test_a_login_that_boto3_cannot_use_is_one_line_and_exit_status_2(
    redrive: Redrive, tmp_path: Path, profile: str, line: str
) -> None:
    (tmp_path / "config").write_text(f"[profile ours]\n{profile}\n")
    environment = {
        "AWS_PROFILE": "ours",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ACCESS_KEY_ID": None,
        "AWS_SECRET_ACCESS_KEY": None,
        "HOME": str(tmp_path),
    }
    result = redrive(*REGION, environment=environment)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"slip-sockets: {line}\n")


def test_refused_credentials_are_one_line_and_exit_status_2(redrive: Redrive, stub: HttpStub) -> None:
    stub.script = lambda _: Answer.error("AccessDenied", 403)
    result = redrive(*REGION, environment={"AWS_ENDPOINT_URL": stub.url})
    problem = "GetQueueUrl: AccessDenied: as the test says"
    line = f"slip-sockets: AWS refuses these credentials: {problem}\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", line)


@pytest.mark.parametrize(
    ("status", "exit_code", "beginning", "end"),
    [(403, 2, "AWS refuses these credentials: ", ""), (400, 1, "AWS: ", ". Repeat the command")],
)
def test_a_role_that_cannot_be_assumed_is_one_line(
    redrive: Redrive, stub: HttpStub, tmp_path: Path, status: int, exit_code: int, beginning: str, end: str
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile keys]\naws_access_key_id = x\naws_secret_access_key = x\n"
        "[profile deployer]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = keys\n"
    )
    body = b"<ErrorResponse><Error><Code>Whatever</Code><Message>as the test says</Message></Error></ErrorResponse>"
    stub.script = lambda _: Answer(status, body)
    environment: dict[str, str | None] = {"AWS_PROFILE": "deployer", "AWS_CONFIG_FILE": str(config)}
    environment |= {"AWS_ENDPOINT_URL": stub.url, "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    result = redrive(*REGION, "--dry-run", environment=environment)
    problem = "An error occurred (Whatever) when calling the AssumeRole operation: as the test says"
    line = f"slip-sockets: {beginning}{problem}{end}\n"
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", line)


def test_aws_away_from_the_start_is_one_line_and_exit_status_1(redrive: Redrive, stub: HttpStub) -> None:
    stub.script = lambda _: Answer.error("Whatever")
    result = redrive(*REGION, "--dry-run", environment={"AWS_ENDPOINT_URL": stub.url})
    line = f"slip-sockets: SQS: {failure('GetQueueUrl')}. Repeat the command\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", line)


def test_without_boto3_one_line_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['boto3'] = None; from slip_sockets.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "redrive"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    line = 'slip-sockets: boto3 is missing. Install it: pip install "path/to/slip-sockets[aws]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
