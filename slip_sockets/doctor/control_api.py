"""Whether the control API takes the tokens of the secrets at hand, and whether its clock agrees with this machine's.

The call is a batch without events: the token is checked, and nothing is done.
"""

from __future__ import annotations

import http
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ..gateway.errors import HttpError
from ..gateway.ports import SystemClock
from ..http.client import Client, Request, Timeouts
from ..protocol.bodies import decode_fault
from ..protocol.events import encode_events
from ..protocol.tokens import LEEWAY_S, LIFETIME_S, mint
from .findings import Finding, fine, unknown, wrong
from .outputs import WRITE_ANEW
from .settings import DoctorSettings

TIMEOUTS = Timeouts(connect_s=5, first_byte_s=20, total_s=25)
TIMEOUT_S = 60.0
"""For the call with each secret."""
MAX_BODY_BYTES = 1024 * 1024
NO_SECRET = "Set JWT_SECRET to the deployment's secret"  # noqa: S105 - what to do
ADVICE = "See the functions' errors below, or the log of the control function"


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one call. `skew_s` is the server's time less this machine's, None without a Date header."""

    status: int
    body: bytes
    skew_s: float | None

    @property
    def is_token_refused(self) -> bool:
        return self.status == http.HTTPStatus.FORBIDDEN and self.body == b"Invalid token"


async def check_control_api(settings: DoctorSettings) -> list[Finding]:
    client = Client(SystemClock(), TIMEOUTS, idle_s=0)
    try:
        return await _Calls(client, settings).check()
    except HttpError as error:
        finding = f"the control API does not respond: {error}"
        return [
            wrong("secret", finding, ADVICE),
            unknown("clock", "the control API does not respond", "The time of its server"),
        ]
    finally:
        await client.aclose()


class _Calls:
    def __init__(self, client: Client, settings: DoctorSettings) -> None:
        self._client = client
        self._url = settings.outputs.control_api
        self._settings = settings
        self._now = settings.now

    async def check(self) -> list[Finding]:
        """Raises HttpError."""
        secret = self._settings.jwt_secret
        if not secret:
            answer = await self._get()
            return [unknown("secret", "JWT_SECRET is not set", NO_SECRET), judge_clock(answer.skew_s)]
        answer = await self._post(secret, self._now())
        clock = judge_clock(answer.skew_s)
        by_its_clock: Answer | None = None
        if answer.is_token_refused and answer.skew_s is not None and abs(answer.skew_s) > LEEWAY_S:
            by_its_clock = await self._post(secret, self._now() + answer.skew_s)
        skew_s = (answer.skew_s or 0.0) if by_its_clock is not None else 0.0
        answer = by_its_clock or answer
        findings = [judge_secret("JWT_SECRET", answer)]
        if answer.is_token_refused or answer.status == http.HTTPStatus.OK:
            for number, previous in enumerate(self._settings.previous_secrets, 1):
                name = f"number {number} of JWT_PREVIOUS_SECRETS"
                findings.append(judge_secret(name, await self._post(previous, self._now() + skew_s)))
        return [*findings, clock]

    async def _post(self, secret: str, issued_at: float) -> Answer:
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {mint('ControlEvent', secret, now=issued_at)}",
        }
        return await self._call(Request("POST", self._url, headers, encode_events([])))

    async def _get(self) -> Answer:
        """A call that no function handles: API Gateway itself responds."""
        return await self._call(Request("GET", self._url, {}, None))

    async def _call(self, request: Request) -> Answer:
        began = self._now()
        response = await self._client.request(request, max_bytes=MAX_BODY_BYTES)
        ended = self._now()
        return Answer(response.status, response.body, _skew_s(response.headers.get("date"), (began + ended) / 2))


def judge_secret(name: str, answer: Answer) -> Finding:
    """Judge the response to a token signed with the secret `name`."""
    if answer.status == http.HTTPStatus.OK:
        return fine("secret", f"the control API takes tokens signed with {name}")
    if answer.is_token_refused:
        fix = f"Set {name} to a secret of this deployment, or deploy with this one"
        return wrong("secret", f"the control API refuses {name}", fix)
    problem = decode_fault(answer.body).error
    finding = f"the control API responds with {answer.status}" + (f": {problem}" if problem else "")
    return wrong("secret", finding, _FIXES.get(answer.status, ADVICE))


_OTHER_API = f"There is no control API at that URL. {WRITE_ANEW}"
_FIXES: dict[int, str] = {
    http.HTTPStatus.FORBIDDEN: _OTHER_API,
    http.HTTPStatus.NOT_FOUND: _OTHER_API,
    http.HTTPStatus.METHOD_NOT_ALLOWED: _OTHER_API,
    http.HTTPStatus.TOO_MANY_REQUESTS: "Calls exceed the throttle of the stage or of the account: see `throttles`",
}


def judge_clock(skew_s: float | None) -> Finding:
    if skew_s is None:
        return unknown(
            "clock", "the control API's response has no valid Date", "A Date header, which API Gateway sends"
        )
    seconds = round(abs(skew_s))
    if seconds <= LEEWAY_S:
        return fine("clock", f"this machine's clock and the server's differ by {seconds} s; {LEEWAY_S} s are allowed")
    where = "behind" if skew_s > 0 else "ahead of"
    finding = f"this machine's clock is {seconds} s {where} the server's"
    fix = (
        f"Set the clock. Tokens are valid for {LIFETIME_S} s, with {LEEWAY_S} s of leeway: those of this machine are "
        "refused, and so are its calls of AWS beyond 5 minutes"
    )
    return wrong("clock", finding, fix)


def _skew_s(date: str | None, at: float) -> float | None:
    """`date` is a header with a resolution of a second, `at` the time of this machine at about the same moment."""
    try:
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - at
    except ValueError:
        return None
