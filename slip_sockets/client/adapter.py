"""What the adapters of the frameworks have in common: their settings, and the way of a POST to the handler."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..protocol.errors import InvalidEvents, InvalidSettings, InvalidToken
from ..protocol.tokens import secret_problem
from ..protocol.urls import quoted_url, url_problem
from .connection import Connection, Headers, Response, error_response, parse_request, subprotocol_problem
from .control_client import ControlApiClient

PREFIX = "SLIP_SOCKETS_"

log = logging.getLogger("slip_sockets")

_Publisher = TypeVar("_Publisher", bound=ControlApiClient)


@dataclass(frozen=True, slots=True)
class Refused:
    """A POST that does not reach the handler, with the response to it."""

    _response: Response

    def response(self) -> Response:
        return self._response


def receive(headers: Headers, body: bytes, *, secrets: Sequence[str], subprotocol: str | None) -> Connection | Refused:
    """Return the connection that a POST is about. A POST that is not the gateway's is logged and refused."""
    try:
        return parse_request(headers, body, secrets=secrets, subprotocol=subprotocol)
    except (InvalidToken, InvalidEvents) as error:
        response = error_response(error)
        log.warning("a POST to the backend was refused with %d: %s", response.status, error)
        return Refused(response)


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """The settings of a deployment. Handlers need only `secrets`, of which the first signs.

    A publisher needs `control_api` or, without it, the file `outputs` with its entry `stack`. `subprotocol` is the one
    that `connection.accept()` chooses where the client offers it. `place` is where the settings are set, for errors.
    """

    secrets: Sequence[str]
    control_api: str
    outputs: str | os.PathLike[str]
    stack: str
    subprotocol: str | None
    place: str

    @classmethod
    def read(cls, get: Callable[[str], object], place: str) -> AdapterSettings:
        """Read the settings by name; `get` returns None for a setting that is not set. Raises InvalidSettings."""
        texts = {name: get(PREFIX + name) or "" for name in ("CONTROL_API", "JWT_SECRET", "OUTPUTS", "STACK")}
        previous = get(PREFIX + "PREVIOUS_SECRETS") or ()
        subprotocol = get(PREFIX + "SUBPROTOCOL") or None
        problems = [
            f"{PREFIX}{name} needs a string, got {type(value).__name__}. Set it in {place}"
            for name, value in texts.items()
            if not isinstance(value, str) and not (name == "OUTPUTS" and isinstance(value, os.PathLike))
        ]
        secret, control_api = texts["JWT_SECRET"], texts["CONTROL_API"]
        if not secret:
            problems.append(f"{PREFIX}JWT_SECRET is not set. Set it in {place} to the deployment's JWT_SECRET")
        elif isinstance(secret, str) and (problem := secret_problem(secret)):
            problems.append(f"{PREFIX}JWT_SECRET {problem}")
        if not (isinstance(previous, list | tuple) and all(isinstance(each, str) and each for each in previous)):
            problems.append(f"{PREFIX}PREVIOUS_SECRETS needs a list of secrets. Set it in {place}")
        else:
            found = filter(None, map(secret_problem, previous))
            problems += [f"{PREFIX}PREVIOUS_SECRETS has a secret that {problem}" for problem in found]
        if isinstance(control_api, str) and control_api and (problem := url_problem(control_api)):
            problems.append(f"{PREFIX}CONTROL_API {quoted_url(control_api)} is {problem}. Set it in {place}")
        if subprotocol is not None and (problem := subprotocol_problem(subprotocol)):
            problems.append(f"{PREFIX}SUBPROTOCOL {problem}. Set it in {place}")
        if problems:
            raise InvalidSettings(problems)
        return cls(
            secrets=(str(secret), *(previous if isinstance(previous, list | tuple) else ())),
            control_api=str(control_api),
            outputs=str(texts["OUTPUTS"]),
            stack=str(texts["STACK"]) or "slip-sockets",
            subprotocol=None if subprotocol is None else str(subprotocol),
            place=place,
        )

    @property
    def has_control_api(self) -> bool:
        """Whether the settings name a control API, directly or by an outputs file."""
        return bool(self.control_api or self.outputs)

    def publisher(self, kind: type[_Publisher]) -> _Publisher:
        """Raises InvalidSettings if there is no control API, or the outputs file does not have it."""
        secret, *previous = self.secrets
        if self.control_api:
            return kind(control_api=self.control_api, jwt_secret=secret, previous_secrets=previous)
        if self.outputs:
            return kind.from_outputs(self.outputs, stack=self.stack, jwt_secret=secret, previous_secrets=previous)
        what = f"to the control API's URL, or {PREFIX}OUTPUTS to the path of cdk-outputs.json"
        raise InvalidSettings([f"a publisher needs {PREFIX}CONTROL_API. Set it in {self.place} {what}"])
