"""AWS's errors, and how they become the gateway's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..gateway.errors import Unavailable


class AwsError(Exception):
    """A service of AWS refuses a call. `response` has the shape of that of botocore's ClientError."""

    def __init__(self, operation: str, response: Mapping[str, Any]) -> None:
        error = response["Error"]
        super().__init__(f"{operation}: {error['Code']}: {error['Message']}"[:1000])
        self.response = response


class NoResponse(Exception):
    """A service of AWS gave no whole response in time, however often it was asked."""


@contextmanager
def calling(service: str) -> Iterator[None]:
    """Raise Unavailable where `service` does not do what it is called for, after the client's own retries."""
    try:
        yield
    except (AwsError, NoResponse) as error:
        raise Unavailable(f"{service}: {_loggable(error)}") from error


_QUOTES_VALUES = re.compile(r"Validation|Invalid|Serialization|Malformed")


def _loggable(error: AwsError | NoResponse) -> str:
    """Return what may be logged of an error. Errors about parameters quote them: a text, metadata, a key."""
    if isinstance(error, AwsError) and _QUOTES_VALUES.search(error_code(error)):
        return f"a call was refused with {error_code(error)}"
    return str(error)


def error_code(error: AwsError) -> str:
    """Return AWS's name of an error, such as `GoneException`."""
    return str(error.response.get("Error", {}).get("Code", ""))
