"""AWS's errors, told in the gateway's word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, ValidationError

from ..gateway.ports import Unavailable


@contextmanager
def calling(service: str) -> Iterator[None]:
    """Raise Unavailable where `service` does not do what it is called for, after botocore's own retries."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise Unavailable(f"{service}: {_told(error)}") from error


_QUOTES_VALUES = re.compile(r"Validation|Invalid|Serialization|Malformed")


def _told(error: ClientError | BotoCoreError) -> str:
    """Return what may be logged of an error. Those about parameters quote them: a text, metadata, a key."""
    if isinstance(error, ClientError) and _QUOTES_VALUES.search(error_code(error)):
        return f"{error.operation_name} was refused with {error_code(error)}"
    if isinstance(error, ParamValidationError | ValidationError):
        return f"a call was not made: {type(error).__name__}"
    return str(error)


def error_code(error: ClientError) -> str:
    """Return AWS's name of an error, such as `GoneException`."""
    return str(error.response.get("Error", {}).get("Code", ""))
