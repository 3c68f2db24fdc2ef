"""publish, send and close, with a development server and real sockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from slip_sockets.dev.server import DevServer

from ..aws.http_stub import Answer, HttpStub, Script, stub
from ..conftest import SECRET
from ..contract.conftest import backend
from ..contract.wire import joined, running
from ..scripted_backend import ScriptedBackend
from .conftest import Cli, refused

__all__ = ["backend", "stub"]

ID = "L0SM9cOFvHcCIhw="
Say = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def dev_server(backend: ScriptedBackend, tmp_path: Path) -> AsyncIterator[DevServer]:
    """As `slip-sockets dev` leaves it: its outputs file is in the folder."""
    async with running(backend.url, outputs_path=tmp_path / "cdk-outputs.dev.json") as server:
        yield server


@pytest.fixture
def say(cli: Cli) -> Say:
    async def say(*arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result:
        return await asyncio.to_thread(cli, *arguments, stdin=stdin, **{"JWT_SECRET": SECRET, **environment})

    return say


async def test_publish_reaches_subscribers_and_prints_how_many(
    dev_server: DevServer, backend: ScriptedBackend, say: Say
) -> None:
    async with joined(dev_server, backend, "lobby") as member:
        result = await say("publish", "lobby", "hello all")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "lobby: 1 subscriber: 1 sent\n", "")
        assert await member.recv() == "hello all"
    assert (await say("publish", "nobody's", "hi")).stdout == "nobody's: 0 subscribers\n"


async def test_publish_as_json(dev_server: DevServer, backend: ScriptedBackend, say: Say) -> None:
    async with joined(dev_server, backend, "lobby"):
        result = await say("publish", "lobby", "hi", "--json")
    assert json.loads(result.stdout) == {
        "channel": "lobby",
        "report": {"matched": 1, "sent": 1, "gone": 0, "queued": 0},
    }


@pytest.mark.parametrize(
    ("stdin", "text"), [("hi\n", "hi"), ("hi\r\n", "hi"), ("a\nb\n\n", "a\nb\n"), ("Grüße", "Grüße"), ("", "")]
)
async def test_publish_reads_stdin_less_one_newline(
    dev_server: DevServer, backend: ScriptedBackend, say: Say, stdin: str, text: str
) -> None:
    async with joined(dev_server, backend, "lobby") as member:
        assert (await say("publish", "lobby", "-", stdin=stdin.encode())).exit_code == 0
        assert await member.recv() == text


@pytest.mark.parametrize("as_json", [False, True])
async def test_publish_lines_sends_each_line(
    dev_server: DevServer, backend: ScriptedBackend, say: Say, as_json: bool
) -> None:
    async with joined(dev_server, backend, "lobby") as member:
        options = ("--json",) if as_json else ()
        result = await say("publish", "lobby", "-", "--lines", *options, stdin="one\ntwo\n\nthree")
        assert result.exit_code == 0
        assert [await member.recv() for _ in range(4)] == ["one", "two", "", "three"]
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    if as_json:
        assert {json.loads(line)["report"]["sent"] for line in lines} == {1}


async def test_the_same_id_is_delivered_once(dev_server: DevServer, backend: ScriptedBackend, say: Say) -> None:
    async with joined(dev_server, backend, "lobby") as member:
        assert (await say("publish", "lobby", "once", "--id", "m1")).stdout == "lobby: 1 subscriber: 1 sent\n"
        assert (await say("publish", "lobby", "twice", "--id", "m1")).stdout == "lobby: 0 subscribers\n"
        await say("publish", "lobby", "last")
        assert [await member.recv(), await member.recv()] == ["once", "last"]


async def test_send_and_close_reach_one_connection(dev_server: DevServer, backend: ScriptedBackend, say: Say) -> None:
    async with joined(dev_server, backend, "lobby") as member:
        result = await say("send", member.connection_id, "only you")
        assert (result.exit_code, result.stdout) == (0, f"accepted for {member.connection_id}\n")
        assert await member.recv() == "only you"
        await say("send", member.connection_id, "-", "--json", stdin="and this\n")
        assert await member.recv() == "and this"
        closed = await say("close", member.connection_id, "--json")
        assert json.loads(closed.stdout) == {"connectionId": member.connection_id, "taken": True}
        assert (await backend.next_post("CLOSE")).connection_id == member.connection_id


async def test_close_channel_closes_its_subscribers(dev_server: DevServer, backend: ScriptedBackend, say: Say) -> None:
    async with joined(dev_server, backend, "lobby") as member:
        result = await say("close", "--channel", "lobby")
        assert (result.exit_code, result.stdout) == (0, "lobby: 1 subscriber: 1 closed\n")
        assert (await backend.next_post("CLOSE")).connection_id == member.connection_id
    as_json = await say("close", "--channel", "lobby", "--json")
    assert json.loads(as_json.stdout)["report"]["matched"] == 0


async def test_a_user_is_reached_on_all_devices(dev_server: DevServer, backend: ScriptedBackend, say: Say) -> None:
    async with joined(dev_server, backend, user="ann") as laptop, joined(dev_server, backend, user="ann") as phone:
        keep = ("--keep-count", "10", "--keep-seconds", "60")
        result = await say("publish", "--user", "ann", "hi", *keep)
        assert (result.exit_code, result.stderr) == (0, "")
        assert re.fullmatch(r"user ann: 2 connections: 2 sent; kept at \w+:1\n", result.stdout)
        assert [await laptop.recv(), await phone.recv()] == ["hi", "hi"]
        lines = await say("publish", "--user", "ann", "-", "--lines", "--json", stdin="one\n")
        report = {"matched": 2, "sent": 2, "gone": 0, "queued": 0}
        assert json.loads(lines.stdout) == {"user": "ann", "report": report}
        kept = await say("history", "--user", "ann")
        assert re.search(r"  hi\nuser ann: 1 message; newest \w+:1\n$", kept.stdout)
        closed = await say("close", "--user", "ann", "--except-connection-id", phone.connection_id)
        assert (closed.exit_code, closed.stdout) == (0, "user ann: 1 connection: 1 closed\n")
        assert (await backend.next_post("CLOSE")).connection_id == laptop.connection_id
        as_json = await say("close", "--user", "ann", "--json")
        assert json.loads(as_json.stdout) == {"user": "ann", "report": report | {"matched": 1, "sent": 1}}
        assert (await backend.next_post("CLOSE")).connection_id == phone.connection_id
    assert (await say("publish", "--user", "ann", "hi")).stdout == "user ann: 0 connections\n"


async def test_a_wrong_secret_is_explained(dev_server: DevServer, say: Say) -> None:
    refused(
        await say("publish", "lobby", "hi", JWT_SECRET="wrong"),
        "the control API responded with 403: Invalid token",
        "JWT_SECRET must be that deployment's, and this machine's clock must be right",
    )


async def test_no_secret_is_one_line(dev_server: DevServer, say: Say) -> None:
    refused(
        await say("publish", "lobby", "hi", JWT_SECRET=""),
        "JWT_SECRET is not set. Set it to the deployment's secret",
    )


async def test_a_url_that_is_not_a_control_api_is_explained(dev_server: DevServer, say: Say) -> None:
    url = dev_server.control_api.replace("/control", "/elsewhere")
    result = await say("publish", "lobby", "hi", "--control-api", url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[1] == (
        "slip-sockets: is that the URL of a control API? `slip-sockets outputs` prints it"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("publish", "$connection:x", "hi"), "channelId: PUBLISH_TEXT"),
        (("publish", "lobby", "x" * 131_073), "data: PUBLISH_TEXT"),
        (("publish", "lobby", "hi", "--keep-count", "1"), "--keep-count and --keep-seconds belong together: give both"),
        (("publish", "lobby", "hi", "--keep-seconds", "1"), "--keep-count and --keep-seconds belong together"),
        (
            ("publish", "lobby", "hi", "--keep-count", "0", "--keep-seconds", "1"),
            "keep.count: PUBLISH_TEXT needs 1 to 1000, got 0",
        ),
        (("history", "lobby", "--limit", "1001"), "limit: HISTORY needs 1 to 1000, got 1001"),
        (("history", "$connection:x"), "channelId: HISTORY"),
        (("members", "$connection:x"), "channelId: PRESENCE"),
        (("publish", "lobby", "hi", "--id", "x" * 129), "id: PUBLISH_TEXT"),
        (("send", "", "hi"), "'' is not a connection id. One looks like L0SM9cOFvHcCIhw="),
        (("close", "no\tid"), "'no\\tid' is not a connection id. One looks like L0SM9cOFvHcCIhw="),
        (("close",), "close needs one of these: a connection's id, --channel or --user"),
        (("close", ID, "--channel", "lobby"), "close needs one of these: a connection's id, --channel or --user"),
        (("close", "--user", "ann", "--channel", "lobby"), "close needs one of these: a connection's id, --channel or"),
        (("close", ID, "--user", "ann"), "close needs one of these: a connection's id, --channel or --user"),
        (("close", "--user", ""), "user: needs 1 to 128 bytes of UTF-8, got 0"),
        (("close", ID, "--except-connection-id", ID), "--except-connection-id goes with --channel or --user"),
        (("close", "--user", "ann", "--except-connection-id", "no\tid"), "'no\\tid' is not a connection id."),
        (("publish", "--user", "ann", "lobby", "hi"), "--user takes the place of the channel: give the text alone"),
        (("publish", "lobby"), "publish needs a channel and a text, or --user and a text"),
        (("publish", "--user", "x" * 129, "hi"), "user: needs 1 to 128 bytes of UTF-8, got 129"),
        (("publish", "--user", "ann", "hi", "--lines"), "--lines reads texts from stdin: give - as the text"),
        (("history",), "history needs either a channel or --user"),
        (("history", "lobby", "--user", "ann"), "history needs either a channel or --user"),
        (("publish", "lobby", "hi", "--lines"), "--lines reads texts from stdin: give - as the text, and no --id"),
        (("publish", "lobby", "-", "--lines", "--id", "x"), "--lines reads texts from stdin: give - as the text"),
        (
            ("publish", "lobby", "hi", "--control-api", "ftp://x/"),
            "--control-api 'ftp://x/' is not an http or https URL",
        ),
    ],
)
async def test_a_mistake_is_one_line_and_nothing_is_sent(
    dev_server: DevServer, say: Say, arguments: tuple[str, ...], line: str
) -> None:
    result = await say(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    (problem,) = result.stderr.splitlines()
    assert line in problem


async def test_stdin_that_is_not_utf_8_is_one_line(dev_server: DevServer, say: Say) -> None:
    refused(await say("publish", "lobby", "-", stdin=b"ab\xff"), "stdin is not UTF-8: invalid start byte at byte 2")


def test_a_server_that_does_not_run_is_exit_code_1(cli: Cli, unused_tcp_port: int, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/control"
    (tmp_path / "cdk-outputs.dev.json").write_text(json.dumps({"slip-sockets": {"controlApi": url}}))
    line = f"no response from the control API {url}: Connection refused. Does it run, and is the URL right?"
    refused(cli("publish", "lobby", "hi", JWT_SECRET=SECRET), line, status=1)


def test_a_server_that_fails_is_exit_code_1(cli: Cli, stub: HttpStub) -> None:
    stub.script = lambda _: Answer(503, b'{"message": "not done", "error": "DynamoDB: whatever", "index": 0}')
    result = cli("send", ID, "hi", "--control-api", stub.url, JWT_SECRET=SECRET)
    refused(result, "the control API responded with 503: DynamoDB: whatever", status=1)


def test_a_gateway_that_does_not_report_is_understood(cli: Cli, stub: HttpStub) -> None:
    stub.script = lambda _: Answer(200, b'{"message": "processed successfully"}')
    result = cli("publish", "lobby", "hi", "--control-api", stub.url, JWT_SECRET=SECRET)
    assert (result.exit_code, result.stdout) == (0, "lobby: done (this gateway does not report)\n")
    for command in (("publish", "lobby", "hi"), ("close", "--channel", "lobby")):
        result = cli(*command, "--json", "--control-api", stub.url, JWT_SECRET=SECRET)
        assert (result.exit_code, json.loads(result.stdout)) == (0, {"channel": "lobby", "report": None})


async def test_what_publish_keeps_is_in_the_history(dev_server: DevServer, say: Say) -> None:
    options = ("--lines", "--keep-count", "100", "--keep-seconds", "3600", "--json")
    published = (await say("publish", "logs", "-", *options, stdin="one\ntwo\nthree\n")).stdout.splitlines()
    first, second, third = (json.loads(line)["report"]["position"] for line in published)
    result = await say("history", "logs", "--since", first)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split("  ") for line in result.stdout.splitlines()]
    assert [line[::2] for line in lines[:-1]] == [[second, "two"], [third, "three"]]
    assert lines[-1] == [f"logs: 2 messages; newest {third}"]
    report = json.loads((await say("history", "logs", "--limit", "1", "--json")).stdout)["report"]
    assert (report["messages"][0]["data"], report["more"]) == ("three", True)


def reporting(report: object) -> Script:
    return lambda _: Answer.of({"message": "processed successfully", "events": [report]})


@pytest.mark.parametrize("arguments", [("hi",), ("-", "--lines")])
def test_publish_keeps_the_text_and_prints_its_position(cli: Cli, stub: HttpStub, arguments: tuple[str, ...]) -> None:
    stub.script = reporting({"matched": 1, "sent": 1, "gone": 0, "queued": 0, "position": "k3J9:17"})
    options = ("--keep-count", "100", "--keep-seconds", "3600", "--control-api", stub.url)
    result = cli("publish", "lobby", *arguments, *options, stdin="hi\n", JWT_SECRET=SECRET)
    assert (result.exit_code, result.stdout) == (0, "lobby: 1 subscriber: 1 sent; kept at k3J9:17\n")
    (event,) = json.loads(stub.requests[0].body)["events"]
    assert (event["data"], event["keep"]) == ("hi", {"count": 100, "seconds": 3600})
    as_json = cli("publish", "lobby", *arguments, *options, "--json", stdin="hi\n", JWT_SECRET=SECRET)
    assert json.loads(as_json.stdout)["report"]["position"] == "k3J9:17"


MESSAGES = [
    {"position": "k3J9:16", "data": "a\nb \x1b[2J é", "publishedAt": 1_796_000_000_123},
    {"position": "k3J9:17", "data": "", "publishedAt": 10**30},
]
LINES = "k3J9:16  2026-11-30 00:53:20Z  a\\nb \\x1b[2J é\n" + f"k3J9:17  {10**30}  \n"


@pytest.mark.parametrize(
    ("options", "report", "shown"),
    [
        ((), {"messages": MESSAGES, "more": False}, f"{LINES}lobby: 2 messages; newest k3J9:17\n"),
        ((), {"messages": MESSAGES[1:], "more": True}, "lobby: 1 message; newest k3J9:17; older ones are kept too\n"),
        (("--since", "x"), {"messages": MESSAGES[:1], "more": True}, "; newest k3J9:17; more after k3J9:16\n"),
        ((), {"messages": [], "more": False}, "lobby: 0 messages; newest k3J9:17\n"),
        (
            ("--since", "x"),
            {"messages": [], "more": False, "recovered": False},
            "lobby: what came after x is not kept, or not all of it; newest k3J9:17\n",
        ),
    ],
)
def test_history_prints_what_is_kept(
    cli: Cli, stub: HttpStub, options: tuple[str, ...], report: dict[str, Any], shown: str
) -> None:
    report = {"position": "k3J9:17", **report}
    stub.script = reporting(report)
    arguments = ("history", "lobby", *options, "--limit", "7", "--control-api", stub.url)
    result = cli(*arguments, JWT_SECRET=SECRET)
    assert result.exit_code == 0
    assert result.stdout.endswith(shown)
    (event,) = json.loads(stub.requests[0].body)["events"]
    assert event == {"type": "HISTORY", "channelId": "lobby", "limit": 7} | ({"since": "x"} if options else {})
    as_json = cli(*arguments, "--json", JWT_SECRET=SECRET)
    assert json.loads(as_json.stdout) == {"channel": "lobby", "report": report}


ANN = {"user": "ann", "info": {"name": "Ann\n\x1b[2J é"}, "connections": 2, "since": 1_796_000_000_123}
BOB = {"user": "bob\n", "info": None, "connections": 1, "since": 10**30}


@pytest.mark.parametrize(
    ("report", "shown"),
    [
        (
            {"count": 2, "members": [ANN, BOB], "more": False},
            'ann  since 2026-11-30 00:53:20Z  2 connections  {"name":"Ann\\n\\u001b[2J é"}\n'
            f"bob\\n  since {10**30}\nlobby: 2 members\n",
        ),
        ({"count": 1_001, "members": [BOB], "more": True}, "lobby: 1,001 members; the first 1 by name are listed\n"),
        ({"count": 0, "members": [], "more": False}, "lobby: 0 members\n"),
    ],
)
def test_members_prints_who_is_in_a_channel(cli: Cli, stub: HttpStub, report: dict[str, Any], shown: str) -> None:
    stub.script = reporting(report)
    arguments = ("members", "lobby", "--control-api", stub.url)
    result = cli(*arguments, JWT_SECRET=SECRET)
    assert result.exit_code == 0
    assert result.stdout.endswith(shown)
    (event,) = json.loads(stub.requests[0].body)["events"]
    assert event == {"type": "PRESENCE", "channelId": "lobby"}
    as_json = cli(*arguments, "--json", JWT_SECRET=SECRET)
    assert json.loads(as_json.stdout) == {"channel": "lobby", "report": report}


@pytest.mark.parametrize(
    ("command", "what"), [("history", "what it keeps of a channel"), ("members", "who is in a channel")]
)
def test_a_gateway_that_is_older_is_one_line(cli: Cli, stub: HttpStub, command: str, what: str) -> None:
    stub.script = lambda _: Answer(200, b'{"message": "processed successfully"}')
    problem = f"the gateway of {stub.url}/ does not report {what}. "
    then = "It is the original's or an older one. Deploy this version of SLIP Sockets"
    refused(cli(command, "lobby", "--control-api", stub.url, JWT_SECRET=SECRET), problem + then)


@pytest.mark.parametrize("connection_id", ["-3pRHTPSvaITlik=", "-hpRHTPSvaITlik="])
async def test_an_id_that_begins_with_a_hyphen_is_not_an_option(
    dev_server: DevServer, say: Say, connection_id: str
) -> None:
    result = await say("send", connection_id, "only you")
    assert (result.exit_code, result.stdout) == (0, f"accepted for {connection_id}\n")
    result = await say("close", connection_id)
    assert (result.exit_code, result.stdout) == (0, f"accepted for {connection_id}\n")
