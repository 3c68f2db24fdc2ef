"""What may be logged of AWS's errors: those about parameters quote texts, metadata and keys."""

from __future__ import annotations

from typing import Any

import pytest

from slip_sockets.aws.errors import AwsError, NoResponse, calling
from slip_sockets.gateway.errors import Unavailable

QUOTE = "the value 'a secret text' is not allowed"


def message_of(error: Exception) -> str:
    """Return the message of the Unavailable that `error` becomes."""
    with pytest.raises(Unavailable) as unavailable, calling("DynamoDB"):
        raise error
    assert unavailable.value.__cause__ is error
    return str(unavailable.value)


def refusal(code: str, message: str = QUOTE) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}}


@pytest.mark.parametrize(
    "code",
    [
        "ValidationException",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "AWS.SimpleQueueService.InvalidBatchEntryId",
        "SerializationException",
        "MalformedQueryString",
    ],
)
def test_an_error_that_quotes_the_request_is_only_named(code: str) -> None:
    assert message_of(AwsError("PutItem", refusal(code))) == f"DynamoDB: a call was refused with {code}"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            AwsError("PutItem", refusal("ProvisionedThroughputExceededException", "Slow down")),
            "PutItem: ProvisionedThroughputExceededException: Slow down",
        ),
        (NoResponse("PutItem: timed out"), "PutItem: timed out"),
    ],
)
def test_another_error_is_quoted_whole(error: Exception, reason: str) -> None:
    assert message_of(error) == f"DynamoDB: {reason}"


def test_an_error_that_is_not_of_aws_passes() -> None:
    with pytest.raises(ZeroDivisionError), calling("DynamoDB"):
        raise ZeroDivisionError
