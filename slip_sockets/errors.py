"""Everything that goes wrong, as one tree.

SlipSocketsError
├── InvalidToken                what a backend or the control API answers with 403
│   ├── MissingToken
│   ├── ExpiredToken
│   └── BadToken
├── InvalidEvents               a body, or one event in it, that breaks the protocol: 400
├── ControlApiError             the control API did not do what was asked
│   ├── ControlApiRefused       it said no: asking again changes nothing
│   └── ControlApiUnavailable   no answer, 429, or a status from 500 on: asking again may help
└── InvalidSettings             the environment or the command line lacks something
"""

from __future__ import annotations


class SlipSocketsError(Exception):
    """Root of all errors that this package raises on purpose."""


class InvalidToken(SlipSocketsError):
    """The request does not prove that it comes from a holder of `JWT_SECRET`. Answer it with 403."""


class MissingToken(InvalidToken):
    """There is no `Authorization: Bearer <token>` header."""


class ExpiredToken(InvalidToken):
    """The token was valid once; its `exp` has passed by more than the leeway."""


class BadToken(InvalidToken):
    """Wrong key, algorithm, audience or issuer, a claim missing, or no JWT at all."""


class InvalidEvents(SlipSocketsError, ValueError):
    """A body that breaks the protocol, or an event that would.

    `index` is the event's place in `events` (0 for the first), None where the fault is in no single event.
    `field` is the wire name of the field at fault, None where there is none.
    """

    def __init__(self, message: str, *, index: int | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.field = field


class ControlApiError(SlipSocketsError):
    """The control API did not do what was asked.

    `status` and `body` are its HTTP answer, both None where there was none. `index` is the first event that had no
    effect, where the answer tells.
    """

    def __init__(
        self, message: str, *, status: int | None = None, body: str | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.index = index


class ControlApiRefused(ControlApiError):
    """A status below 500 other than 429: the token or the events are wrong. Nothing was done."""


class ControlApiUnavailable(ControlApiError):
    """No answer in time, 429, or a status from 500 on.

    `had_no_effect` says that certainly nothing was done: there was no connection, or the answer was 429. `index` means
    that the events before it were; otherwise part of the batch may have been.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        body: str | None = None,
        index: int | None = None,
        had_no_effect: bool = False,
    ) -> None:
        super().__init__(message, status=status, body=body, index=index)
        self.had_no_effect = had_no_effect


class InvalidSettings(SlipSocketsError):
    """Settings that are missing or wrong. `problems` holds one line for each: which, and what to put there."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
