"""What goes wrong in the gateway, with reasons that are values.

SlipSocketsError
├── Unavailable         a port could not do its work now
├── HttpError           a POST brought no whole response; `failure` says why
├── BackendFailed       the backend was not reached, or its response is not valid; `fault` says which
├── NotAccepted         the backend's response to OPEN does not let the client in; `why` says why not
├── ActionFailed        one action of several could not be done
└── Incomplete          a deferred message is not finished; `remaining` is the part that is left
"""

from __future__ import annotations

import enum
import http
from typing import TYPE_CHECKING

from ..protocol.errors import InvalidEvents, SlipSocketsError

if TYPE_CHECKING:
    from .deferred import Deferred
    from .effects import Effect
    from .values import Broadcast


class Unavailable(SlipSocketsError):
    """A port could not do its work now, after its own retries: the store, the queue or the sender is away."""


class NoTimeLeft(Unavailable):
    """The caller's time is nearly up. Nothing else is wrong."""


class HttpFailure(enum.Enum):
    """Why a POST brought no whole response."""

    INVALID_URL = enum.auto()
    UNREACHABLE = enum.auto()
    """There was no connection."""
    TLS = enum.auto()
    """The peer does not speak TLS, or its certificate is not valid."""
    TIMEOUT = enum.auto()
    TOO_LARGE = enum.auto()
    """The response is larger than its limit; it was not read further."""
    BROKEN_OFF = enum.auto()
    """The connection was closed before the response was complete."""
    NOT_HTTP = enum.auto()
    """The response is not HTTP/1.1, or its body is not in the encoding that it names."""


class HttpError(SlipSocketsError):
    def __init__(self, message: str, failure: HttpFailure = HttpFailure.UNREACHABLE) -> None:
        super().__init__(message)
        self.failure = failure


class BackendFault(enum.Enum):
    """What is wrong with a call of the backend."""

    NO_SECRET = enum.auto()
    """It was not called: there is no secret to sign with at the moment."""
    UNREACHABLE = enum.auto()
    TLS = enum.auto()
    TIMEOUT = enum.auto()
    TOO_LARGE = enum.auto()
    STATUS = enum.auto()
    """Its response has a status other than 2xx."""
    INVALID_BODY = enum.auto()


_CLIENT_STATUSES = {
    BackendFault.NO_SECRET: http.HTTPStatus.INTERNAL_SERVER_ERROR,
    BackendFault.UNREACHABLE: http.HTTPStatus.BAD_GATEWAY,
    BackendFault.TLS: http.HTTPStatus.BAD_GATEWAY,
    BackendFault.TIMEOUT: http.HTTPStatus.GATEWAY_TIMEOUT,
    BackendFault.TOO_LARGE: http.HTTPStatus.BAD_REQUEST,
    BackendFault.STATUS: http.HTTPStatus.INTERNAL_SERVER_ERROR,
    BackendFault.INVALID_BODY: http.HTTPStatus.BAD_REQUEST,
}


class BackendFailed(SlipSocketsError):
    """The backend could not be reached, or its response is not valid.

    `problem` completes the sentence "the backend ...". `status` is that of its response, None where there was none.
    `lacks_token` is true where it says that no token has arrived. `url` is the backend's URL without secrets.
    `ends_connection` is true where the dialect has the connection closed because of it. `client_status` is the HTTP
    status for a client that waits to be let in.
    """

    def __init__(
        self,
        fault: BackendFault,
        problem: str,
        *,
        status: int | None = None,
        lacks_token: bool = False,
        url: str | None = None,
        ends_connection: bool = False,
        client_status: int | None = None,
    ) -> None:
        super().__init__(problem if url is None else f"backend {url} {problem}")
        self.fault = fault
        self.problem = problem
        self.status = status
        self.lacks_token = lacks_token
        self.ends_connection = ends_connection
        self.client_status = _CLIENT_STATUSES[fault] if client_status is None else client_status

    @property
    def is_retryable(self) -> bool:
        """Whether the same event may succeed later."""
        if self.ends_connection:
            return False
        if self.fault is BackendFault.STATUS:
            return self.status is None or self.status == http.HTTPStatus.TOO_MANY_REQUESTS or self.status >= 500
        return self.fault not in (BackendFault.TOO_LARGE, BackendFault.INVALID_BODY)


class WhyNotAccepted(enum.Enum):
    """What a response to OPEN lacks."""

    NO_ACCEPT = enum.auto()
    OTHER_CONNECTION = enum.auto()
    """ACCEPT names another connection."""
    METADATA_FIRST = enum.auto()
    """SET_METADATA stands before ACCEPT."""
    SUBPROTOCOL = enum.auto()
    """ACCEPT names a subprotocol that the client did not offer."""
    REFUSED = enum.auto()
    """It is a refusal on purpose, with an HTTP status for the client."""


class NotAccepted(InvalidEvents):
    """The backend's response to OPEN does not let the client in, which gets `client_status`."""

    def __init__(
        self, why: WhyNotAccepted, message: str, *, field: str | None = None, client_status: int = 400
    ) -> None:
        super().__init__(message, field=field)
        self.why = why
        self.client_status = client_status


class ActionFailed(SlipSocketsError):
    """The action at `index` could not be done: those before it took effect, it and those after it did not.

    `lacked_time` is true where nothing else was wrong.
    """

    def __init__(self, index: int, action: Effect | Broadcast, cause: Unavailable) -> None:
        super().__init__(f"events[{index}]: {action.__struct_config__.tag} failed: {cause}")
        self.index = index
        self.lacked_time = isinstance(cause, NoTimeLeft)


class Incomplete(SlipSocketsError):
    """A deferred message could not be finished now. `remaining` is the part that is left.

    `made_progress` is true where only time was lacking: the next attempt needs no pause. `pause_s` is set where nothing
    failed, and only its turn has not come: to ask again earlier is of no use. With `is_exact` the pause does not grow
    with the attempts: the message knows itself when to wait no more.
    """

    def __init__(
        self,
        remaining: Deferred,
        reason: str,
        *,
        made_progress: bool = False,
        pause_s: float | None = None,
        is_exact: bool = False,
    ) -> None:
        super().__init__(reason)
        self.remaining = remaining
        self.made_progress = made_progress
        self.pause_s = pause_s
        self.is_exact = is_exact
