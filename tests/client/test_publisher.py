"""One contract for both publishers, over real HTTP: a server on loopback with scripted responses.

Longer than 400 lines, so that it stays one contract.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from slip_sockets import (
    AsyncSlipSocketsPublisher,
    ControlApiRefused,
    ControlApiUnavailable,
    HistoryReport,
    InvalidEvents,
    InvalidSettings,
    Keep,
    KeptMessage,
    Member,
    Presence,
    PresenceReport,
    PublishText,
    Report,
    SendText,
    SlipSocketsPublisher,
    Subscribe,
)
from slip_sockets.client.control_client import RETRY_DELAYS_S
from slip_sockets.protocol.tokens import bearer_token, secret_problem, verify

from ..conftest import KEY_OF_A_PAIR

SECRET = "a-secret-of-more-than-thirty-two-bytes"
ME = "L0SM9cOFvHcCIhw="
DONE = {"message": "processed successfully"}


@dataclass
class ControlApi:
    """Responds to each POST with the next of `responses`, the last one again and again; None cuts the connection."""

    responses: list[tuple[int, object] | None] = field(default_factory=lambda: [(200, DONE)])
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    url: str = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the only call."""
        (body,) = self.bodies
        return list(body["events"])


@pytest.fixture
def control_api() -> Iterator[ControlApi]:
    api = ControlApi()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            api.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            api.headers.append(dict(self.headers))
            response = api.responses.pop(0) if len(api.responses) > 1 else api.responses[0]
            if response is None:
                return
            status, content = response
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", api.url)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        api.url = f"http://127.0.0.1:{server.server_address[1]}/control"
        yield api
        server.shutdown()
        thread.join()


@pytest.fixture
def delays() -> list[float]:
    return []


class Blocking:
    """An AsyncSlipSocketsPublisher with the synchronous one's methods; `kept` keeps its connections."""

    def __init__(self, *, kept: bool, delays: list[float], **settings: Any) -> None:
        async def sleep(seconds: float) -> None:
            delays.append(seconds)

        self._publisher = AsyncSlipSocketsPublisher(sleep=sleep, **settings)
        self._runner = asyncio.Runner()
        if kept:
            self._runner.run(self._publisher.__aenter__())

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._publisher, name)
        return lambda *args, **options: self._runner.run(method(*args, **options))

    def __repr__(self) -> str:
        return repr(self._publisher)

    def close_session(self) -> None:
        self._runner.run(self._publisher.close_session())
        self._runner.close()


class Make(Protocol):
    def __call__(self, url: str, *, timeout_s: float = 10) -> SlipSocketsPublisher: ...


@pytest.fixture(params=["sync", "async", "async-kept"])
def make(request: pytest.FixtureRequest, delays: list[float]) -> Iterator[Make]:
    """Make a publisher for a control API's URL, of each kind. `Blocking` has the type of what it stands for."""
    made: list[SlipSocketsPublisher] = []

    def make(url: str, *, timeout_s: float = 10) -> SlipSocketsPublisher:
        settings: dict[str, Any] = {"control_api": url, "jwt_secret": SECRET, "timeout_s": timeout_s}
        if request.param == "sync":
            made.append(SlipSocketsPublisher(sleep=delays.append, **settings))
        else:
            kept = request.param == "async-kept"
            made.append(cast(SlipSocketsPublisher, Blocking(kept=kept, delays=delays, **settings)))
        return made[-1]

    yield make
    for publisher in made:
        publisher.close_session()


@pytest.fixture
def publisher(control_api: ControlApi, make: Make) -> SlipSocketsPublisher:
    return make(control_api.url)


Do = Callable[[SlipSocketsPublisher], object]

CALLS: list[tuple[Do, dict[str, Any]]] = [
    (lambda p: p.send_text(ME, "hi"), {"type": "TEXT", "connectionId": ME, "data": "hi"}),
    (lambda p: p.close(ME), {"type": "CLOSE", "connectionId": ME}),
    (lambda p: p.close_channel("room"), {"type": "CLOSE_CHANNEL", "channelId": "room"}),
    (
        lambda p: p.close_channel("room", except_connection_id=ME),
        {"type": "CLOSE_CHANNEL", "channelId": "room", "exceptConnectionId": ME},
    ),
    (lambda p: p.close_user("ann"), {"type": "CLOSE_CHANNEL", "channelId": "$user:ann"}),
    (
        lambda p: p.close_user("ann", except_connection_id=ME),
        {"type": "CLOSE_CHANNEL", "channelId": "$user:ann", "exceptConnectionId": ME},
    ),
    (lambda p: p.subscribe(ME, "room"), {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"}),
    (lambda p: p.unsubscribe(ME, "room"), {"type": "UNSUBSCRIBE", "connectionId": ME, "channel": "room"}),
    (lambda p: p.set_metadata(ME, None), {"type": "SET_METADATA", "connectionId": ME, "metadata": None}),
    (
        lambda p: p.poll_for_connection(ME, timeout_ms=100),
        {"type": "POLL_FOR_CONNECTION", "connectionId": ME, "timeout": 100},
    ),
    (
        lambda p: p.publish_text("room", "é", message_id="m1"),
        {"type": "PUBLISH_TEXT", "channelId": "room", "data": "é", "id": "m1"},
    ),
    (
        lambda p: p.publish_text("room", "hi", message_id="m1", keep=Keep(count=100, seconds=3600)),
        {
            "type": "PUBLISH_TEXT",
            "channelId": "room",
            "data": "hi",
            "id": "m1",
            "keep": {"count": 100, "seconds": 3600},
        },
    ),
    (
        lambda p: p.subscribe(ME, "room", recover=True, since="k3J9:12"),
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room", "recover": True, "since": "k3J9:12"},
    ),
    (
        lambda p: p.subscribe(ME, "room", presence=True),
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room", "presence": {}},
    ),
    (
        lambda p: p.subscribe(ME, "room", presence=Presence({"name": "Ann"})),
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room", "presence": {"info": {"name": "Ann"}}},
    ),
]


@pytest.mark.parametrize(("call", "wire"), CALLS)
def test_each_method_sends_its_event(
    publisher: SlipSocketsPublisher, control_api: ControlApi, call: Do, wire: dict[str, Any]
) -> None:
    call(publisher)
    assert control_api.events == [wire]
    (headers,) = control_api.headers
    assert headers["Content-Type"] == "application/json"
    verify(bearer_token(headers["Authorization"]), "ControlEvent", [SECRET])


def test_a_publish_without_an_id_gets_one_of_its_own(publisher: SlipSocketsPublisher, control_api: ControlApi) -> None:
    publisher.send([PublishText("room", "a"), PublishText("room", "a")])
    first, second = (event["id"] for event in control_api.events)
    assert first != second


def test_reports_are_typed(publisher: SlipSocketsPublisher, control_api: ControlApi) -> None:
    counts = {"matched": 4, "sent": 1, "gone": 1, "queued": 2}
    control_api.responses = [(200, DONE | {"events": [{}, counts]})]
    assert publisher.send([Subscribe(ME, "room"), PublishText("room", "hi")]) == [None, Report(4, 1, 1, 2)]


NO_REPORT = Report(0, 0, 0, 0, is_reported=False)


def test_a_missing_report_differs_from_one_of_no_subscribers() -> None:
    assert Report(0, 0, 0, 0) != NO_REPORT
    assert repr(Report(2, 2, 0, 0)) == "Report(matched=2, sent=2, gone=0, queued=0)"


@pytest.mark.parametrize(
    "body",
    [
        DONE,
        DONE | {"events": []},
        DONE | {"events": "?"},
        DONE | {"events": [{"matched": "x"}]},
        b"\xef\xbb\xbf" + json.dumps(DONE).encode(),
    ],
)
def test_a_gateway_without_reports_has_an_empty_one_for_each_publish(
    publisher: SlipSocketsPublisher, control_api: ControlApi, body: object
) -> None:
    control_api.responses = [(200, body)]
    assert publisher.publish_text("room", "hi") == NO_REPORT
    assert publisher.close_channel("room") == NO_REPORT
    assert publisher.send([PublishText("room", "hi")]) == [None]


def test_a_refusal_carries_status_body_and_index_and_is_not_repeated(
    publisher: SlipSocketsPublisher, control_api: ControlApi
) -> None:
    control_api.responses = [(400, {"message": "invalid commands", "error": "events[1]: no", "index": 1})]
    with pytest.raises(ControlApiRefused) as refusal:
        publisher.publish_text("room", "hi")
    assert str(refusal.value) == "the control API responded with 400: events[1]: no"
    assert (refusal.value.status, refusal.value.index) == (400, 1)
    assert json.loads(refusal.value.body or "")["message"] == "invalid commands"
    assert len(control_api.bodies) == 1


@pytest.mark.parametrize("failure", [(500, b""), (503, b""), (429, b""), None])
def test_a_publish_is_repeated_with_the_same_id(
    publisher: SlipSocketsPublisher, control_api: ControlApi, failure: tuple[int, object] | None, delays: list[float]
) -> None:
    control_api.responses = [failure, failure, (200, DONE)]
    publisher.publish_text("room", "hi")
    assert len(control_api.bodies) == 3
    assert control_api.bodies[0] == control_api.bodies[1] == control_api.bodies[2]
    assert all(most / 2 <= pause <= most for pause, most in zip(delays, RETRY_DELAYS_S, strict=True))


def test_a_repeated_failure_is_raised(publisher: SlipSocketsPublisher, control_api: ControlApi) -> None:
    control_api.responses = [(502, b"Bad Gateway")]
    with pytest.raises(ControlApiUnavailable) as failure:
        publisher.publish_text("room", "hi")
    assert (failure.value.status, failure.value.body) == (502, "Bad Gateway")
    assert not failure.value.had_no_effect
    assert len(control_api.bodies) == 3


HISTORY = {
    "position": "k3J9:17",
    "messages": [{"position": "k3J9:17", "data": "é", "publishedAt": 1_796_000_000_123}],
    "recovered": True,
    "more": False,
}


def test_a_kept_message_has_a_position_and_is_in_the_history(
    publisher: SlipSocketsPublisher, control_api: ControlApi
) -> None:
    counts = {"matched": 1, "sent": 1, "gone": 0, "queued": 0, "position": "k3J9:17"}
    control_api.responses = [(200, DONE | {"events": [counts]}), (503, b""), (200, DONE | {"events": [HISTORY]})]
    report = publisher.publish_text("room", "é", keep=Keep(count=100, seconds=3600))
    assert report.position == "k3J9:17"
    assert publisher.history("room", since="k3J9:16", limit=5) == HistoryReport(
        "k3J9:17", [KeptMessage("k3J9:17", "é", 1_796_000_000_123)], more=False, recovered=True
    )
    _, failed, repeated = control_api.bodies
    assert failed == repeated
    assert repeated["events"] == [{"type": "HISTORY", "channelId": "room", "since": "k3J9:16", "limit": 5}]


def test_the_members_of_a_channel_are_read(publisher: SlipSocketsPublisher, control_api: ControlApi) -> None:
    member = {"user": "ann", "info": {"name": "Ann"}, "connections": 2, "since": 1_796_000_000_123}
    control_api.responses = [(503, b""), (200, DONE | {"events": [{"count": 1, "members": [member], "more": False}]})]
    ann = Member("ann", {"name": "Ann"}, connections=2, since=1_796_000_000_123)
    assert publisher.members("room") == PresenceReport(1, [ann], more=False)
    assert [body["events"] for body in control_api.bodies] == [[{"type": "PRESENCE", "channelId": "room"}]] * 2


@pytest.mark.parametrize(
    "body",
    [DONE, DONE | {"events": [{}]}, DONE | {"events": [{"messages": 3}]}, DONE | {"events": [{"members": 3}]}],
)
@pytest.mark.parametrize(
    ("ask", "what"),
    [
        (lambda p: p.history("room"), "what it keeps of a channel"),
        (lambda p: p.members("room"), "who is in a channel"),
    ],
)
def test_a_gateway_that_does_not_report_is_an_error(
    publisher: SlipSocketsPublisher, control_api: ControlApi, body: object, ask: Do, what: str
) -> None:
    control_api.responses = [(200, body)]
    with pytest.raises(ControlApiRefused) as refusal:
        ask(publisher)
    assert str(refusal.value) == (
        f"the gateway of {control_api.url} does not report {what}. "
        "It is the original's or an older one. Deploy this version of SLIP Sockets"
    )
    assert publisher.publish_text("room", "hi", keep=Keep(1, 1)) == NO_REPORT


@pytest.mark.parametrize("failure", [(500, b""), (503, b""), None])
@pytest.mark.parametrize("event", [SendText(ME, "hi"), Subscribe(ME, "room", recover=True, since="k3J9:12")])
def test_a_text_that_may_have_been_sent_is_not_repeated(
    publisher: SlipSocketsPublisher,
    control_api: ControlApi,
    event: SendText | Subscribe,
    failure: tuple[int, object] | None,
) -> None:
    control_api.responses = [failure, (200, DONE)]
    with pytest.raises(ControlApiUnavailable):
        publisher.send([PublishText("room", "hi"), event])
    assert len(control_api.bodies) == 1


def test_a_subscribe_without_since_is_repeated(publisher: SlipSocketsPublisher, control_api: ControlApi) -> None:
    control_api.responses = [(503, b""), (200, DONE)]
    publisher.subscribe(ME, "room", recover=True)
    assert len(control_api.bodies) == 2


def test_a_text_that_was_certainly_not_sent_is_repeated(
    publisher: SlipSocketsPublisher, control_api: ControlApi
) -> None:
    control_api.responses = [(429, b""), (200, DONE)]
    publisher.send_text(ME, "hi")
    assert len(control_api.bodies) == 2


def test_no_connection_is_raised_after_three_attempts(make: Make, delays: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    publisher = make(f"http://127.0.0.1:{port}/")
    with pytest.raises(ControlApiUnavailable) as failure:
        publisher.send_text(ME, "hi")
    assert str(failure.value).startswith(f"no response from the control API http://127.0.0.1:{port}/: ")
    assert (failure.value.status, failure.value.had_no_effect, len(delays)) == (None, True, 2)


def test_nothing_is_sent_of_a_batch_with_a_wrong_event(
    publisher: SlipSocketsPublisher, control_api: ControlApi
) -> None:
    with pytest.raises(InvalidEvents) as refusal:
        publisher.send([SendText(ME, "hi"), PublishText("", "hi")])
    assert str(refusal.value) == "events[1].channelId: PUBLISH_TEXT needs 1 to 1024 bytes of UTF-8, got 0"
    assert control_api.bodies == []


def test_the_users_netrc_does_not_replace_the_token(
    publisher: SlipSocketsPublisher, control_api: ControlApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    publisher.close(ME)
    assert control_api.headers[0]["Authorization"].startswith("Bearer ")


def test_no_error_and_no_repr_has_the_secret_or_a_token(
    publisher: SlipSocketsPublisher, control_api: ControlApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    control_api.responses = [(403, b"Invalid token")]
    with pytest.raises(ControlApiRefused) as refusal:
        publisher.close(ME)
    token = bearer_token(control_api.headers[0]["Authorization"])
    shown = "\n".join([str(refusal.value), repr(refusal.value), repr(publisher), caplog.text])
    assert token not in shown
    assert SECRET not in shown


def test_no_response_in_time_is_raised_and_a_text_not_repeated(make: Make, delays: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publisher = make(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.2)
        with pytest.raises(ControlApiUnavailable) as failure:
            publisher.send_text(ME, "hi")
    assert (failure.value.status, failure.value.had_no_effect, delays) == (None, False, [])


def test_user_and_password_in_the_url_do_not_replace_the_token(make: Make, control_api: ControlApi) -> None:
    make(control_api.url.replace("://", "://somebody:something@")).close(ME)
    assert control_api.headers[0]["Authorization"].startswith("Bearer ")


BOTH = [SlipSocketsPublisher, AsyncSlipSocketsPublisher]


def test_both_have_the_same_methods_with_the_same_parameters() -> None:
    first, second = (
        {name: str(inspect.signature(method)) for name, method in inspect.getmembers(kind) if not name.startswith("_")}
        for kind in BOTH
    )
    assert first == second


def test_each_async_method_that_sends_is_a_coroutine_function() -> None:
    """Starlette's BackgroundTask runs any other in a thread, and awaits nothing."""
    calls = {name for name, method in inspect.getmembers(SlipSocketsPublisher, inspect.isfunction) if name[0] != "_"}
    plain = {name for name in calls if not inspect.iscoroutinefunction(getattr(AsyncSlipSocketsPublisher, name))}
    assert plain == {"parse_request"}


async def test_the_async_publisher_serves_any_event_loop(control_api: ControlApi) -> None:
    async with AsyncSlipSocketsPublisher(control_api=control_api.url, jwt_secret=SECRET) as publisher:
        await publisher.close(ME)
        await asyncio.to_thread(lambda: asyncio.run(publisher.close(ME)))
        await publisher.close(ME)
    await publisher.close(ME)
    assert len(control_api.bodies) == 4


@pytest.mark.parametrize("kind", BOTH)
def test_a_publisher_finds_its_deployment_in_the_outputs_file(
    kind: type[SlipSocketsPublisher | AsyncSlipSocketsPublisher], tmp_path: Path
) -> None:
    outputs = tmp_path / "cdk-outputs.json"
    entry = {"controlApi": "https://control.example", "targetUrl": "x", "websocketUrl": "wss://x", "region": "y"}
    outputs.write_text(json.dumps({"shop": entry, "shop-staging": entry | {"controlApi": "https://staging.example"}}))
    publisher = kind.from_outputs(outputs, stack="shop-staging", jwt_secret=SECRET)
    assert isinstance(publisher, kind)
    assert publisher.control_api == "https://staging.example"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot read {path}: No such file or directory. Deploy first, or start `slip-sockets dev`"),
        (
            "{",
            "{path} is not an outputs file: it is not JSON: Input data was truncated. "
            "Deploy first, or start `slip-sockets dev`",
        ),
        ('{"shop": {}}', "{path} has no controlApi of 'shop'. Deploy it again"),
        ("{}", "{path} has no stack 'shop'. It has: none"),
        ('{"b": {"controlApi": ""}, "a": {"controlApi": ""}}', "{path} has no stack 'shop'. It has: a, b"),
    ],
)
def test_an_outputs_file_without_the_deployment_is_an_error(tmp_path: Path, text: str | None, problem: str) -> None:
    outputs = tmp_path / "cdk-outputs.json"
    if text is not None:
        outputs.write_text(text)
    with pytest.raises(InvalidSettings) as refusal:
        SlipSocketsPublisher.from_outputs(outputs, stack="shop", jwt_secret=SECRET)
    assert str(refusal.value) == problem.format(path=outputs)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("url", ["", "control", "ftp://x/", "wss://x/"])
def test_a_control_api_that_is_not_a_url_is_refused(
    kind: type[SlipSocketsPublisher | AsyncSlipSocketsPublisher], url: str
) -> None:
    with pytest.raises(ValueError, match=r"^control_api .* is not an http or https URL"):
        kind(control_api=url, jwt_secret=SECRET)


@pytest.mark.parametrize("kind", BOTH)
def test_an_empty_secret_is_refused(kind: type[SlipSocketsPublisher | AsyncSlipSocketsPublisher]) -> None:
    with pytest.raises(ValueError, match=r"^jwt_secret is empty$"):
        kind(control_api="https://x/", jwt_secret="")


@pytest.mark.parametrize("kind", BOTH)
def test_a_previous_secret_that_is_not_a_good_one_is_refused(
    kind: type[SlipSocketsPublisher | AsyncSlipSocketsPublisher],
) -> None:
    with pytest.raises(ValueError, match=r"^previous_secrets is empty$"):
        kind(control_api="https://x/", jwt_secret=SECRET, previous_secrets=["previous", ""])
    with pytest.raises(ValueError, match=r"^previous_secrets needs a list of secrets, got a string$"):
        kind(control_api="https://x/", jwt_secret=SECRET, previous_secrets="previous")


@pytest.mark.parametrize("kind", BOTH)
def test_an_asymmetric_key_is_refused(kind: type[SlipSocketsPublisher | AsyncSlipSocketsPublisher]) -> None:
    for name, secrets in (
        ("jwt_secret", (KEY_OF_A_PAIR, SECRET)),
        ("previous_secrets", (SECRET, KEY_OF_A_PAIR)),
    ):
        with pytest.raises(ValueError, match=f"^{name} {secret_problem(KEY_OF_A_PAIR)}$"):
            kind(control_api="https://x/", jwt_secret=secrets[0], previous_secrets=secrets[1:])
