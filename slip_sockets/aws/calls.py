"""AWS's errors, told in the gateway's word."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..gateway.ports import Unavailable


class AwsError(Exception):
    """A service of AWS refuses a call. `response` has the shape of that of botocore's ClientError."""

    def __init__(self, operation: str, response: Mapping[str, Any]) -> None:
        error = response["Error"]
        super().__init__(f"{operation}: {error['Code']}: {error['Message']}"[:1000])
        self.response = response


class NoAnswer(Exception):
    """A service of AWS gave no whole answer in time, however often it was asked."""


def refusals() -> tuple[type[Exception], ...]:
    """What a client raises where a service refuses: ours, and boto3's, which the command line uses."""
    return (AwsError, *_of_botocore("ClientError"))


@contextmanager
def calling(service: str) -> Iterator[None]:
    """Raise Unavailable where `service` does not do what it is called for, after the client's own retries."""
    try:
        yield
    except _failures() as error:
        raise Unavailable(f"{service}: {_told(error)}") from error


_QUOTES_VALUES = re.compile(r"Validation|Invalid|Serialization|Malformed")


def _told(error: Exception) -> str:
    """Return what may be logged of an error. Those about parameters quote them: a text, metadata, a key."""
    code = error_code(error)
    if _QUOTES_VALUES.search(code):
        return f"a call was refused with {code}"
    if isinstance(error, (*_of_botocore("ParamValidationError"), *_of_botocore("ValidationError"))):
        return f"a call was not made: {type(error).__name__}"
    return str(error)


def _failures() -> tuple[type[Exception], ...]:
    return (NoAnswer, *refusals(), *_of_botocore("BotoCoreError"))


def _of_botocore(name: str) -> tuple[type[Exception], ...]:
    """Return the exception, if botocore is loaded. A function does not: it would treble a cold start's time."""
    exceptions = sys.modules.get("botocore.exceptions")
    return (getattr(exceptions, name),) if exceptions else ()


def response_of(error: Exception) -> Mapping[str, Any]:
    """Return what came with one of `refusals`."""
    response: Mapping[str, Any] = getattr(error, "response", {})
    return response


def error_code(error: Exception) -> str:
    """Return AWS's name of an error, such as `GoneException`."""
    return str(response_of(error).get("Error", {}).get("Code", ""))
