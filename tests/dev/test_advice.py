from __future__ import annotations

import pytest

from slip_sockets.dev.advice import Advice, advise
from slip_sockets.gateway.backend import Backend
from slip_sockets.gateway.errors import BackendFailed, HttpError, HttpFailure, NotAccepted, Unavailable, WhyNotAccepted
from slip_sockets.gateway.values import HttpResponse
from slip_sockets.grip.backend import GripBackend
from slip_sockets.protocol.events import Text
from slip_sockets.slip.backend import SlipBackend, read_opening, read_reply

from ..gateway.doubles import ME, SECRET, FakeClock, ScriptedClient


def accept(connection_id: str = ME, **fields: str) -> bytes:
    more = "".join(f', "{name}": "{value}"' for name, value in fields.items())
    return f'{{"events": [{{"type": "ACCEPT", "connectionId": "{connection_id}"{more}}}]}}'.encode()


async def one_secret() -> list[str]:
    return [SECRET]


async def failure(response: HttpResponse | HttpError) -> BackendFailed:
    """Return the error of the gateway where the backend responds so."""
    client = ScriptedClient(response=response)
    backend = Backend("http://127.0.0.1:1/slip", SlipBackend(), one_secret, client, FakeClock())
    with pytest.raises(BackendFailed) as failed:
        await backend.call(ME, b"null", [Text(ME, "hi")])
    return failed.value


async def advice_about(response: HttpResponse | HttpError) -> Advice:
    advice = advise(await failure(response), None, is_broken_off=False)
    assert advice is not None
    return advice


FAILURES: dict[str, tuple[HttpResponse | HttpError, str, str]] = {
    "unreachable": (
        HttpError("Connection refused"),
        "Your backend cannot be reached: Connection refused",
        "Start it",
    ),
    "TLS": (
        HttpError("it does not speak TLS. If it speaks http, begin its URL with http://", HttpFailure.TLS),
        "Your backend cannot be reached: it does not speak TLS",
        "If it speaks http, begin its URL with http://",
    ),
    "TLS without advice": (
        HttpError("TLS fails: WRONG", HttpFailure.TLS),
        "Your backend cannot be reached: TLS fails: WRONG",
        "begin --target-url with http://",
    ),
    "too slow": (
        HttpError("not within 25 s", HttpFailure.TIMEOUT),
        "Your backend did not respond: not within 25 s",
        "publish",
    ),
    "too large": (
        HttpError("more than 10485760 bytes", HttpFailure.TOO_LARGE),
        "Your backend's response has more than 10485760 bytes",
        "Respond with the events alone",
    ),
    "302": (HttpResponse(302), "Your backend redirects (302 Found)", "Set TARGET_URL to where it leads"),
    "403": (HttpResponse(403), "Your backend responded with 403 Forbidden", "JWT_SECRET"),
    "403 without a token": (
        HttpResponse(403, {"slip-sockets-error": "MissingToken"}),
        "The header Authorization did not reach your backend: it is dropped on its way",
        "WSGIPassAuthorization On",
    ),
    "404": (HttpResponse(404), "Your backend responded with 404 Not Found", "path"),
    "405": (HttpResponse(405), "Your backend responded with 405 Method Not Allowed", "POST"),
    "500": (HttpResponse(500), "Your backend responded with 500 Internal Server Error", "Look at its log"),
    "599": (HttpResponse(599), "Your backend responded with 599", "Look at its log"),
    "invalid": (
        HttpResponse(200, body=b'{"events": [{"type": "TEXT", "connectionId": "x"}]}'),
        "Your backend's response is not valid: events[0].data: TEXT needs this field, and it is missing",
        "connection.response()",
    ),
}


@pytest.mark.parametrize(("response", "problem", "fix"), FAILURES.values(), ids=FAILURES.keys())
async def test_a_failing_backend_gets_advice(response: HttpResponse | HttpError, problem: str, fix: str) -> None:
    advice = await advice_about(response)
    assert advice.problem == problem
    assert fix in advice.fix


async def test_a_backend_that_outlasts_the_event_gets_the_advice_of_a_slow_one() -> None:
    advice = advise(None, None, is_broken_off=True)
    assert advice is not None
    assert advice.problem == "Your backend did not respond before the event's time was over"
    assert advice.fix == (await advice_about(HttpError("not within 25 s", HttpFailure.TIMEOUT))).fix


async def test_a_secret_that_cannot_be_read_is_not_the_backends_fault() -> None:
    async def away() -> list[str]:
        raise Unavailable("Secrets Manager is away")

    backend = Backend("http://127.0.0.1:1/slip", SlipBackend(), away, ScriptedClient(), FakeClock())
    with pytest.raises(BackendFailed) as failed:
        await backend.call(ME, b"null", [Text(ME, "hi")])
    assert advise(failed.value, None, is_broken_off=False) is None


def not_accepted(body: bytes) -> NotAccepted:
    with pytest.raises(NotAccepted) as refused:
        read_opening(ME, ["v1"], read_reply(200, body))
    return refused.value


def test_a_client_that_is_not_let_in_is_not_a_failure_but_an_accept_that_does_not_count_is() -> None:
    assert advise(None, None, is_broken_off=False) is None
    assert advise(None, not_accepted(b'{"events": []}'), is_broken_off=False) is None
    assert advise(None, not_accepted(b""), is_broken_off=False) is None
    advice = advise(None, not_accepted(accept(subprotocol="v2")), is_broken_off=False)
    assert advice == Advice(
        "Your backend's ACCEPT does not count: ACCEPT names a subprotocol that the client did not offer",
        "ACCEPT comes before SET_METADATA, with a subprotocol that was offered",
    )
    advice = advise(None, not_accepted(accept("B" * 15 + "=")), is_broken_off=False)
    assert advice is not None
    assert "names another connection" in advice.problem


def test_client_that_a_grip_backend_refuses_is_not_a_failure() -> None:
    refused = NotAccepted(WhyNotAccepted.REFUSED, "the backend refused it with 403", client_status=403)
    assert advise(None, refused, is_broken_off=False) is None


def test_invalid_response_of_a_grip_backend_has_advice_of_its_own() -> None:
    with pytest.raises(BackendFailed) as failed:
        GripBackend().reply(ME, b'{"headers":[]}', [Text(ME, "hi")], HttpResponse(200))
    advice = advise(failed.value, None, is_broken_off=False)
    assert advice is not None
    assert advice.problem == (
        "Your backend's response is not valid: a Content-Type other than application/websocket-events"
    )
    assert "as a GRIP library does" in advice.fix
