"""What the adapters of the frameworks have in common: their settings, and a POST up to the application's function."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .connection import Answer, Connection, Headers, refusal
from .control_call import PublisherSettings
from .errors import InvalidEvents, InvalidSettings, InvalidToken
from .settings import is_http_url

PREFIX = "SLIP_SOCKETS_"

log = logging.getLogger("slip_sockets")

_Publisher = TypeVar("_Publisher", bound=PublisherSettings)


@dataclass(frozen=True, slots=True)
class Refused:
    """A POST that is not for the application, with the answer to it."""

    _answer: Answer

    def answer(self) -> Answer:
        return self._answer


def received(publisher: PublisherSettings, headers: Headers, body: bytes) -> Connection | Refused:
    """Return the connection that a POST is about. What is no POST of the gateway is logged and refused."""
    try:
        return publisher.parse_request(headers, body)
    except (InvalidToken, InvalidEvents) as error:
        answer = refusal(error)
        log.warning("a POST to the backend was refused with %d: %s", answer.status, error)
        return Refused(answer)


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """The deployment, by its `control_api` or, without one, by the file `outputs` and its entry `stack`."""

    jwt_secret: str
    previous_secrets: Sequence[str]
    control_api: str
    outputs: str | os.PathLike[str]
    stack: str

    @classmethod
    def read(cls, get: Callable[[str], object], place: str) -> AdapterSettings:
        """Read the settings by name: `get` returns None for what is not set. `place` says where to set it.

        Raises InvalidSettings.
        """
        texts = {name: get(PREFIX + name) or "" for name in ("CONTROL_API", "JWT_SECRET", "OUTPUTS", "STACK")}
        previous = get(PREFIX + "PREVIOUS_SECRETS") or ()
        problems = [
            f"{PREFIX}{name} needs a string, got {type(value).__name__}. Set it in {place}"
            for name, value in texts.items()
            if not isinstance(value, str) and not (name == "OUTPUTS" and isinstance(value, os.PathLike))
        ]
        if not (isinstance(previous, list | tuple) and all(isinstance(secret, str) and secret for secret in previous)):
            problems.append(f"{PREFIX}PREVIOUS_SECRETS needs a list of secrets. Set it in {place}")
        if not texts["JWT_SECRET"]:
            problems.append(f"{PREFIX}JWT_SECRET is not set. Set it in {place} to the deployment's JWT_SECRET")
        if not texts["CONTROL_API"] and not texts["OUTPUTS"]:
            what = f"to the control API's URL, or {PREFIX}OUTPUTS to the path of cdk-outputs.json"
            problems.append(f"{PREFIX}CONTROL_API is not set. Set it in {place} {what}")
        elif isinstance(texts["CONTROL_API"], str) and texts["CONTROL_API"] and not is_http_url(texts["CONTROL_API"]):
            problems.append(f"{PREFIX}CONTROL_API is not an http or https URL: {texts['CONTROL_API']!r}")
        if problems:
            raise InvalidSettings(problems)
        return cls(
            jwt_secret=str(texts["JWT_SECRET"]),
            previous_secrets=tuple(previous) if isinstance(previous, list | tuple) else (),
            control_api=str(texts["CONTROL_API"]),
            outputs=str(texts["OUTPUTS"]),
            stack=str(texts["STACK"]) or "slip-sockets",
        )

    def publisher(self, kind: type[_Publisher]) -> _Publisher:
        """Raises InvalidSettings where the outputs file does not help."""
        if self.control_api:
            return kind(
                control_api=self.control_api, jwt_secret=self.jwt_secret, previous_secrets=self.previous_secrets
            )
        return kind.from_outputs(
            self.outputs, stack=self.stack, jwt_secret=self.jwt_secret, previous_secrets=self.previous_secrets
        )
