from __future__ import annotations

import pytest

from slip_sockets.dev.inspector.advice import advise
from slip_sockets.dev.inspector.recorder import Body, Exchange

ACCEPT = b'{"events": [{"type": "ACCEPT", "connectionId": "AAAAAAAAAAAAAAA="}]}'


def exchange(status: int | None = 200, answer: bytes = b"", error: str | None = None) -> Exchange:
    body = Body.of(b"{}")
    return Exchange("http://127.0.0.1:1/slip", {}, body, status, Body.of(answer), error, 0.0, 0.0)


@pytest.mark.parametrize(
    ("failed", "what", "todo"),
    [
        (exchange(None, error="Cannot connect to host"), "cannot be reached: Cannot connect to host", "Start it"),
        (exchange(None, error="it does not speak TLS"), "cannot be reached: it does not speak TLS", "with http://"),
        (exchange(None, error="not within 25 s"), "did not answer not within 25 s", "publish"),
        (exchange(302), "redirects (302 Found)", "Set TARGET_URL to where it leads"),
        (exchange(403), "answered 403 Forbidden", "JWT_SECRET"),
        (exchange(404), "answered 404 Not Found", "path"),
        (exchange(405), "answered 405 Method Not Allowed", "POST"),
        (exchange(500), "answered 500 Internal Server Error", "Look at its log"),
        (exchange(599), "answered 599", "Look at its log"),
    ],
)
def test_a_failing_backend_gets_advice(failed: Exchange, what: str, todo: str) -> None:
    advice = advise("TEXT", failed, [])
    assert advice is not None
    assert what in advice.what
    assert todo in advice.todo


def test_what_the_gateway_said_of_a_body_is_repeated() -> None:
    line = "TEXT of connection A: backend http://x answered 200 with a body that is not valid: events[0].data: TEXT ..."
    advice = advise("TEXT", exchange(answer=b"{}"), [("WARNING", line)])
    assert advice is not None
    assert advice.what == "Your backend's answer is not valid: events[0].data: TEXT ..."


def test_a_client_that_is_not_let_in_is_no_failure_but_an_accept_that_does_not_count_is() -> None:
    line = ("WARNING", "OPEN of connection A: ACCEPT has subprotocol 'v2'; the client offered v1; refused with 400")
    assert advise("OPEN", exchange(answer=b'{"events": []}'), [line]) is None
    assert advise("OPEN", exchange(answer=b""), [line]) is None
    assert advise("OPEN", exchange(answer=ACCEPT), []) is None
    advice = advise("OPEN", exchange(answer=ACCEPT), [line])
    assert advice is not None
    assert "ACCEPT does not count" in advice.what
