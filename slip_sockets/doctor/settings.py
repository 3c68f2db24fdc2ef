"""What is to be examined, and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..client.outputs import Outputs

OF_DEV_SERVER = "local"
"""The region in the outputs of a development server."""
LAST_MINUTES = 60.0


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """The entry `stack` of the outputs file at `path`, and the secrets that it should take; "" where none is known.

    `query` and `headers` are those that the backend needs to let a client in. With `all_cases` all of `check` is played
    against the backend. Logs are read of the last `last_minutes`. `now` returns Unix seconds.
    """

    stack: str
    path: Path
    outputs: Outputs
    jwt_secret: str = ""
    previous_secrets: Sequence[str] = ()
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    all_cases: bool = False
    last_minutes: float = LAST_MINUTES
    now: Callable[[], float] = time.time

    @property
    def is_on_aws(self) -> bool:
        return self.outputs.region != OF_DEV_SERVER

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.jwt_secret, *self.previous_secrets)))

    def function(self, name: str) -> str:
        """Return the full name of the function `websocket`, `control` or `deliver`."""
        return f"{self.stack}-{name}"


FUNCTIONS = ("websocket", "control", "deliver")
