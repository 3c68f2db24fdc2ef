"""AWS's errors, told in the gateway's word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from ..gateway.ports import Unavailable


@contextmanager
def calling(service: str) -> Iterator[None]:
    """Raise Unavailable where `service` does not do what it is called for, after botocore's own retries."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise Unavailable(f"{service}: {error}") from error


def error_code(error: ClientError) -> str:
    """Return AWS's name of an error, such as `GoneException`."""
    return str(error.response.get("Error", {}).get("Code", ""))
