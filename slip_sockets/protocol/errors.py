"""The errors of the client library, as one tree.

SlipSocketsError
├── InvalidToken                the token of a request; its response is 403
│   ├── MissingToken
│   ├── ExpiredToken
│   └── BadToken
├── InvalidEvents               a body, or one event in it, that breaks the protocol; the response is 400
├── ControlApiError             the control API did not do what it was asked to
│   ├── ControlApiRefused       the request or its URL is wrong: a retry does not help
│   └── ControlApiUnavailable   no response, 429, or a status from 500 on: a retry may help
└── InvalidSettings             a setting is missing or wrong, or a variable of the environment
"""

from __future__ import annotations

ERROR_HEADER = "Slip-Sockets-Error"
"""The header of a backend's response to a POST that the library refused: the error's name, e.g. `MissingToken`."""


class SlipSocketsError(Exception):
    """Root of all errors that this package raises on purpose."""


class InvalidToken(SlipSocketsError):
    """The request does not prove that its sender holds `JWT_SECRET`. Respond with 403."""


class MissingToken(InvalidToken):
    """There is no `Authorization: Bearer <token>` header."""


class ExpiredToken(InvalidToken):
    """The token was valid once; its `exp` has passed by more than the leeway."""


class BadToken(InvalidToken):
    """Wrong key, algorithm, audience or issuer, a missing claim, or not a JWT."""


class InvalidEvents(SlipSocketsError, ValueError):
    """A body that breaks the protocol, or an event that would.

    `index` is the event's place in `events`, 0 for the first; None where no single event is at fault.
    `field` is the wire name of the field at fault, None where no single field is.
    """

    def __init__(self, message: str, *, index: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.field = field


class ControlApiError(SlipSocketsError):
    """The control API did not do what it was asked to.

    `status` and `body` are those of its HTTP response, None where there was no response. `index` is the first event
    that had no effect, None where the response does not name it. `proxy` is the proxy on the way, and where it is set;
    None without one, or where the response is certainly not the proxy's own.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: str | None = None,
        index: int | None = None,
        proxy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.index = index
        self.proxy = proxy


class ControlApiRefused(ControlApiError):
    """A status below 500 other than 429, or a 200 that no control API sends. No event had an effect.

    The token, the events or the URL is wrong, or a proxy refuses.
    """


class ControlApiUnavailable(ControlApiError):
    """No response in time, 429, or a status from 500 on.

    `had_no_effect` is true where certainly no event had an effect: there was no connection, or the status was 429. If
    `index` is set, the events before it took effect. Otherwise a part of the batch may have taken effect.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: str | None = None,
        index: int | None = None,
        proxy: str | None = None,
        had_no_effect: bool = False,
    ) -> None:
        super().__init__(message, status=status, body=body, index=index, proxy=proxy)
        self.had_no_effect = had_no_effect


class InvalidSettings(SlipSocketsError, ValueError):
    """Settings that are missing or wrong. `problems` has one line for each: its name, and what to set it to."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
